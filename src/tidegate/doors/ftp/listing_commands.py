# SPDX-License-Identifier: Apache-2.0
"""Listings: LIST, NLST, MLSD over data connections, MLST and STAT over the control connection."""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from tidegate.doors.ftp.conversation import Conversation, Rejected
from tidegate.doors.ftp.data import DataConnection
from tidegate.doors.ftp.data_commands import begin, check_way, data_way, open_data
from tidegate.doors.ftp.wire import listings, replies
from tidegate.errors import NotADirectory, TidegateError
from tidegate.model import Entry, Kind, VPath
from tidegate.model.rights import Right

Send = Callable[[DataConnection], Awaitable[None]]

MAX_RESULTS: Final = 100_000
"""Names that a pattern in LIST or NLST is compared with."""

COMPARED: Final = 50
"""Names that are compared before others have a turn: the dearest patterns take 0.1 ms for each."""

MAX_STAT: Final = 1000
"""Lines of STAT; longer listings go over a data connection."""

_HALF_YEAR_SECONDS: Final = 365 * 24 * 3600 // 2
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NS: Final = 1_000_000_000


def _without_options(argument: str) -> str:
    """The path of LIST and NLST: clients send options of ``ls`` before it."""
    words = argument.split(" ")
    while words and words[0].startswith("-") and len(words[0]) > 1:
        words.pop(0)
    return " ".join(words)


def _when(mtime_ns: int, now: float) -> str:
    try:
        when = time.gmtime(mtime_ns // _NS)
    except (OverflowError, OSError, ValueError):
        when = time.gmtime(0)
    day = f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday:2d}"
    if 0 <= now - mtime_ns // _NS < _HALF_YEAR_SECONDS:
        return f"{day} {when.tm_hour:02d}:{when.tm_min:02d}"
    return f"{day}  {when.tm_year:4d}"


async def _batches(c: Conversation, argument: str) -> tuple[AsyncIterator[list[Entry]], VPath, bool]:
    """Entries that LIST or NLST is about, in batches; the directory they are in; if that was asked for.

    Raises:
        TidegateError: there is nothing, or it may not be seen. Before the first batch.
    """
    path = c.path(argument) if argument else c.directory
    name = path.name
    if any(sign in name for sign in "*?["):
        try:
            await c.files.stat(path, follow=False)
        except TidegateError:
            first = c.files.list(path.parent)
            return _matching(await _begun(first), name), path.parent, False
    entry = await c.files.stat(path)
    if entry.kind is Kind.DIRECTORY:
        return await _begun(c.files.list(path)), path, True
    return _one([entry._replace(name=name)]), path.parent, False


async def _one(batch: list[Entry]) -> AsyncIterator[list[Entry]]:
    yield batch


async def _begun(batches: AsyncIterator[list[Entry]]) -> AsyncIterator[list[Entry]]:
    """The same batches, the first of them fetched: a refusal comes before the transfer."""
    first = await anext(batches, None)

    async def again() -> AsyncIterator[list[Entry]]:
        if first is not None:
            yield first
            async for batch in batches:
                yield batch

    return again()


async def _matching(batches: AsyncIterator[list[Entry]], pattern: str) -> AsyncIterator[list[Entry]]:
    hidden = pattern.startswith(".")
    matches = re.compile(fnmatch.translate(pattern)).match
    seen = 0
    async for batch in batches:
        found: list[Entry] = []
        for at in range(0, len(batch), COMPARED):
            found += [
                entry
                for entry in batch[at : at + COMPARED]
                if matches(entry.name) and (hidden or not entry.name.startswith("."))
            ]
            await asyncio.sleep(0)
        yield found
        seen += len(batch)
        if seen >= MAX_RESULTS:
            return


def _send_lines(batches: AsyncIterator[list[Entry]], line: Callable[[Entry], str], first: str = "") -> Send:
    async def send(data: DataConnection) -> None:
        head = replies.encode_text(first)
        async for batch in batches:
            body = "".join([f"{line(entry)}\r\n" for entry in batch])
            await data.send(head + replies.encode_text(body))
            head = b""
        if head:
            await data.send(head)
        await data.finish()

    return send


async def _list(c: Conversation, path: VPath, send: Send) -> None:
    way = data_way(c)

    async def work() -> None:
        try:
            await c.reply(150, "Here comes the listing.")
            data = await open_data(c, way, sends=True)
            try:
                await send(data)
            except BaseException:
                data.abort()
                raise
        except TidegateError as error:
            await c.failed("list", path, error)
            return
        await c.reply(226, "Listed.")

    begin(c, work(), "listing", way)


async def list_(c: Conversation, argument: str) -> None:
    """LIST: lines as of ``ls -l``."""
    check_way(c)
    try:
        batches, path, _ = await _batches(c, _without_options(argument))
    except TidegateError as error:
        c.next.forget()
        await c.failed("list", argument, error)
        return
    now = time.time()

    def line(entry: Entry) -> str:
        when = _when(entry.mtime_ns, now)
        return listings.list_line(entry, c.owner(entry.uid), c.group(entry.gid), when)

    await _list(c, path, _send_lines(batches, line))


