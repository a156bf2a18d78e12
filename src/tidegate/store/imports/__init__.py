# SPDX-License-Identifier: Apache-2.0
"""Accounts of other servers, read and turned into ours.

Each module reads one kind of source and is pure: text or rows in, `Harvest` out. `plan` compares a harvest
with a provider (the table of a dry run) and stores it in one transaction. Rules of this house for sources:
what would let somebody in who was kept out before is a problem and stops the import; what only gets lost is
a note.
"""
