# SPDX-License-Identifier: Apache-2.0
"""Commands that clients may run by SSH exec. Nothing here starts a program.

`COMMANDS` is the table of what exists; legacy scp, rsync and git get their rows here when they are built.
Output follows GNU coreutils, because that is what clients parse.
"""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tidegate.errors import TidegateError
from tidegate.model import VPath
from tidegate.vfs.api import Session

MAX_COMMAND: Final = 64 * 1024
"""Longest command line, characters."""

MAX_ARGUMENTS: Final = 1000
"""Arguments of one command."""

STDIN_LIMIT: Final = 1024 * 1024
"""Bytes of standard input that wait for a command before the client is held back."""

STDIN_PIECE: Final = 32 * 1024
"""Bytes of waiting input that are kept in one object."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command line that may run.

    Attributes:
        line: as the client sent it.
        name: a key of `COMMANDS`.
        arguments: what follows the name.
    """

    line: str
    name: str
    arguments: tuple[str, ...]


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


class Output(Protocol):
    """The output of a command."""

    async def write(self, data: bytes) -> None:
        """Standard output; waits while the client does not read."""
        ...

    async def error(self, text: str) -> None:
        """One line on standard error."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """The surroundings of one command."""

    invocation: Invocation
    session: Session
    stdin: Input
    output: Output


def parse(line: str, enabled: Collection[str]) -> Invocation | None:
    """Split a command line as a POSIX shell would, without any of its expansions.

    Returns:
        None if it is malformed, unknown or not enabled.
    """
    if len(line) > MAX_COMMAND or "\0" in line:
        return None
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    if not words or len(words) > MAX_ARGUMENTS or words[0] not in COMMANDS:
        return None
    if words[0] not in enabled and "*" not in enabled:
        return None
    return Invocation(line, words[0], tuple(words[1:]))


def subject(invocation: Invocation, start: VPath) -> VPath | None:
    """The path that a command is about, for the log: of several the last; None if it names none.

    Args:
        invocation: of the command.
        start: directory that relative paths begin in.
    """
    words = [word for word in invocation.arguments if not word.startswith("-")]
    try:
        return VPath.parse(words[-1], start) if words else None
    except TidegateError:
        return None


async def run(call: Call) -> int:
    """Run a command; returns its exit status."""
    return await COMMANDS[call.invocation.name](call)


def _escaped(name: str) -> tuple[str, str]:
    """Coreutils' form of a file name: a line that begins with a backslash has an escaped name."""
    if not any(char in name for char in "\\\n\r"):
        return "", name
    return "\\", name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


async def _digest(call: Call) -> int:
    algorithm, start = _DIGESTS[call.invocation.name]
    status = 0
    paths: list[str] = []
    options = True
    for word in call.invocation.arguments:
        if options and word == "--":
            options = False
        elif options and word.startswith("-") and word != "-":
            if word not in ("-b", "-t", "--binary", "--text"):
                await call.output.error(f"{call.invocation.name}: {word} unknown option")
                return 1
        else:
            paths.append(word)
    for path in paths or ["-"]:
        if path == "-":
            hasher = start()
            async for chunk in call.stdin:
                hasher.update(chunk)
            await call.output.write(f"{hasher.hexdigest()}  -\n".encode())
            continue
        clean: VPath | None = None
        try:
            clean = VPath.parse(path, call.session.start_directory)
            (digest,) = await call.session.checksum(clean, algorithm)
        except TidegateError as error:
            call.session.failed("checksum", clean or path, error)
            await call.output.error(f"{call.invocation.name}: {_escaped(path)[1]} {error.text}")
            status = 1
            continue
        mark, name = _escaped(clean)
        await call.output.write(f"{mark}{digest.hex()}  {name}\n".encode("utf-8", "surrogateescape"))
    return status


async def _change_directory(call: Call) -> int:  # noqa: ARG001  every command takes one
    return 0  # each command has a session of its own, so there is nothing to change


async def _print_directory(call: Call) -> int:
    await call.output.write(f"{call.session.start_directory}\n".encode("utf-8", "surrogateescape"))
    return 0


def _blake3() -> Any:
    from blake3 import blake3  # loaded by the first who asks

    return blake3()


_DIGESTS: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "md5sum": ("md5", lambda: hashlib.md5(usedforsecurity=False)),
    "sha1sum": ("sha1", lambda: hashlib.sha1(usedforsecurity=False)),
    "sha256sum": ("sha256", hashlib.sha256),
    "sha384sum": ("sha384", hashlib.sha384),
    "sha512sum": ("sha512", hashlib.sha512),
    "b3sum": ("blake3", _blake3),
}

COMMANDS: Final[dict[str, Callable[[Call], Awaitable[int]]]] = {
    **dict.fromkeys(_DIGESTS, _digest),
    "cd": _change_directory,
    "pwd": _print_directory,
}
"""Every command that can be enabled."""
