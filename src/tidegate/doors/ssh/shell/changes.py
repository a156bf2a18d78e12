# SPDX-License-Identifier: Apache-2.0
"""``rm``, ``mv``, ``cp``, ``ln``, ``chmod``, ``chown`` and ``chgrp``, in the forms that WinSCP sends."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from tidegate.doors.common.command_line import Word
from tidegate.doors.ssh import trees
from tidegate.doors.ssh.command import Call, Output
from tidegate.doors.ssh.file_commands import Words, apart, each, path_of, usage
from tidegate.doors.ssh.file_commands import rm as remove_files
from tidegate.errors import InvalidArgument, NotFound, TidegateError, Unsupported
from tidegate.model import Attrs, Entry, VPath
from tidegate.vfs.api import Session

MAX_DEPTH: Final = 256
"""Directories within each other that ``-R`` goes into."""

_OCTAL: Final = re.compile(r"[0-7]{1,4}")
_CLAUSE: Final = re.compile(r"([ugoa]*)([-+=])([rwxXst]*)")
_SHIFTS: Final = {"u": 6, "g": 3, "o": 0}
_BITS: Final = {"r": 4, "w": 2, "x": 1}
_MAX_ID: Final = 2**32 - 2


class _WithoutOk:
    """The output of a command whose success has no text."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.error = output.error

    async def write(self, data: bytes) -> None:
        """Standard output."""
        if data != b"OK\n":
            await self._output.write(data)


def _quiet(call: Call, names: tuple[Word, ...]) -> Call:
    """The same command with names alone, for one that says OK at its end."""
    invocation = replace(call.invocation, arguments=(Word("--"), *names))
    return replace(call, invocation=invocation, output=_WithoutOk(call.output))


def _apart(call: Call, known: str, *, least: int, most: int | None = None) -> Words:
    return apart(call.invocation.arguments, known, least=least, most=most)


async def rm(call: Call) -> int:
    """Remove files, and with ``-r`` trees; ``-f`` takes what is not there."""
    try:
        words = _apart(call, "frR", least=1)
    except InvalidArgument as error:
        return await usage(call, error)
    if not words.options & {"r", "R"}:
        return await remove_files(call)
    names = list(words.names)
    if "f" in words.options:
        names = [word for word in names if not await _missing(call, word)]
    return await trees.remove(_quiet(call, tuple(names))) if names else 0


async def _missing(call: Call, word: Word) -> bool:
    try:
        await call.session.stat(path_of(call, word), follow=False)
    except NotFound:
        return True
    except TidegateError:
        return False
    return False


async def mv(call: Call) -> int:
    """Give something another name, or bring it into a directory that is there; ``-f`` changes nothing."""
    try:
        words = _apart(call, "f", least=2, most=2)
    except InvalidArgument as error:
        return await usage(call, error)

    async def move(source: VPath) -> None:
        target = await _within(call.session, path_of(call, words.names[1]), source)
        await call.session.rename(source, target, replace=True)

    return await each(call, words.names[:1], "rename", move)


async def _within(session: Session, target: VPath, source: VPath) -> VPath:
    """The target itself, or what it holds if it is a directory."""
    if await _is_directory(session, target):
        return target.child(source.name)
    return target


async def _is_directory(session: Session, path: VPath) -> bool:
    try:
        return (await session.stat(path)).is_dir
    except TidegateError:
        return False


async def cp(call: Call) -> int:
    """Copy a file or a tree; ``-p``, ``-r``, ``-R``, ``-f``; ``-T``: the target is the new name itself."""
    try:
        words = _apart(call, "prRfT", least=2, most=2)
        target = path_of(call, words.names[1])
    except InvalidArgument as error:
        return await usage(call, error)
    if "T" in words.options and await _is_directory(call.session, target):
        await call.output.error(f"cp: {words.names[1]}: is a directory")
        return 1
    return await trees.copy(_quiet(call, words.names))


async def ln(call: Call) -> int:
    """Make a symbolic link (``-s``) or another name of a file."""
    try:
        words = _apart(call, "sf", least=2, most=2)
    except InvalidArgument as error:
        return await usage(call, error)

    async def link(name: VPath) -> None:
        if "s" in words.options:
            await call.session.symlink(str(words.names[0]), name)
        else:
            await call.session.hardlink(path_of(call, words.names[0]), name)

    return await each(call, words.names[1:], "symlink", link)


