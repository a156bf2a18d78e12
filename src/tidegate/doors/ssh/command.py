# SPDX-License-Identifier: Apache-2.0
"""The shape of SSH commands; the table of what exists is `commands.COMMANDS`.

A command is of one of two kinds. A `TextCommand` reads standard input and writes lines: digests, `pwd`.
A `ChannelCommand` owns its channel: it is a conversation on a transport (`doors.common.transport`), as SFTP
is, with bytes both ways, standard error and an exit status of its own: SCP, programs that speak a protocol.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from typing import Protocol as Contract

from tidegate.cluster.registry import Activity
from tidegate.doors.common.command_line import Word
from tidegate.doors.common.transport import Conversation, PacketTransport
from tidegate.doors.ssh.programs.options import ProgramOptions
from tidegate.model import Protocol
from tidegate.resources.count import Share
from tidegate.vfs.api import Session

STDIN_LIMIT: Final = 1024 * 1024
"""Bytes of standard input that wait for a command before the client is held back."""

STDIN_PIECE: Final = 32 * 1024
"""Bytes of waiting input that are kept in one object."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command line that may run.

    Attributes:
        line: as the client sent it; bytes that are not UTF-8 as surrogate escapes.
        name: a key of `commands.COMMANDS`.
        arguments: the words that follow the name.
    """

    line: str
    name: str
    arguments: tuple[Word, ...]


class Input:
    """Standard input with a bound; `pause` and `resume` hold the client back and let it go on."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause, self._resume = pause, resume
        self._chunks: deque[bytearray] = deque()
        self._size = 0
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    def put(self, data: bytes) -> None:
        """Data arrived."""
        # Gathered, because an object for each packet of two bytes would cost twenty times its content.
        if self._chunks and len(self._chunks[-1]) < STDIN_PIECE:
            self._chunks[-1] += data
        else:
            self._chunks.append(bytearray(data))
        self._size += len(data)
        self._changed.set()
        if self._size > STDIN_LIMIT:
            self._pause()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[bytearray]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                held_back = self._size > STDIN_LIMIT
                self._size -= len(chunk)
                if held_back and self._size <= STDIN_LIMIT:
                    self._resume()
                yield chunk
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()


class Output(Contract):
    """The output of a text command."""

    async def write(self, data: bytes) -> None:
        """Standard output; waits while the client does not read."""
        ...

    async def error(self, text: str) -> None:
        """One line on standard error."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """The surroundings of a text command."""

    invocation: Invocation
    session: Session
    stdin: Input
    output: Output


@dataclass(frozen=True, slots=True)
class TextCommand:
    """A command that reads standard input and writes lines.

    Attributes:
        run: returns the exit status. A `TidegateError` ends the command with its text and exit status 1.
    """

    run: Callable[[Call], Awaitable[int]]


class ChannelConversation(Conversation, Contract):
    """A conversation that a command opens. It ends its channel itself, by `PacketTransport.close`.

    When the channel is gone (`connection_lost`) it ends what it has open as failed. The session is not its
    own: whoever opened the session closes it after `wait_closed`.
    """

    @property
    def held_bytes(self) -> int:
        """Bytes that the conversation holds beside those that the transport holds."""
        ...

    def refuse_opens(self) -> None:
        """The server is shutting down: let what is being transferred be finished, and begin nothing else."""
        ...

    async def wait_closed(self) -> int:
        """Wait for the end of the channel, and until all is released; returns the exit status."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelCall:
    """The surroundings of a command that owns its channel.

    Attributes:
        invocation: the command line.
        session: files of the account; its `peer.protocol` is that of the command.
        transport: carries the bytes.
        activity: to be touched whenever the client sends something.
        handles: counts open handles against the limits of account and process.
        programs: counts system programs likewise.
        program_options: bounds of system programs.
        variables: environment variables that the client sent, of those that are taken.
    """

    invocation: Invocation
    session: Session
    transport: PacketTransport
    activity: Activity
    handles: Share
    programs: Share
    program_options: ProgramOptions
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ChannelCommand:
    """A command that owns its channel.

    Attributes:
        open: begins the conversation. A `TidegateError` ends the channel with its text and exit status 1.
        protocol: of what it does, in events, logs and rules.
        largest: most bytes that the conversation commits at once (`PacketTransport.reserve`).
        on_record: True if an event of action `ssh_command` says that it ran. SCP has none: its transfers are
            on record one by one.
    """

    open: Callable[[ChannelCall], ChannelConversation]
    protocol: Protocol = Protocol.SSH
    largest: int = 64 * 1024
    on_record: bool = True


Command = TextCommand | ChannelCommand
