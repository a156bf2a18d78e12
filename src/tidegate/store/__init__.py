# SPDX-License-Identifier: Apache-2.0
"""What the server remembers: accounts, folders, admins, API keys, usage. Drivers and migrations.

Rules of this room: imports `model`, `errors` and database libraries; knows no protocol and none of the
users' bytes. Every driver passes one contract suite.
"""
