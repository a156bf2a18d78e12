# SPDX-License-Identifier: Apache-2.0
"""A system program at the other end of a channel: its start, its input, its bounds, its end.

Input is written where it was decrypted, so that a byte is copied by the kernel only. What the program does
not take stays with the transport, whose client then stops by itself. Output: `output`.
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
from tidegate.doors.ssh.programs.output import PIECE_BYTES, HeldOutput, ProgramOutput
from tidegate.doors.ssh.programs.process import Process, Wanted, start
from tidegate.errors import PeerGone, PeerLimit, QuotaExceeded, TidegateError
from tidegate.model import ProgramUse
from tidegate.resources.deadline import Deadline
from tidegate.vfs.api import ProgramRun

WATCH_SECONDS: Final = 0.5
"""Seconds between two questions whether stored bytes have to be counted again."""

DRAIN_SECONDS: Final = 5.0
"""Seconds that output is waited for once the program has ended: somebody else may hold its pipe."""

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
        self._output: ProgramOutput | None = None
        self._timers: set[asyncio.TimerHandle] = set()
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
            size = os.write(process.stdin, data[:PIECE_BYTES])
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
            if self._output is not None:
                self._output.end()
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
            held = HeldOutput() if prepared.finish is not None else None
            self._process = await start(prepared.build(self._run), self._run, self._call.program_options)
            await self._serve_process(self._process, self._run, held)
            self._status = self._process.status or (STATUS_REFUSED if self._why else 0)
            if prepared.afterwards is not None:
                undone, text = await prepared.afterwards(self._run)
                self._status = self._status or undone
            if prepared.finish is not None and held is not None:
                text = await self._finish(prepared.finish, held)
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

    async def _serve_process(self, process: Process, run: ProgramRun, held: HeldOutput | None) -> None:
        options = self._call.program_options
        if self._gone:
            raise PeerGone
        output = self._output = ProgramOutput(
            (process.stdout, process.stderr),
            run,
            self._transport,
            held=held,
            most=options.output_bytes,
            stop=self._stop,
            later=self._later,
        )
        self._blocked = False
        self._transport.resume()
        deadline = Deadline(options.seconds, self._too_long) if options.seconds else None
        watching = self._loop.create_task(self._watch(process, run)) if run.watched else None
        try:
            await process.ended.wait()
            while not output.over.is_set():
                try:
                    await asyncio.wait_for(output.over.wait(), DRAIN_SECONDS)
                except TimeoutError:
                    if self._why or not output.waits_for_room:
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
            if self._output is not None:
                self._output.discard()
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
        if self._output is not None:
            self._output.end()
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
