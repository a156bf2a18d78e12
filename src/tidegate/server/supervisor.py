# SPDX-License-Identifier: Apache-2.0
"""Tells systemd, or whoever set ``NOTIFY_SOCKET``, the state of the server by datagrams (sd_notify(3))."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

MAX_STATUS: Final = 200
"""Characters of the line that ``systemctl status`` shows."""

_log = logging.getLogger(__name__)


class Supervisor:
    """The way to the supervisor of this process; without one every call does nothing.

    Args:
        environment: of the process. The variables are those of sd_notify(3) and sd_watchdog_enabled(3).
        pid: of the process: ``WATCHDOG_PID`` may name another.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ, pid: int | None = None) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        if address and address[0] not in "/@":
            _log.warning("NOTIFY_SOCKET is neither a path nor an abstract name: %r", address)
            self._address = ""
        own = environment.get("WATCHDOG_PID", "")
        mine = not own or own == str(os.getpid() if pid is None else pid)
        text = environment.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(text) / 1e6 if mine and text.isdigit() else 0.0
        """Seconds within which the supervisor wants a sign of life; 0 for none."""

    def ready(self, status: str) -> None:
        """The server serves."""
        self._send("READY=1", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The server is ending."""
        self._send("STOPPING=1")

    async def watch(self, status: Callable[[], str]) -> None:
        """Give signs of life until cancelled: they stop if the loop does.

        Args:
            status: the line for people, as of the moment.
        """
        if not self._address:
            return
        every = self.watchdog_seconds / 2 or 30.0
        while True:
            self._send("WATCHDOG=1", f"STATUS={_line(status())}")
            await asyncio.sleep(every)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            _log.warning("the supervisor was not told %s: %s", lines[0], error)


def _line(text: str) -> str:
    return " ".join(text.split())[:MAX_STATUS]
