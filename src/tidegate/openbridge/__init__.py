# SPDX-License-Identifier: Apache-2.0
"""Accounts of the Openbridge gateway, read from its MySQL tables at each login; what is written back.

`tables` asks the database, `source` makes accounts of the rows (by the importer's rules), `record` writes
logins and transfers. Rules: no protocol, no storage, nothing that composes; rows are untrusted input.
"""
