# SPDX-License-Identifier: Apache-2.0
"""One shell channel, from its first line to its exit status: lines, commands, and SCP within them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final

from tidegate.doors.common.command_line import MAX_COMMAND, Word, split
from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.scp.dialogue import ScpDialogue
from tidegate.doors.ssh.command import Call, ChannelCall, Input, Invocation
from tidegate.doors.ssh.shell import commands, lines
from tidegate.errors import NotADirectory, PeerGone, TidegateError
from tidegate.model import VPath

USAGE: Final = 2
"""Exit status of a line that is not understood."""

PIECE_BYTES: Final = 64 * 1024
"""Bytes of output that are sent at once."""

_NUMBER: Final = re.compile("[0-9]{1,9}")

log = logging.getLogger(__name__)


class _Borrowed:
    """The channel's transport in the hands of SCP, which ends and leaves the channel open."""

    def __init__(self, transport: PacketTransport) -> None:
        self._transport = transport
        self.when_sendable = transport.when_sendable
        self.tight = transport.tight
        self.send = transport.send
        self.reserve = transport.reserve
        self.commit = transport.commit
        self.flush = transport.flush
        self.resume = transport.resume
        self.error = transport.error

    @property
    def congested(self) -> bool:
        """See `PacketTransport`."""
        return self._transport.congested

    @property
    def sendable(self) -> int:
        """See `PacketTransport`."""
        return self._transport.sendable

    def close(self, *, status: int) -> None:  # noqa: ARG002  told by `ScpDialogue.wait_closed`
        """The copy is over."""
        self._transport.flush()


