# SPDX-License-Identifier: Apache-2.0
"""Small commands over the files of an account: ``df``, and ``ls``, ``mkdir`` and ``rm`` for users of SCP.

SCP lists, makes and removes nothing. Programs that use it (duplicity's ``scp://``) run these commands beside
it, in the few forms that are taken here; every other one is refused with a line that says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.doors.common.command_line import Word
from tidegate.doors.ssh.command import Call
from tidegate.errors import AlreadyExists, InvalidArgument, NotFound, TidegateError
from tidegate.model import Space, VPath

MAX_LISTED: Final = 1_000_000
"""Names that ``ls`` prints."""

_UNITS: Final = "KMGTPE"


@dataclass(frozen=True, slots=True)
class Words:
    """The arguments of a command, apart.

    Attributes:
        options: single letters.
        names: all else.
    """

    options: frozenset[str]
    names: tuple[Word, ...]


def apart(words: Sequence[Word], known: str, *, most: int | None = None, least: int = 0) -> Words:
    """Take options and names apart; options may be grouped, ``--`` ends them.

    Args:
        words: what follows the command's name.
        known: letters of the options that there are.
        most: names at most; None is any number.
        least: names at least.

    Raises:
        InvalidArgument: another option, too few names or too many.
    """
    options: set[str] = set()
    names: list[Word] = []
    ended = False
    for word in words:
        if ended or not word.startswith("-") or word == "-":
            names.append(word)
        elif word == "--":
            ended = True
        else:
            options.update(word[1:])
    unknown = sorted(options - set(known))
    if unknown:
        raise InvalidArgument(f"unknown option -- {unknown[0]}")
    if len(names) < least:
        raise InvalidArgument("missing operand")
    if most is not None and len(names) > most:
        raise InvalidArgument(f"extra operand {names[most]}")
    return Words(frozenset(options), tuple(names))


def path_of(call: Call, word: Word) -> VPath:
    """The path that a word names; relative ones and ``~`` begin in the start directory.

    Raises:
        InvalidPath: it cannot be a path.
    """
    start = call.session.start_directory
    if word.home:
        user, _, rest = word[1:].partition("/")
        if user in ("", call.session.principal.username):
            return VPath.parse(rest or ".", start)
    return VPath.parse(str(word) or ".", start)


async def each(
    call: Call, names: Iterable[Word], intent: str, work: Callable[[VPath], Awaitable[None]]
) -> int:
    """Do something with each name; what fails has a line on standard error. Returns the exit status."""
    status = 0
    for word in names:
        path: VPath | None = None
        try:
            path = path_of(call, word)
            await work(path)
        except TidegateError as error:
            if not error.told:
                call.session.failed(intent, path or str(word), error)
            await call.output.error(f"{call.invocation.name}: {word}: {error.text}")
            status = 1
    return status


async def usage(call: Call, error: InvalidArgument) -> int:
    """Say that the arguments cannot be used; returns the exit status."""
    await call.output.error(f"{call.invocation.name}: {error.text}")
    return 1


# -- df --------------------------------------------------------------------------------------------------


async def df(call: Call) -> int:
    """Room in each place that is named, as quota and storage leave it; ``-k``, ``-P``, ``-h``, ``-i``."""
    try:
        words = apart(call.invocation.arguments, "kPhiTH")
    except InvalidArgument as error:
        return await usage(call, error)
    human, inodes = bool(words.options & {"h", "H"}), "i" in words.options
    if inodes:
        head = "Filesystem Inodes IUsed IFree IUse% Mounted on"
    elif human:
        head = "Filesystem Size Used Avail Use% Mounted on"
    elif "P" in words.options:
        head = "Filesystem 1024-blocks Used Available Capacity Mounted on"
    else:
        head = "Filesystem 1K-blocks Used Available Use% Mounted on"
    lines: list[str] = []

    async def room(path: VPath) -> None:
        lines.append(_row(await call.session.space(path), path, human=human, inodes=inodes))

    status = await each(call, words.names or (Word("."),), "space", room)
    if lines:
        text = "\n".join([head, *lines, ""])
        await call.output.write(text.encode("utf-8", "surrogateescape"))
    return status


def _row(space: Space, path: VPath, *, human: bool, inodes: bool) -> str:
    total, free = (space.files_total, space.files_free) if inodes else (space.total, space.free)
    used = max(0, total - free)
    share = f"{-(-100 * used // total)}%" if total else "-"
    if inodes:
        shown = [str(total), str(used), str(free)]
    elif human:
        shown = [_human(total), _human(used), _human(free)]
    else:
        shown = [str(-(-total // 1024)), str(-(-used // 1024)), str(free // 1024)]
    return " ".join(["tidegate", *shown, share, path.replace("\n", "?")])


def _human(size: int) -> str:
    """Bytes in units of 1024, rounded up, as GNU df writes them."""
    if size < 1024:
        return str(size)
    unit = min((size.bit_length() - 1) // 10, len(_UNITS))
    step = 1024**unit
    tenths = -(-size * 10 // step)
    return f"{tenths / 10:.1f}{_UNITS[unit - 1]}" if tenths < 100 else f"{-(-size // step)}{_UNITS[unit - 1]}"


# -- beside SCP ------------------------------------------------------------------------------------------


async def ls(call: Call) -> int:
    """Names of a directory, one a line, in the order of their bytes; ``-1``, ``-a``, ``-A``."""
    try:
        words = apart(call.invocation.arguments, "1aA")
    except InvalidArgument as error:
        return await usage(call, error)
    hidden = bool(words.options & {"a", "A"})

    async def names(path: VPath) -> None:
        if not (await call.session.stat(path)).is_dir:
            await call.output.write(f"{path}\n".encode("utf-8", "surrogateescape"))
            return
        found: list[bytes] = []
        async for batch in call.session.list(path):
            found += [
                entry.name.encode("utf-8", "surrogateescape")
                for entry in batch
                if hidden or not entry.name.startswith(".")
            ]
            if len(found) > MAX_LISTED:
                raise InvalidArgument(f"more than {MAX_LISTED} names")
        if found:
            await call.output.write(b"\n".join(sorted(found)) + b"\n")

    return await each(call, words.names or (Word("."),), "list", names)


async def mkdir(call: Call) -> int:
    """Make directories; ``-p`` makes those above as well, and takes one that is there."""
    try:
        words = apart(call.invocation.arguments, "p", least=1)
    except InvalidArgument as error:
        return await usage(call, error)

    async def make(path: VPath) -> None:
        if "p" not in words.options:
            await call.session.mkdir(path)
            return
        await make_parents(call, path)

    return await each(call, words.names, "mkdir", make)


async def make_parents(call: Call, path: VPath) -> None:
    """See that a directory is there, and all above it.

    Raises:
        TidegateError: it cannot be made.
    """
    missing: list[VPath] = []
    for place in path.ancestors():
        try:
            await call.session.stat(place)
            break
        except NotFound:
            missing.append(place)
        except TidegateError:
            break  # it may not be looked at; that it is missing shows below
    for place in reversed(missing):
        try:
            await call.session.mkdir(place)
        except AlreadyExists:
            continue


async def rm(call: Call) -> int:
    """Remove files; ``-f`` takes one that is not there."""
    try:
        words = apart(call.invocation.arguments, "f", least=1)
    except InvalidArgument as error:
        return await usage(call, error)

    async def remove(path: VPath) -> None:
        try:
            await call.session.remove(path)
        except NotFound:
            if "f" not in words.options:
                raise

    return await each(call, words.names, "delete_file", remove)
