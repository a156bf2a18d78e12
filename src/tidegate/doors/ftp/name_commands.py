# SPDX-License-Identifier: Apache-2.0
"""Commands on names: directories, removing, renaming, attributes, room, SITE."""

from __future__ import annotations

import re
from typing import Final

from tidegate.doors.ftp.conversation import MAX_REST, Conversation, Rejected
from tidegate.doors.ftp.data_commands import begin
from tidegate.doors.ftp.wire import replies, times
from tidegate.errors import IsADirectory, TidegateError
from tidegate.model import Attrs, Kind

_MODE: Final = re.compile(r"0?[0-7]{1,4}", re.ASCII)


async def pwd(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """PWD."""
    c.files  # noqa: B018  nobody is told who is not logged in
    await c.reply(257, f"{replies.quoted(c.directory)} is the current directory.")


async def cwd(c: Conversation, argument: str) -> None:
    """CWD."""
    path = c.path(argument)
    try:
        await c.directory_at(path)
    except TidegateError as error:
        await c.failed("stat", path, error)
        return
    c.directory = path
    await c.reply(250, f"{replies.quoted(path)} is the current directory.")


async def cdup(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """CDUP."""
    await cwd(c, "..")


async def mkd(c: Conversation, argument: str) -> None:
    """MKD."""
    path = c.path(argument)
    try:
        await c.files.mkdir(path)
    except TidegateError as error:
        await c.failed("mkdir", path, error)
        return
    await c.reply(257, f"{replies.quoted(path)} was made.")


async def rmd(c: Conversation, argument: str) -> None:
    """RMD."""
    path = c.path(argument)
    try:
        await c.files.rmdir(path)
    except TidegateError as error:
        await c.failed("delete_dir", path, error)
        return
    await c.reply(250, "Removed.")


async def dele(c: Conversation, argument: str) -> None:
    """DELE."""
    path = c.path(argument)
    try:
        await c.files.remove(path)
    except TidegateError as error:
        await c.failed("delete_file", path, error)
        return
    await c.reply(250, "Removed.")


async def rnfr(c: Conversation, argument: str) -> None:
    """RNFR: what is to be renamed."""
    path = c.path(argument)
    c.source = None
    try:
        await c.files.stat(path, follow=False)
    except TidegateError as error:
        await c.failed("rename", path, error)
        return
    c.source = path
    await c.reply(350, "The new name: RNTO.")


async def rnto(c: Conversation, argument: str) -> None:
    """RNTO: its new name. What has that name is replaced, as FTP servers do, if the account may."""
    source, c.source = c.source, None
    if source is None:
        raise Rejected(503, "RNFR comes first.")
    target = c.path(argument)
    try:
        await c.files.rename(source, target, replace=True)
    except TidegateError as error:
        await c.failed("rename", source, error, target)
        return
    await c.reply(250, "Renamed.")


async def size(c: Conversation, argument: str) -> None:
    """SIZE (RFC 3659): bytes as they would be sent, which nobody knows of text before it is."""
    path = c.path(argument)
    if not c.binary:
        raise Rejected(550, "SIZE is not told in TYPE A; TYPE I first.")
    try:
        entry = await c.files.stat(path)
        if entry.kind is Kind.DIRECTORY:
            raise IsADirectory
    except TidegateError as error:
        await c.failed("stat", path, error)
        return
    await c.reply(213, str(entry.size))


async def mdtm(c: Conversation, argument: str) -> None:
    """MDTM: time of modification; with a time in front, old clients set it."""
    try:
        when, name = times.time_and_path(argument)
    except ValueError:
        pass
    else:
        await _set_time(c, name, when, 213, argument.partition(" ")[0])
        return
    path = c.path(argument)
    try:
        entry = await c.files.stat(path)
    except TidegateError as error:
        await c.failed("stat", path, error)
        return
    await c.reply(213, times.format_time(entry.mtime_ns))


async def mfmt(c: Conversation, argument: str) -> None:
    """MFMT: set the time of modification."""
    try:
        when, name = times.time_and_path(argument)
    except ValueError as error:
        raise Rejected(501, f"MFMT: {error}.") from None
    await _set_time(c, name, when, 213, times.format_time(when))


async def mfct(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """MFCT: times of creation are not kept; said so, and nothing is set."""
    try:
        times.time_and_path(argument)
    except ValueError as error:
        raise Rejected(501, f"MFCT: {error}.") from None
    raise Rejected(504, "Times of creation are not kept here.")


async def _set_time(c: Conversation, name: str, when: int, code: int, shown: str) -> None:
    path = c.path(name)
    try:
        await c.files.set_attrs(path, Attrs(atime_ns=when, mtime_ns=when))
    except TidegateError as error:
        await c.failed("chtimes", path, error)
        return
    await c.reply(code, f"Modify={shown}; {name}")


async def mff(c: Conversation, argument: str) -> None:
    """MFF: facts to set, ``modify=...;UNIX.mode=...;`` and a path."""
    facts, _, name = argument.partition(" ")
    wanted: dict[str, str] = {}
    for fact in facts.split(";"):
        key, equals, value = fact.partition("=")
        if equals:
            wanted[key.lower()] = value
        elif key:
            raise Rejected(501, f"MFF: {key!r} has no value.")
    if not name or not wanted:
        raise Rejected(501, "MFF: expected facts and a path.")
    mode: int | None = None
    when: int | None = None
    for key, value in wanted.items():
        if key == "modify":
            try:
                when = times.parse_time(value)
            except ValueError as error:
                raise Rejected(501, f"MFF: modify: {error}.") from None
        elif key == "unix.mode" and _MODE.fullmatch(value):
            mode = int(value, 8)
        else:
            raise Rejected(504, f"MFF: {key} cannot be set to that.")
    path = c.path(name)
    try:
        if mode is not None:
            await c.files.set_attrs(path, Attrs(mode=mode))
        if when is not None:
            await c.files.set_attrs(path, Attrs(atime_ns=when, mtime_ns=when))
    except TidegateError as error:
        await c.failed("chmod" if mode is not None else "chtimes", path, error)
        return
    await c.reply(213, f"{facts.rstrip(';')}; {name}")


# -- room --------------------------------------------------------------------------------------------------


async def avbl(c: Conversation, argument: str) -> None:
    """AVBL: bytes that are free at a path."""
    path = c.path(argument) if argument else c.directory
    try:
        space = await c.files.space(path)
    except TidegateError as error:
        await c.failed("space", path, error)
        return
    await c.reply(213, str(space.free))


async def allo(c: Conversation, argument: str) -> None:
    """ALLO: whether so many bytes would fit."""
    words = argument.split()
    if not words or not words[0].isascii() or not words[0].isdigit() or len(words[0]) > 19:
        raise Rejected(501, "ALLO: expected a number of bytes.")
    wanted = int(words[0])
    try:
        space = await c.files.space(c.directory)
    except TidegateError:  # unknown is no reason to keep an upload out; the upload itself is judged
        await c.reply(202, "Nothing has to be allocated.")
        return
    if wanted > min(space.free, MAX_REST):
        raise Rejected(552, f"{space.free} bytes are free.")
    await c.reply(200, f"{space.free} bytes are free.")


async def quota(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """SITE QUOTA: room in all, and free."""
    try:
        space = await c.files.space(c.directory)
    except TidegateError as error:
        await c.failed("space", c.directory, error)
        return
    lines = [f"bytes: {space.total} in all, {space.free} free"]
    if space.files_total:
        lines.append(f"files: {space.files_total} in all, {space.files_free} free")
    await c.control.send(replies.multiline(200, "Room:", lines, "End"))


# -- SITE --------------------------------------------------------------------------------------------------


async def site(c: Conversation, argument: str) -> None:
    """SITE: a word of its own, and what follows."""
    c.files  # noqa: B018  nobody is told who is not logged in
    word, _, rest = argument.strip().partition(" ")
    word = word.upper()
    if word == "HELP":
        words = ["HELP", "QUOTA", *(sorted(_SITE) if c.options.site else ())]
        await c.control.send(replies.multiline(214, "SITE commands:", words, "End"))
    elif word == "QUOTA":
        await quota(c, rest)
    elif word in _SITE and c.options.site:
        if not rest:
            raise Rejected(501, f"SITE {word} needs an argument.")
        await _SITE[word](c, rest)
    else:
        raise Rejected(504, "There is no such SITE command.")


async def site_chmod(c: Conversation, argument: str) -> None:
    """SITE CHMOD: a mode in octal, and a path."""
    mode, _, name = argument.partition(" ")
    if not _MODE.fullmatch(mode) or not name:
        raise Rejected(501, "SITE CHMOD: expected a mode in octal and a path.")
    path = c.path(name)
    try:
        await c.files.set_attrs(path, Attrs(mode=int(mode, 8)))
    except TidegateError as error:
        await c.failed("chmod", path, error)
        return
    await c.reply(200, "Mode set.")


async def site_utime(c: Conversation, argument: str) -> None:
    """SITE UTIME: ``time path``, or ``path access modification creation UTC``."""
    words = argument.split(" ")
    try:
        if len(words) > 4 and words[-1].upper() == "UTC":
            access, when = times.parse_time(words[-4]), times.parse_time(words[-3])
            name = " ".join(words[:-4])
        else:
            when, name = times.time_and_path(argument)
            access = when
        if not name:
            raise ValueError("expected a path")
    except ValueError as error:
        raise Rejected(501, f"SITE UTIME: {error}.") from None
    path = c.path(name)
    try:
        await c.files.set_attrs(path, Attrs(atime_ns=access, mtime_ns=when))
    except TidegateError as error:
        await c.failed("chtimes", path, error)
        return
    await c.reply(200, "Times set.")


def _two(argument: str, command: str) -> tuple[str, str]:
    words = argument.split(" ")
    if argument.startswith('"'):
        found = [word.replace('""', '"') for word in re.findall(r'"((?:[^"]|"")*)"', argument)]
        words = found if len(found) == 2 else []
    if len(words) != 2 or not all(words):
        raise Rejected(501, f"{command}: expected two paths, in quotes if they have spaces.")
    return words[0], words[1]


async def site_symlink(c: Conversation, argument: str) -> None:
    """SITE SYMLINK: the path that the link leads to, and the link."""
    text, name = _two(argument, "SITE SYMLINK")
    link = c.path(name)
    try:
        await c.files.symlink(text, link)
    except TidegateError as error:
        await c.failed("symlink", link, error)
        return
    await c.reply(200, "Linked.")


async def site_cpfr(c: Conversation, argument: str) -> None:
    """SITE CPFR: what is to be copied."""
    path = c.path(argument)
    c.copy_source = None
    try:
        await c.files.stat(path)
    except TidegateError as error:
        await c.failed("copy", path, error)
        return
    c.copy_source = path
    await c.reply(350, "The target: SITE CPTO.")


async def site_cpto(c: Conversation, argument: str) -> None:
    """SITE CPTO: copy there; what is there is replaced, if the account may."""
    source, c.copy_source = c.copy_source, None
    if source is None:
        raise Rejected(503, "SITE CPFR comes first.")
    session, target = c.files, c.path(argument)

    async def work() -> None:
        try:
            await session.copy(source, target, replace=True)
        except TidegateError as error:
            await c.failed("copy", source, error, target)
            return
        await c.reply(250, "Copied.")

    begin(c, work(), "copy")


_SITE: Final = {
    "CHMOD": site_chmod,
    "CPFR": site_cpfr,
    "CPTO": site_cpto,
    "MKDIR": mkd,
    "RMDIR": rmd,
    "SYMLINK": site_symlink,
    "UTIME": site_utime,
}
