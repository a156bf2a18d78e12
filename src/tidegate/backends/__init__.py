# SPDX-License-Identifier: Apache-2.0
"""Kinds of storage: one module or package for each, which passes `tidegate.testing.check_backend`.

Rules of this room: imports `abc`, `model`, `errors` and client libraries; knows no principal, no
permission and no protocol.
"""
