# SPDX-License-Identifier: Apache-2.0
"""Parts that every door is made of.

`door` is the contract of a door. `ports` and `listening` make listening sockets, `admission` limits who may
connect, `peers` says who came, `record` puts connections and logins on record, `idle` watches clients that
send nothing, `tls` holds certificates that are read again when their files change. `turns` holds the budget
of a turn of the loop and the queue of those who wait for the next one; `reading` decides whether a
connection's socket is read, and hands what was read to a parser in small steps; `transport` carries packets.

Rules of this room: it knows no protocol, no rule and no storage. A listener passes every byte that a peer
sent through an `Intake`, or accounts for its work by `Turns` itself (the fast lane and the SFTP dialogue
do). Nobody but a connection's `Reading` calls `pause_reading` or `resume_reading` on its transport. One step
of work, between two looks at the clock, stays under 10 ms whatever the peer sent.
"""