class ShellDialogue:
    """Implements `tidegate.doors.ssh.command.ChannelConversation`.

    The session is the channel's own: its start directory is where the channel is.

    Args:
        call: the surroundings.
        enabled: `sftpd.enabled_ssh_commands`.
    """

    def __init__(self, call: ChannelCall, enabled: Collection[str]) -> None:
        self._call = call
        self._enabled = enabled
        self._session = call.session
        self._transport = call.transport
        self._home = call.session.start_directory
        self._loop = asyncio.get_running_loop()
        self._line = bytearray()
        self._wanted: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._scp: ScpDialogue | None = None
        self._ended = False
        self._gone = False
        self._draining = False
        self._over = False
        self._task = self._loop.create_task(self._run(), name="shell channel")

    # -- what the transport calls ------------------------------------------------------------------------

    @property
    def saturated(self) -> bool:
        """True while a command runs that takes no input."""
        return self._wanted is None if self._scp is None else self._scp.saturated

    @property
    def held_bytes(self) -> int:
        """Bytes of an unfinished line, and of files that wait for storage."""
        return len(self._line) + (0 if self._scp is None else self._scp.held_bytes)

    def feed(self, data: memoryview) -> int:
        """Take the rest of one line, or what SCP takes; returns how many bytes that was."""
        if self._scp is not None:
            return self._scp.feed(data)
        self._call.activity.touch()
        if self._wanted is None:
            return 0
        head = bytes(data[: MAX_COMMAND + 1 - len(self._line)])
        end = head.find(b"\n") + 1
        self._line += head[:end] if end else head
        if end or len(self._line) > MAX_COMMAND:
            self._wake()
        return end or len(head)

    def eof_received(self) -> None:
        """The client sends no more."""
        self._ended = True
        if self._scp is not None:
            self._scp.eof_received()
        self._wake()

    def connection_lost(self) -> None:
        """The channel is gone: what is open ends as failed."""
        self._gone = self._ended = True
        if self._scp is not None:
            self._scp.connection_lost()
        else:
            self._task.cancel()
        self._make_room()

    def refuse_opens(self) -> None:
        """Let the file that is being transferred be finished, and begin nothing else."""
        self._draining = True
        if self._scp is not None:
            self._scp.refuse_opens()

    async def wait_closed(self) -> int:
        """Wait for the end of the channel and of all that it held; returns the exit status."""
        await asyncio.wait([self._task])
        return 1 if self._task.cancelled() else self._task.result()

    # -- lines -------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    async def _next(self) -> str | None:
        """The next line without its end; None if there is none."""
        self._line.clear()
        if self._ended:
            return None
        self._wanted = wanted = self._loop.create_future()
        self._transport.flush()
        self._transport.resume()
        try:
            await wanted
        finally:
            self._wanted = None
        if not self._line.endswith(b"\n"):
            if len(self._line) > MAX_COMMAND:
                await self.error(f"a command line of more than {MAX_COMMAND} bytes")
            return None
        return self._line[:-1].rstrip(b"\r").decode("utf-8", "surrogateescape")

    async def _run(self) -> int:
        status = 0
        try:
            while not self._over and (line := await self._next()) is not None:
                if self._draining:
                    await self.error("the server is shutting down")
                    status = 1
                    break
                status = await self._do(line, status)
                await asyncio.sleep(0)  # lines that came at once must not keep the loop from others
        except PeerGone:
            status = 1
        except Exception:
            log.exception("%s: unforeseen error in a shell channel", self._session.peer.connection_id)
            status = 1
        if not self._gone:
            self._transport.close(status=status & 0xFF)
        return status

    async def _do(self, line: str, status: int) -> int:
        """Run the commands of a line; returns the status of the last."""
        try:
            found = lines.steps(line)
        except TidegateError as error:
            await self.error(error.text)
            return USAGE
        for step in found:
            try:
                words = split(lines.expand(step, status))
            except TidegateError as error:
                await self.error(error.text)
                status = USAGE
                continue
            if words:
                status = await self._command(step, words, status)
            if self._over:
                break
        return status

    async def _command(self, step: str, words: Sequence[Word], status: int) -> int:
        name = str(words[0])
        username = self._session.principal.username
        invocation = Invocation(
            step, name, tuple(commands.absolute(word, self._home, username) for word in words[1:])
        )
        try:
            if name == "cd":
                return await self._change_directory(invocation)
            if name == "exit":
                self._over = True
                return int(words[1]) & 0xFF if len(words) > 1 and _NUMBER.fullmatch(words[1]) else status
            if name == "scp":
                return await self._copy(invocation)
            command = commands.find(name, self._enabled)
            if command is None:
                await self.error(f"{name[:80]}: command not found")
                return commands.NOT_FOUND
            stdin = Input(_ignore, _ignore)
            stdin.end()
            return await command.run(Call(invocation, self._session, stdin, self))
        except PeerGone:
            raise
        except TidegateError as error:
            await self.error(f"{name}: {error.text}")
            return 1

    async def _change_directory(self, invocation: Invocation) -> int:
        words = [word for word in invocation.arguments if word != "--"]
        path = VPath.parse(str(words[0]) or ".", self._session.start_directory) if words else self._home
        try:
            if not (await self._session.stat(path)).is_dir:
                raise NotADirectory
        except TidegateError as error:
            if not error.told:
                self._session.failed("list", path, error)
            await self.error(f"cd: {words[0] if words else path}: {error.text}")
            return 1
        self._session.start_directory = path
        return 0

    async def _copy(self, invocation: Invocation) -> int:
        """SCP within the channel; the channel ends too if what follows might be content and no line."""
        call = self._call
        self._scp = scp = ScpDialogue(
            invocation.arguments, self._session, _Borrowed(self._transport), call.activity, call.handles
        )
        try:
            status = await scp.wait_closed()
        except asyncio.CancelledError:
            scp.connection_lost()
            with suppress(asyncio.CancelledError):
                await scp.wait_closed()
            raise
        finally:
            self._scp = None
        if self._gone:
            raise PeerGone
        self._over = self._over or not scp.in_step
        return status

    # -- output ------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def _wait_for_room(self) -> None:
        while not self._transport.sendable:
            if self._gone:
                raise PeerGone
            self._room = room = self._loop.create_future()
            self._transport.flush()
            self._transport.when_sendable(self._make_room)
            await room
        if self._gone:
            raise PeerGone

    async def write(self, data: bytes) -> None:
        """Standard output of a command; see `command.Output`."""
        for start in range(0, len(data), PIECE_BYTES):
            await self._wait_for_room()
            self._transport.send(data[start : start + PIECE_BYTES])
        self._transport.flush()

    async def error(self, text: str) -> None:
        """Standard error of a command; see `command.Output`."""
        await self._wait_for_room()
        self._transport.error(f"{text}\n".encode("utf-8", "surrogateescape"))
        self._transport.flush()


def _ignore() -> None:
    """There is no client whose input waits."""
