# SPDX-License-Identifier: Apache-2.0
"""A server connection of asyncssh that does less for each packet; what it says and answers is the same.

asyncssh lays out a debug message for each packet and each step of a key exchange, and the logging module then
drops it; it sends an empty packet of type IGNORE before each packet; and it writes each packet to the socket
by itself, which wakes the client. Together that was a third of the processor time of a login.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from asyncssh.connection import SSHServerConnection
from asyncssh.constants import MSG_IGNORE
from asyncssh.logging import SSHLogger


class QuietLogger(SSHLogger):
    """A logger of asyncssh that takes warnings and errors alone, and costs one call for all else."""

    def info(self, msg: object, *args: object, **keywords: Any) -> None:
        """Do nothing."""

    def debug(self, msg: object, *args: object, **keywords: Any) -> None:
        """Do nothing."""

    def debug1(self, msg: object, *args: Any, **keywords: Any) -> None:
        """Do nothing."""

    def debug2(self, msg: object, *args: Any, **keywords: Any) -> None:
        """Do nothing."""

    def packet(self, pktid: int | None, packet: bytes, msg: object, *args: Any, **keywords: Any) -> None:
        """Do nothing."""


_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""The option of tcp(7); Linux has it."""

SMALL_PACKET: Final = 512
"""A peer that takes smaller packets of data (in bytes) costs a record for every few bytes that it is sent."""
TURN_PACKETS: Final = 128
"""Packets that are sealed for such a peer in one turn of the loop."""

CHAINED: Final = b"-cbc"
"""End of the names of ciphers whose next initialisation vector is known to who listens."""


class PacketConnection(SSHServerConnection):
    """A connection whose packets cost little."""

    _corked: list[bytes] | None = None

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        made = self._logger
        self._logger = QuietLogger(made.logger, context=made._context)  # noqa: SLF001  asyncssh names it by number

    def log_sent_packet(self, *_: Any, **__: Any) -> None:
        """Do nothing: asyncssh's debug messages are never shown."""

    def log_received_packet(self, *_: Any, **__: Any) -> None:
        """Do nothing, as `log_sent_packet`."""

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:  # noqa: ARG002  for the log
        """Send a packet.

        The empty one before it hides from who listens what the next block will be mixed with (RFC 4251
        section 9.3.1). Only CBC mode has that weakness; counters and AEAD modes have it not.
        """
        if pkttype == MSG_IGNORE and not self._enc_alg_sc.endswith(CHAINED):
            return
        super().send_packet(pkttype, *args, handler=self)

    def cork(self) -> bool:
        """Keep packets until `uncork` writes them in one go; False if somebody keeps them already."""
        if self._corked is not None:
            return False
        self._corked = []
        return True

    def uncork(self) -> bool:
        """Write what is kept, and keep nothing more; False if there was nothing."""
        corked, self._corked = self._corked, None
        if corked:
            super()._send(b"".join(corked))
        return bool(corked)

    def _force_close(self, exc: Exception | None) -> None:
        self.uncork()  # what was said last is heard
        super()._force_close(exc)

    def _send(self, data: bytes) -> None:
        if self._corked is None:
            super()._send(data)
        else:
            self._corked.append(data)


def acknowledge(transport: asyncio.BaseTransport) -> None:
    """Have the system tell the peer at once that its bytes have come; it would wait 40 ms for an answer.

    A client whose system gathers small packets (RFC 1122 section 4.2.3.4), as OpenSSH's does until its
    session begins, sends the next one only then. Does nothing where there is no such option.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and _QUICKACK is not None:
        try:  # noqa: SIM105  `suppress` is three calls more, four times a login
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except OSError:  # the connection is gone
            pass


__all__ = ["PacketConnection", "QuietLogger", "acknowledge"]
