# SPDX-License-Identifier: Apache-2.0
"""Moves the files of a home or folder to other storage, and the record with them (docs/adr/0057).

Knows storage by its contract, sessions as far as they are held, and the administration that changes records;
no protocol, no kind of storage, no command and no route.
"""
