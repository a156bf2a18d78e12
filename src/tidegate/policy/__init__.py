# SPDX-License-Identifier: Apache-2.0
"""Decides who may do what: the gate, permissions, patterns, addresses, quotas, throttles, abuse scores.

Rules of this room: pure functions and small state machines; imports `tidegate.model`, `tidegate.errors`
and the standard library; no I/O, no clock of its own (time is an argument), no protocol.
"""
