# SPDX-License-Identifier: Apache-2.0
"""Listening sockets that whoever started this process opened for it: socket activation, sd_listen_fds(3)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

FIRST: Final = 3
"""The number of the first descriptor that is passed on."""

MAX_SOCKETS: Final = 256
"""Descriptors that are looked at."""

_log = logging.getLogger(__name__)


class Inherited:
    """Sockets by the address that they are bound to.

    Each is given out to one at a time, as a copy: whoever started the process listens on, so a binding that
    was closed and is opened again, as by a reload, could not be opened otherwise.

    Args:
        sockets: bound, listening, of TCP; owned from here on.
    """

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        self._sockets = {_place(sock.getsockname()): sock for sock in sockets}
        self._given: dict[tuple[str, int], socket.socket] = {}

    def take(self, where: tuple[Any, ...]) -> socket.socket | None:
        """The socket that listens on exactly this address, or None; the caller owns it.

        Args:
            where: numeric address and port, as `socket.getsockname` tells them.
        """
        place = _place(where)
        held, given = self._sockets.get(place), self._given.get(place)
        if held is None or (given is not None and given.fileno() != -1):
            return None
        given = self._given[place] = held.dup()
        return given

    def unused(self) -> list[str]:
        """``ADDRESS:PORT`` of those that nobody has taken; connections to them would wait for ever."""
        places = [place for place in self._sockets if place not in self._given]
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places]

    def close(self) -> None:
        """Close them; what was taken belongs to others."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def inherited(environment: MutableMapping[str, str] = os.environ, pid: int | None = None) -> Inherited:
    """The sockets of this process. Its environment names them no more afterwards, and no program gets them.

    Args:
        environment: ``LISTEN_PID`` and ``LISTEN_FDS`` say whether there are any.
        pid: of the process.
    """
    named = {name: environment.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES")}
    if named["PID"] != str(os.getpid() if pid is None else pid) or not named["FDS"].isdecimal():
        return Inherited()
    return Inherited(filter(None, map(_listening, range(FIRST, FIRST + min(int(named["FDS"]), MAX_SOCKETS)))))


def _listening(number: int) -> socket.socket | None:
    """The socket of a descriptor, if it is one that connections by TCP can be accepted from."""
    try:
        os.set_inheritable(number, False)
        sock = socket.socket(fileno=number)
    except OSError as error:
        _log.warning("descriptor %d, which was passed on, is no socket: %s", number, error.strerror)
        return None
    if (
        sock.family in {socket.AF_INET, socket.AF_INET6}
        and sock.type == socket.SOCK_STREAM
        and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        return sock
    sock.close()
    _log.warning(
        "descriptor %d, which was passed on, does not listen for TCP (a unit needs Accept=no)", number
    )
    return None


def _place(where: tuple[Any, ...]) -> tuple[str, int]:
    host, port, *_ = where
    return str(host).partition("%")[0], int(port)
