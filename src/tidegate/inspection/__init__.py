# SPDX-License-Identifier: Apache-2.0
"""Asks inspectors before acts count: in order, each for so long, and what silence means is configured.

Rules of this room: imports `model`, `abc`, `contracts`, `errors`, `plugins`; it does not know what an act
does, nor who asks.
"""
