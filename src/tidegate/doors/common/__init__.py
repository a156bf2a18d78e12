# SPDX-License-Identifier: Apache-2.0
"""Shared by all listeners: how much of a loop turn one peer, and all peers together, may use.

`turns` holds the budget of a turn and the queue of those who wait for the next one; `reading` decides
whether a connection's socket is read, and hands what was read to a parser in small steps.

Rules of this room: it knows no protocol, no account and no file; it imports `model` and `errors` only. A
listener passes every byte that a peer sent through an `Intake`, or accounts for its work by `Turns` itself
(the fast lane and the SFTP dialogue do). Nobody but a connection's `Reading` calls `pause_reading` or
`resume_reading` on its transport. One step of work, between two looks at the clock, stays under 10 ms
whatever the peer sent.
"""
