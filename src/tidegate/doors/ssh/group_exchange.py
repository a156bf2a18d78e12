# SPDX-License-Identifier: Apache-2.0
"""diffie-hellman-group-exchange-sha256 (RFC 4419) with groups that are neither too small nor too slow.

asyncssh answers with 1024 bits where the client allows no more, and with 8192 where it asks for as many,
which costs the event loop a multiple of everything else before a login. Here a group has 2048 to 4096 bits:
the largest is one that is offered by name anyhow (diffie-hellman-group16-sha512).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import asyncssh
from asyncssh import kex
from asyncssh.kex_dh import (
    KEX_DH_GEX_MAX_SIZE,
    MSG_KEX_DH_GEX_REQUEST,
    MSG_KEX_DH_GEX_REQUEST_OLD,
    _dh_gex_groups,
    _KexDHGex,
)
from asyncssh.packet import MPInt, SSHPacket

NAME: Final = "diffie-hellman-group-exchange-sha256"
LEAST_BITS: Final = 2048
MOST_BITS: Final = 4096

GROUPS: Final = tuple(group for group in _dh_gex_groups if LEAST_BITS <= group[0] <= MOST_BITS)
"""(bits, generator, prime), from small to large; those of RFC 3526."""


def choose(least: int, preferred: int, most: int) -> tuple[int, int, int] | None:
    """The smallest group of at least `preferred` bits, else the largest; None if none is in the range."""
    allowed = [group for group in GROUPS if least <= group[0] <= most]
    return next((group for group in allowed if group[0] >= preferred), allowed[-1] if allowed else None)


class GroupExchange(_KexDHGex):
    """asyncssh's exchange, with our choice of the group."""

    def _process_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        if self._conn.is_client() or self._p:
            super()._process_request(pkttype, pktid, packet)  # says what is wrong
            return
        self._gex_data = packet.get_remaining_payload()
        if pkttype == MSG_KEX_DH_GEX_REQUEST_OLD:
            least, preferred, most = LEAST_BITS, packet.get_uint32(), KEX_DH_GEX_MAX_SIZE
        else:
            least, preferred, most = packet.get_uint32(), packet.get_uint32(), packet.get_uint32()
        packet.check_end()
        group = choose(least, preferred, most)
        if group is None:
            raise asyncssh.KeyExchangeFailed(
                f"no group of {least} to {most} bits; there are {LEAST_BITS} to {MOST_BITS}"
            )
        _, generator, prime = group
        self._init_group(generator, prime)
        self._gex_data += MPInt(prime) + MPInt(generator)
        self.send_packet(self._group_type, MPInt(prime), MPInt(generator))

    _packet_handlers = {  # noqa: RUF012  as asyncssh
        **_KexDHGex._packet_handlers,
        MSG_KEX_DH_GEX_REQUEST_OLD: _process_request,
        MSG_KEX_DH_GEX_REQUEST: _process_request,
    }


def install() -> None:
    """Have asyncssh use it; once for the process, safe to repeat."""
    handlers: dict[bytes, Any] = kex._kex_handlers
    handlers[NAME.encode("ascii")] = (GroupExchange, sha256, ())