async def nlst(c: Conversation, argument: str) -> None:
    """NLST: names, as the client can use them from its current directory."""
    check_way(c)
    asked = _without_options(argument)
    try:
        batches, path, whole = await _batches(c, asked)
    except TidegateError as error:
        c.next.forget()
        await c.failed("list", argument, error)
        return
    prefix = "" if whole else asked[: asked.rfind("/") + 1]
    await _list(c, path, _send_lines(batches, lambda entry: prefix + replies.plain(entry.name)))


_OF_FILE: Final = (
    ("a", Right.WRITE), ("d", Right.REMOVE), ("f", Right.RENAME), ("r", Right.READ), ("w", Right.WRITE),
)  # fmt: skip
_OF_OTHER: Final = (("d", Right.REMOVE), ("f", Right.RENAME))
_OF_DIRECTORY: Final = (
    ("c", Right.CREATE_FILES),
    ("d", Right.REMOVE),
    ("e", Right(0)),  # whoever sees it may make it the current one
    ("f", Right.RENAME),
    ("l", Right.LIST),
    ("m", Right.CREATE_DIRS),
    ("p", Right.REMOVE_INSIDE),
)


@functools.lru_cache(maxsize=1024)
def _letters(rights: Right, kind: Kind) -> str:
    """The fact ``perm`` (RFC 3659 section 7.5.5)."""
    table = _OF_DIRECTORY if kind is Kind.DIRECTORY else _OF_FILE if kind is Kind.FILE else _OF_OTHER
    return "".join(letter for letter, right in table if right in rights)


Rights = Callable[[str, bool], Right]


async def _rights(c: Conversation, directory: VPath) -> Rights | None:
    """Rights to what is in a directory; None if the client does not want to know."""
    return await c.files.rights(directory) if "perm" in c.facts else None


def _facts(  # noqa: PLR0917  called for each line of a listing
    c: Conversation, entry: Entry, path: VPath, name: str, rights: Rights | None, kind: str | None = None
) -> str:
    raw = path.encode("utf-8", "surrogateescape")
    unique = hashlib.blake2b(raw, digest_size=8).hexdigest()
    perm = ""
    if rights is not None:
        perm = _letters(rights("" if kind else path.name, entry.kind is Kind.DIRECTORY), entry.kind)
    return listings.facts_line(
        entry,
        c.facts,
        perm=perm,
        unique=unique,
        user=c.owner(entry.uid),
        group=c.group(entry.gid),
        name=name,
        kind=kind,
    )


async def mlsd(c: Conversation, argument: str) -> None:
    """MLSD: facts of what is in a directory."""
    check_way(c)
    path = c.path(argument) if argument else c.directory
    try:
        entry = await c.files.stat(path)
        if entry.kind is not Kind.DIRECTORY:
            raise NotADirectory
        batches = await _begun(c.files.list(path))
        rights = await _rights(c, path)
    except TidegateError as error:
        c.next.forget()
        if isinstance(error, NotADirectory):
            raise Rejected(501, f"{argument or path}: not a directory; MLST tells of files.") from None
        await c.failed("list", path, error)
        return
    own = _facts(c, entry, path, ".", rights, "cdir") + "\r\n"

    def line(one: Entry) -> str:
        return _facts(c, one, path.child(one.name), one.name, rights)

    await _list(c, path, _send_lines(batches, line, own))


async def mlst(c: Conversation, argument: str) -> None:
    """MLST: facts of one name, over the control connection."""
    path = c.path(argument) if argument else c.directory
    try:
        entry = await c.files.stat(path)
        rights = await _rights(c, path.parent)
    except TidegateError as error:
        await c.failed("stat", path, error)
        return
    await c.control.send(replies.multiline(250, "Facts:", [_facts(c, entry, path, path, rights)], "End"))


async def stat(c: Conversation, argument: str) -> None:
    """STAT: the connection and its transfer; with a path, lines as of LIST."""
    if not argument:
        lines = [f"connected from {c.peer.remote_ip}"]
        if c.session is not None:
            lines += [f"logged in as {c.record.username}", f"TYPE {'I' if c.binary else 'A'}"]
            lines += [
                f"{one.operation_type} of {one.virtual_path}: {one.size} bytes" for one in c.session.transfers
            ]
        await c.control.send(replies.multiline(211, "Status:", lines, "End"))
        return
    try:
        batches, _, _ = await _batches(c, _without_options(argument))
        now, found = time.time(), []
        async for batch in batches:
            found += [
                listings.list_line(entry, c.owner(entry.uid), c.group(entry.gid), _when(entry.mtime_ns, now))
                for entry in batch
            ]
            if len(found) > MAX_STAT:
                found.append(f"and more: STAT tells {MAX_STAT} names at most")
                break
    except TidegateError as error:
        await c.failed("list", argument, error)
        return
    await c.control.send(replies.multiline(213, "Status:", found, "End"))
