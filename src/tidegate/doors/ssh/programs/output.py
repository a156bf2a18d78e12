# SPDX-License-Identifier: Apache-2.0
"""The output of a system program on its way to the client: both streams, and what is held back of one.

Output is read into outgoing records, so that a byte is copied by the kernel only. What the client does not
take stays in the program's pipe.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from tidegate.doors.common.transport import PacketTransport
from tidegate.errors import QuotaExceeded
from tidegate.vfs.api import ProgramRun

PIECE_BYTES: Final = 64 * 1024
"""Most bytes moved at once; other channels get their turn after each piece."""

THROTTLED_BYTES: Final = 16 * 1024
"""Most bytes moved at once where bandwidth is limited."""

STDERR_BYTES: Final = 16 * 1024
"""Most bytes of standard error taken at once."""

MAX_HELD_BYTES: Final = 8 * 1024 * 1024
"""Most bytes of output that are held back until a push is stored."""

PACKET_HEAD: Final = 4
"""Bytes of the length of a packet line, in hexadecimal digits."""


class HeldOutput:
    """The output of git-receive-pack: its list of names goes out, what follows is kept (gitprotocol-pack).

    Attributes:
        rest: what is kept.
    """

    def __init__(self) -> None:
        self.rest = bytearray()
        self._line = bytearray()  # the beginning of a packet line
        self._over = False

    def take(self, data: bytes) -> bytes:
        """Take output; returns what goes out: whole packet lines up to the first flush packet."""
        if self._over:
            self.rest += data
            return b""
        self._line += data
        end = 0
        while len(self._line) - end >= PACKET_HEAD and not self._over:
            try:
                size = int(self._line[end : end + PACKET_HEAD], 16)
            except ValueError:  # nothing that git says
                size = 0
            self._over = not size
            if len(self._line) - end < size:
                break
            end += max(size, PACKET_HEAD)
        passed = bytes(self._line[:end])
        del self._line[:end]
        if self._over:
            self.rest, self._line = self._line, bytearray()
        return passed


class ProgramOutput:
    """Reads both outputs of a program until they end.

    Args:
        outputs: descriptors of standard output and standard error, non-blocking.
        run: charges what is sent.
        transport: of the channel.
        held: takes standard output first, if something of it is to be held back.
        most: bytes of standard output after which the program is ended; 0 is no limit.
        stop: ends the program before its time, for a reason.
        later: calls something in so many seconds.

    Attributes:
        over: set once both outputs have ended.
        waits_for_room: the client takes nothing now.
    """

    def __init__(
        self,
        outputs: tuple[int, int],
        run: ProgramRun,
        transport: PacketTransport,
        *,
        held: HeldOutput | None,
        most: int,
        stop: Callable[[str], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._stdout, self._stderr = outputs
        self._run = run
        self._transport = transport
        self._held = held
        self._most = most
        self._stop = stop
        self._later = later
        self._loop = asyncio.get_running_loop()
        self._piece = PIECE_BYTES
        self._sent = 0
        self._discarding = False
        self._reads: dict[int, Callable[[], None]] = {
            self._stdout: self._read_output,
            self._stderr: self._read_error,
        }
        self._reading: set[int] = set()
        self.over = asyncio.Event()
        self.waits_for_room = False
        for fd in self._reads:
            self._listen(fd)

    def discard(self) -> None:
        """Take what comes of standard output, and send no more: the program is being ended."""
        self._discarding = True
        self._listen(self._stdout)

    def end(self) -> None:
        """Read no more; the descriptors may be closed."""
        for fd in list(self._reading):
            self._deafen(fd)
        self._reads.clear()
        self.over.set()

    def _listen(self, fd: int) -> None:
        if fd in self._reads and fd not in self._reading:
            self._reading.add(fd)
            self._loop.add_reader(fd, self._reads[fd])

    def _deafen(self, fd: int) -> None:
        if fd in self._reading:
            self._reading.discard(fd)
            self._loop.remove_reader(fd)

    def _over(self, fd: int) -> None:
        self._deafen(fd)
        self._reads.pop(fd, None)
        if not self._reads:
            self.over.set()

    def _wait_for_room(self) -> None:
        self.waits_for_room = True
        for fd in list(self._reading):
            self._deafen(fd)
        self._transport.when_sendable(self._room)

    def _room(self) -> None:
        self.waits_for_room = False
        for fd in self._reads:
            self._listen(fd)

    def _read_output(self) -> None:
        """The program wrote something."""
        run, transport, fd = self._run, self._transport, self._stdout
        if self._discarding:  # part of its output is missing: no more of it makes sense
            self._discard(fd)
            return
        room = transport.sendable
        if room <= 0:
            self._wait_for_room()
            return
        if self._held is not None:
            self._read_held(fd, self._held)
            return
        views = transport.reserve(0, min(room, self._piece))
        if views is None:  # the channel is gone
            self._deafen(fd)
            return
        try:
            size = os.readv(fd, views)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._over(fd)
            return
        try:
            wait = run.sent(size)
        except QuotaExceeded as error:
            self._stop(error.text)
            return
        transport.commit(b"", size)
        transport.flush()
        self._sent += size
        if self._most and self._sent > self._most:
            self._stop(f"ended after {self._most >> 20} MB of output (sftpd.programs.output_limit)")
        if wait > 0:
            self._piece = THROTTLED_BYTES
            self._deafen(fd)
            self._later(wait, lambda: self._listen(fd))

    def _read_held(self, fd: int, held: HeldOutput) -> None:
        """Pass on the beginning, and keep the rest."""
        try:
            data = os.read(fd, self._piece)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._over(fd)
            return
        passed = held.take(data)
        self._sent += len(data)
        if passed:
            self._transport.send(passed)
            self._transport.flush()
        if len(held.rest) > MAX_HELD_BYTES:
            self._stop(f"more than {MAX_HELD_BYTES >> 20} MB of output before anything was stored")

    def _read_error(self) -> None:
        """The program wrote to standard error."""
        transport, fd = self._transport, self._stderr
        if transport.sendable <= 0:
            self._wait_for_room()
            return
        try:
            data = os.read(fd, STDERR_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._over(fd)
            return
        transport.error(data)
        transport.flush()

    def _discard(self, fd: int) -> None:
        """Take output that nobody gets: a program that is being ended must not hang in a write."""
        try:
            over = not os.read(fd, PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            self._over(fd)
