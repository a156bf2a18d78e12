# SPDX-License-Identifier: Apache-2.0
"""Protocols: one package for each, and `common` for what they share.

A protocol of ours has the same parts: wire (bytes and requests), dialogue (requests and calls of a session),
listener (sockets, time-outs, tasks), and `status`, one table from errors to the protocol's codes. Where a
library speaks it (asyncssh the transport of SSH, uvicorn HTTP) there is no wire of ours.

Rules of this room: a wire imports `model` and `errors` only, and no asyncio; a dialogue adds `vfs.api` and
`identity.api`; a listener adds its dialogue, `events` and `cluster`. No door decides a permission.
"""
