# SPDX-License-Identifier: Apache-2.0
"""Event rules as values: facts of an event, conditions, placeholders, order, and what would run. Pure.

May import `model`, `errors`, `policy.globs` and the kinds of events; no I/O, no asyncio.
`tidegate.actions` runs what is decided here.
"""