# -- attributes ----------------------------------------------------------------------------------------


async def chmod(call: Call) -> int:
    """Set modes, octal or symbolic; ``-R`` of all that is in a directory as well."""
    arguments = list(call.invocation.arguments)
    # A mode like -x is not an option.
    at = next((i for i, word in enumerate(arguments) if word and word not in ("-R", "--")), len(arguments))
    text = str(arguments.pop(at)) if at < len(arguments) else ""
    try:
        words = apart(arguments, "R", least=1)
        mode_after(0, text, is_dir=False)
    except InvalidArgument as error:
        return await usage(call, error)

    async def change(path: VPath, entry: Entry) -> None:
        mode = mode_after(entry.mode, text, is_dir=entry.is_dir)
        await call.session.set_attrs(path, Attrs(mode=mode))

    return await _changed(call, words, "chmod", change)


def mode_after(mode: int, text: str, *, is_dir: bool) -> int:
    """The mode that chmod makes of one.

    Args:
        mode: permission bits (07777).
        text: octal, or clauses such as ``u+rw,o=``.
        is_dir: for ``X``.

    Raises:
        InvalidArgument: it is neither.
    """
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise InvalidArgument(f"invalid mode: {text[:80]!r}")
        who, operator, letters = match[1] or "a", match[2], match[3]
        who = "ugo" if "a" in who else who
        bits = mask = 0
        for one in who:
            value = sum(_BITS[letter] for letter in set(letters) & set(_BITS))
            if "X" in letters and (is_dir or mode & 0o111):
                value |= 1
            bits |= value << _SHIFTS[one]
            mask |= 0o7 << _SHIFTS[one]
        if "s" in letters:
            bits |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
        if "t" in letters:
            bits |= 0o1000
        if operator == "=":
            mode = mode & ~mask | bits
        else:
            mode = mode | bits if operator == "+" else mode & ~bits
    return mode


async def chown(call: Call) -> int:
    """Set the owner, a number; ``-R``."""
    return await _owner(call, lambda entry, number: Attrs(uid=number, gid=entry.gid))


async def chgrp(call: Call) -> int:
    """Set the group, a number; ``-R``."""
    return await _owner(call, lambda entry, number: Attrs(uid=entry.uid, gid=number))


async def _owner(call: Call, attrs: Callable[[Entry, int], Attrs]) -> int:
    try:
        words = _apart(call, "Rh", least=2)
        text = words.names[0]
        if not (text.isascii() and text.isdecimal() and int(text[:11]) <= _MAX_ID):
            raise InvalidArgument(f"{text[:80]!r} is not a number: names of owners are not known here")
    except InvalidArgument as error:
        return await usage(call, error)

    async def change(path: VPath, entry: Entry) -> None:
        await call.session.set_attrs(path, attrs(entry, int(text)))

    return await _changed(call, Words(words.options, words.names[1:]), "chown", change)


async def _changed(
    call: Call, words: Words, intent: str, change: Callable[[VPath, Entry], Awaitable[None]]
) -> int:
    """Change what is named, and with ``-R`` all below it, links left out; returns the exit status."""
    session, output, status = call.session, call.output, 0
    todo: list[tuple[VPath, int]] = []

    async def named(path: VPath) -> None:
        entry = await session.stat(path)
        await change(path, entry)
        if "R" in words.options and entry.is_dir:
            todo.append((path, 1))

    async def below(path: VPath, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Unsupported(f"directories within each other, more than {MAX_DEPTH} of them")
        async for batch in session.list(path):
            for entry in batch:
                if not entry.is_link:
                    await change(path.child(entry.name), entry)
                    if entry.is_dir:
                        todo.append((path.child(entry.name), depth + 1))

    for word in words.names:
        status = await each(call, [word], intent, named) or status
        while todo:
            path, depth = todo.pop()
            try:
                await below(path, depth)
            except TidegateError as error:
                if not error.told:
                    session.failed(intent, path, error)
                await output.error(f"{call.invocation.name}: {path}: {error.text}")
                status = 1
    return status
