# SPDX-License-Identifier: Apache-2.0
"""Accounts, folders, administrators, API keys and usage, as the server keeps them: drivers and migrations.

Rules of this room: imports `model`, `errors` and database libraries; knows no protocol and none of the
users' bytes. Every driver passes one contract suite.
"""
