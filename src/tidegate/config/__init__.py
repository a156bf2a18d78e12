# SPDX-License-Identifier: Apache-2.0
"""What the operator wrote: one schema, loading with precedence, and saying where a value came from.

Rules of this room: imports `model` and `errors`; knows no running object. The schema is the one truth for
documentation, help texts and validation.
"""
