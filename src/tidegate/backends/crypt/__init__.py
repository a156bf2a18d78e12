# SPDX-License-Identifier: Apache-2.0
"""Encryption over any other storage; the format and its reasons: docs/adr/0049.

May import `abc`, `model`, `errors`; builds on no particular storage. `format` has the bytes of a file, `keys`
the passphrase, `reading` and `writing` the handles, `backend` the storage, `kind` what records say.
"""
