# SPDX-License-Identifier: Apache-2.0
"""A system program at the other end of a channel: bytes both ways, standard error, bounds, the end.

Input is written where it was decrypted and output is read into outgoing records, so that a byte is copied by
the kernel only. What the program does not take stays with the transport, whose client then stops by itself;
what the client does not take stays in the program's pipe.

Long, because a start, two directions and the ways to end share one state.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tidegate.doors.ssh.command import ChannelCall
from tidegate.doors.ssh.programs.process import Process, Wanted, start
from tidegate.errors import PeerGone, PeerLimit, QuotaExceeded, TidegateError
from tidegate.model import ProgramUse
from tidegate.resources.deadline import Deadline
from tidegate.vfs.api import ProgramRun

PIECE_BYTES: Final = 64 * 1024
"""Most bytes moved at once; other channels get their turn after each piece."""

THROTTLED_BYTES: Final = 16 * 1024
"""Most bytes moved at once where bandwidth is limited."""

STDERR_BYTES: Final = 16 * 1024
"""Most bytes of standard error taken at once."""

WATCH_SECONDS: Final = 0.5
"""How often it is asked whether stored bytes have to be counted again."""

DRAIN_SECONDS: Final = 5.0
"""How long output is waited for once the program has ended: somebody else may hold its pipe."""

MAX_HELD_BYTES: Final = 8 * 1024 * 1024
"""Most bytes of output that are held back until a push is stored."""

PACKET_HEAD: Final = 4
"""Bytes of the length of a packet line, in hexadecimal digits."""

STATUS_REFUSED: Final = 1
"""Exit status of a command that was refused."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command whose words were read and whose paths were looked up.

    Attributes:
        use: what is wanted.
        build: what is to be started.
        run: what the program may reach.
        finish: done after the program ended well; what git says after its list of names is held back until
            then, and is not said if this fails.
        afterwards: done after the program ended in any way; returns an exit status and a text for the client
            if something of what it did was undone.
    """

    use: ProgramUse
    build: Callable[[ProgramRun], Wanted]
    run: ProgramRun
    finish: Callable[[], Awaitable[None]] | None = None
    afterwards: Callable[[ProgramRun], Awaitable[tuple[int, str]]] | None = None


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


class ProgramConversation:
    """Implements `tidegate.doors.ssh.command.ChannelConversation`.

    Args:
        call: the surroundings.
        prepare: reads the words and looks paths up; raises what refuses them.
    """

    def __init__(self, call: ChannelCall, prepare: Callable[[ChannelCall], Awaitable[Prepared]]) -> None:
        self._call = call
        self._name = call.invocation.name
        self._transport = call.transport
        self._loop = asyncio.get_running_loop()
        self._process: Process | None = None
        self._run: ProgramRun | None = None
        self._blocked = True  # nothing is taken before the program runs
        self._writing = False
        self._input_over = False
        self._gone = False
        self._draining = False
        self._why = ""  # the reason why the program was ended before its time
        self._reads: dict[int, Callable[[], None]] = {}
        self._reading: set[int] = set()
        self._outputs_over = asyncio.Event()
        self._sent = 0
        self._held: HeldOutput | None = None
        self._piece = PIECE_BYTES
        self._timers: set[asyncio.TimerHandle] = set()
        self._waits_for_room = False
        self._check_now = asyncio.Event()
        self._checking = False
        self._status = STATUS_REFUSED
        self._task = self._loop.create_task(self._serve(prepare), name=f"program {self._name}")

    # -- what the transport calls ------------------------------------------------------------------------

    @property
    def saturated(self) -> bool:
        """True while the program takes nothing."""
        return self._blocked and not self._input_over

    @property
    def held_bytes(self) -> int:
        """Nothing is held: it waits in pipes, or with the transport."""
        return 0

    def feed(self, data: memoryview) -> int:
        """Hand bytes to the program; returns how many it took."""
        process, run = self._process, self._run
        if self._input_over:
            return len(data)
        if self._blocked or process is None or run is None or process.stdin < 0:
            return 0
        self._call.activity.touch()
        try:
            size = os.write(process.stdin, data[: self._piece])
        except BlockingIOError:
            self._block_until_writable(process)
            return 0
        except OSError:  # the program reads no more
            self._input_over = True
            process.close_stdin()
            return len(data)
        try:
            wait = run.received(size)
        except QuotaExceeded as error:
            self._stop(error.text)
            return len(data)
        if wait > 0:
            self._blocked = True
            self._later(wait, self._unblock)
        elif run.watched and run.due:
            self._blocked = self._checking = True
            self._check_now.set()
        return size

    def _block_until_writable(self, process: Process) -> None:
        self._blocked = self._writing = True
        self._loop.add_writer(process.stdin, self._on_writable)

    def _on_writable(self) -> None:
        self._stop_writing()
        self._unblock()

    def _stop_writing(self) -> None:
        if self._writing and self._process is not None:
            self._writing = False
            self._loop.remove_writer(self._process.stdin)

    def _unblock(self) -> None:
        if self._blocked and not self._checking:
            self._blocked = False
            self._transport.resume()

    def eof_received(self) -> None:
        """The client sends no more, and the program was given everything."""
        self._input_over = True
        if self._process is not None:
            self._stop_writing()
            self._process.close_stdin()

    def connection_lost(self) -> None:
        """The channel is gone: end the program."""
        self._gone = True
        self._input_over = True
        if self._process is None:
            self._task.cancel()
        else:
            self._stop_writing()
            for fd in list(self._reading):
                self._deafen(fd)
            self._reads.clear()
            self._outputs_over.set()
            self._process.close()
            self._process.end()

    def refuse_opens(self) -> None:
        """The server is shutting down: a program that runs may finish, none is started."""
        self._draining = True

    async def wait_closed(self) -> int:
        """Wait for the end of the channel and of the program; returns the exit status."""
        with suppress(asyncio.CancelledError):
            await asyncio.shield(self._task)
        return self._status

    # -- the program -------------------------------------------------------------------------------------

    async def _serve(self, prepare: Callable[[ChannelCall], Awaitable[Prepared]]) -> None:
        """The whole life of the program."""
        programs = self._call.programs
        text, intent = "", "ssh_command"
        try:
            rule = programs.full()
            if rule:
                raise PeerLimit(f"too many programs run now ({rule})")
            programs.set(1)
            prepared = await prepare(self._call)
            intent = prepared.use.value
            self._run = prepared.run
            await self._run.begin()
            if self._draining:
                raise PeerLimit("the server is shutting down")
            if prepared.finish is not None:
                self._held = HeldOutput()
            self._process = await start(prepared.build(self._run), self._run, self._call.program_options)
            await self._serve_process(self._process, self._run)
            self._status = self._process.status or (STATUS_REFUSED if self._why else 0)
            if prepared.afterwards is not None:
                undone, text = await prepared.afterwards(self._run)
                self._status = self._status or undone
            if prepared.finish is not None and self._held is not None:
                text = await self._finish(prepared.finish, self._held)
        except TidegateError as error:
            subject = next(reversed(self._call.invocation.arguments), "")
            self._call.session.failed(intent, str(subject), error)
            text = error.text
        except OSError as error:
            log.warning("%s: %s", self._name, error.strerror)
            text = "failure"
        finally:
            await self._end(text)

    async def _finish(self, finish: Callable[[], Awaitable[None]], held: HeldOutput) -> str:
        """Bring back what was changed, then say what was held back; returns what is to be said instead."""
        if self._status:
            return "" if self._why else "it failed, and nothing was stored"
        try:
            await finish()
        except TidegateError:
            self._status = STATUS_REFUSED
            raise
        if not self._gone:
            self._transport.send(bytes(held.rest))
        return ""

    async def _serve_process(self, process: Process, run: ProgramRun) -> None:
        options = self._call.program_options
        if self._gone:
            raise PeerGone
        self._reads = {process.stdout: self._read_output, process.stderr: self._read_error}
        for fd in self._reads:
            self._listen(fd)
        self._blocked = False
        self._transport.resume()
        deadline = Deadline(options.seconds, self._too_long) if options.seconds else None
        watching = self._loop.create_task(self._watch(process, run)) if run.watched else None
        try:
            await process.ended.wait()
            while not self._outputs_over.is_set():
                try:
                    await asyncio.wait_for(self._outputs_over.wait(), DRAIN_SECONDS)
                except TimeoutError:
                    if self._why or not self._waits_for_room:
                        break
        finally:
            if deadline is not None:
                deadline.cancel()
            if watching is not None:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching

    def _too_long(self) -> None:
        self._stop(
            f"ended after {self._call.program_options.seconds:.0f} seconds (sftpd.programs.time_limit)"
        )

    def _stop(self, why: str) -> None:
        """End the program before its time."""
        if self._why:
            return
        self._why = why
        log.warning("%s: %s: %s", self._call.session.peer.connection_id, self._name, why)
        # Said before the program ends: its client may not wait for more.
        self._complain(why)
        self._input_over = True
        if self._process is not None:
            self._stop_writing()
            self._listen(self._process.stdout)
            self._process.end()

    async def _watch(self, process: Process, run: ProgramRun) -> None:
        """Count what is stored as often as that is due; end the program once it is too much."""
        while not process.ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._check_now.wait(), WATCH_SECONDS)
            self._check_now.clear()
            if not run.due:
                self._checked()
                continue
            try:
                await run.check()
            except QuotaExceeded as error:
                self._stop(error.text)
            except TidegateError as error:
                log.warning("%s: what it stores cannot be counted: %s", self._name, error)
            self._checked()

    def _checked(self) -> None:
        if self._checking:
            self._checking = False
            self._unblock()

    # -- output ------------------------------------------------------------------------------------------

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
            self._outputs_over.set()

    def _wait_for_room(self) -> None:
        self._waits_for_room = True
        for fd in list(self._reading):
            self._deafen(fd)
        self._transport.when_sendable(self._room)

    def _room(self) -> None:
        self._waits_for_room = False
        for fd in self._reads:
            self._listen(fd)

    def _read_output(self) -> None:
        """The program wrote something."""
        process, run, transport = self._process, self._run, self._transport
        assert process is not None
        assert run is not None
        fd = process.stdout
        if self._why:  # part of its output is missing: no more of it makes sense
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
        bound = self._call.program_options.output_bytes
        if bound and self._sent > bound:
            self._stop(f"ended after {bound >> 20} MB of output (sftpd.programs.output_limit)")
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
        process, transport = self._process, self._transport
        assert process is not None
        fd = process.stderr
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

    def _complain(self, text: str) -> None:
        """Tell the client, on standard error."""
        if not self._gone and text:
            self._transport.error(f"{self._name}: {text}\n".encode("utf-8", "surrogateescape"))
            self._transport.flush()

    # -- the end -----------------------------------------------------------------------------------------

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something in a while, unless the program has ended by then."""

        def now() -> None:
            self._timers.discard(timer)
            call()

        timer = self._loop.call_later(seconds, now)
        self._timers.add(timer)

    async def _end(self, text: str) -> None:
        """Let everything go, and end the channel."""
        for timer in self._timers:
            timer.cancel()
        self._stop_writing()
        for fd in list(self._reading):
            self._deafen(fd)
        self._reads.clear()
        process, run = self._process, self._run
        try:
            if process is not None:
                process.end()
                await asyncio.shield(process.ended.wait())
                process.close()
            if run is not None:
                await run.close()
        finally:
            self._call.programs.set(0)
            self._input_over = True
            self._complain(text)
            if not self._gone:
                self._transport.close(status=self._status & 0xFF)
