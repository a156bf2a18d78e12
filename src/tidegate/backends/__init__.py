# SPDX-License-Identifier: Apache-2.0
"""Where bytes live: one module or package a kind of storage, each passing `tidegate.testing.check_backend`.

Rules of this room: imports `abc`, `model`, `errors` and client libraries; knows no principal, no
permission and no protocol.
"""
