# SPDX-License-Identifier: Apache-2.0
"""Decides who may come in at all: lists, bans, slower checks, rate limits, in this order.

Rules of this room: decisions with a reason, on values and clocks that are given; no sockets, no store, no
protocol. It imports `tidegate.model`, `tidegate.errors` and `tidegate.contracts`. Everything that an address
can make grow has a bound here.
"""
