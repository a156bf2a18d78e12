# SPDX-License-Identifier: Apache-2.0
"""Runs the actions of event rules, tries again what failed, and gives up in the end.

May import `rules`, `outgoing`, the contracts, the store's contract and `vfs.api`; no protocol and no door.
Decisions: docs/adr/0059.
"""
