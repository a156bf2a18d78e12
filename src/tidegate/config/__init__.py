# SPDX-License-Identifier: Apache-2.0
"""The configuration: one schema, loading with precedence, and the origin of each value.

Rules of this room: imports `model` and `errors`; knows no running object. The schema is the one truth for
documentation, help texts and validation.
"""
