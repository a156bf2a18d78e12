# SPDX-License-Identifier: Apache-2.0
"""Protocols.

Each door has the same three parts: wire (bytes and events), dialogue (events and vfs calls),
listener (sockets, time-outs, tasks), and `status` with its one table from errors to the door's codes.

Rules of this room: a wire imports `model` and `errors` only, and no asyncio; a dialogue adds `vfs.api` and
`identity.api`; a listener adds its dialogue, `events` and `cluster`. No door decides a permission.
"""
