# SPDX-License-Identifier: Apache-2.0
"""File system actions: renames, copies, removals, directories and archives, through the vfs.

They run as the account that the event is about, with every permission and without its patterns, so that
its quota is
charged; the log shows them with the protocol ``EventAction`` and the rule's name as connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, Final, cast

from tidegate.actions.outcome import DONE, HELD, Outcome, may_pass, reason_of
from tidegate.actions.people import People
from tidegate.errors import (
    AlreadyExists,
    InvalidArgument,
    IsADirectory,
    LoginRefused,
    NotFound,
    TidegateError,
    TooLarge,
)
from tidegate.inspection.inspections import RULE_PROTOCOL
from tidegate.model import Account, Attrs, Entry, Peer, Principal, VPath
from tidegate.model.account import Filters
from tidegate.model.peer import OtherProtocol
from tidegate.model.rule import EventAction, FileAction
from tidegate.rules.book import Rule
from tidegate.rules.facts import Facts
from tidegate.rules.placeholders import render
from tidegate.vfs.api import OpenFlags, Session
from tidegate.vfs.whole_files import CHUNK, write_whole

MAX_READ: Final = 16 * 1024 * 1024
"""Bytes of a file that is attached or sent."""
MAX_ARCHIVE_FILES: Final = 100_000
MAX_ARCHIVE_BYTES: Final = 16 * 1024 * 1024 * 1024
"""Bounds of one archive; bytes before they are compressed."""
MAX_DEPTH: Final = 100
"""Levels of directories that are walked."""
NOT_THERE: Final = "the upload has not its name yet: this storage cannot put back what it replaces"
_SPOOL: Final = 4 * 1024 * 1024

OpensSession = Callable[[Principal, Peer], Awaitable[Session]]
_READ: Final = OpenFlags(read=True)


class FileActions:
    """Works on files.

    Args:
        opens: opens sessions.
        people: finds accounts.
    """

    def __init__(self, opens: OpensSession, people: People) -> None:
        self._opens = opens
        self._people = people

    @contextlib.asynccontextmanager
    async def session(self, account: Account, rule: Rule) -> AsyncIterator[Session]:
        """A session of an account with every permission.

        Raises:
            LoginRefused: its files are on their way to other storage; what is written now would be lost.
            TidegateError: its storage cannot be used.
        """
        if account.filters.hold:  # by whatever server of the data provider
            raise LoginRefused(HELD, rule="filters.hold", username=account.username)
        free = replace(account, permissions={"/": ("*",)}, filters=Filters())
        peer = Peer(f"rule_{rule.name}", OtherProtocol(RULE_PROTOCOL, "HTTP"), "")
        session = await self._opens(Principal(free, "event rule", ""), peer)
        try:
            yield session
        finally:
            await session.close()

    async def read(self, facts: Facts, rule: Rule, path: str) -> bytes:
        """The content of a file of the account that an event is about; see `requests.ReadsFile`.

        Raises:
            TidegateError: it cannot be read, is too large, or the event is about no account.
        """
        account = await self._people.one(facts)
        if account is None:
            raise InvalidArgument(f"{path}: the event is about no account")
        async with self.session(account, rule) as session:
            return b"".join([piece async for piece in _pieces(session, VPath.parse(path), MAX_READ)])

    async def run(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Do what a file system action says; see `tidegate.actions.runner.ActionWork`."""
        config: Mapping[str, Any] = action.options["fs_config"]
        if facts.event == "upload" and not facts.fs_path:
            return Outcome(NOT_THERE)  # what has the name now is the old file
        errors: list[str] = []
        again = found = False
        async for account in self._people.all(facts, rule):
            found = True
            try:
                async with self.session(account, rule) as session:
                    await _act(session, config, facts)
            except TidegateError as error:
                errors.append(f"{account.username}: {reason_of(error)}")
                again = again or may_pass(error)
        if not found:
            return Outcome("there is no account to work on")
        return Outcome("; ".join(errors[:5]), again=again) if errors else DONE


def _path(text: str, facts: Facts) -> VPath:
    return VPath.parse("/" + render(text, facts).lstrip("/"))


async def _act(session: Session, config: Mapping[str, Any], facts: Facts) -> None:
    match FileAction(config["type"]):
        case FileAction.RENAME:
            for pair in config["renames"]:
                source, target = _path(pair["key"], facts), _path(pair["value"], facts)
                await _make(session, target.parent)
                await session.rename(source, target, replace=True)
                if pair.get("update_modtime"):
                    now = time.time_ns()
                    await session.set_attrs(target, Attrs(atime_ns=now, mtime_ns=now))
        case FileAction.COPY:
            for pair in config["copy"]:
                target = _path(pair["value"], facts)
                await _make(session, target.parent)
                await _copy(session, _path(pair["key"], facts), target)
        case FileAction.DELETE:
            for text in config["deletes"]:
                await _remove(session, _path(text, facts))
        case FileAction.MKDIRS:
            for text in config["mkdirs"]:
                await _make(session, _path(text, facts))
        case FileAction.EXIST:
            for text in config["exist"]:
                path = _path(text, facts)
                try:
                    await session.stat(path)
                except NotFound:
                    raise InvalidArgument(f"{path} does not exist") from None
        case FileAction.COMPRESS:
            compress = config["compress"]
            paths = [_path(text, facts) for text in compress["paths"]]
            await _compress(session, _path(compress["name"], facts), paths)


async def _make(session: Session, path: VPath) -> None:
    """Make a directory and those above it, as far as they are missing."""
    for directory in (*reversed(path.ancestors()), path):
        if directory == "/":
            continue
        try:
            await session.mkdir(directory)
        except (AlreadyExists, IsADirectory):
            continue


async def _entries(session: Session, path: VPath) -> list[Entry]:
    return [entry async for batch in session.list(path) for entry in batch]


async def _copy(session: Session, source: VPath, target: VPath, depth: int = 0) -> None:
    entry = await session.stat(source)
    if not entry.is_dir:
        await session.copy(source, target, replace=True)
        return
    if target.is_within(source) or depth > MAX_DEPTH:
        raise InvalidArgument(f"{source} cannot be copied into itself")
    await _make(session, target)
    for inner in await _entries(session, source):
        await _copy(session, source.child(inner.name), target.child(inner.name), depth + 1)


async def _remove(session: Session, path: VPath, depth: int = 0) -> None:
    """Remove a file, or a directory with all that is in it."""
    if path == "/" or depth > MAX_DEPTH:
        raise InvalidArgument("the root directory is not removed" if path == "/" else f"{path} is too deep")
    entry = await session.stat(path, follow=False)
    if not entry.is_dir:
        await session.remove(path)
        return
    for inner in await _entries(session, path):
        await _remove(session, path.child(inner.name), depth + 1)
    await session.rmdir(path)


async def _pieces(session: Session, path: VPath, limit: int) -> AsyncIterator[bytes]:
    file = await session.open(path, _READ)
    try:
        offset = 0
        while piece := await file.read(offset, CHUNK):
            offset += len(piece)
            if offset > limit:
                raise TooLarge
            yield bytes(piece)
    finally:
        await file.close()


async def _compress(session: Session, target: VPath, paths: Sequence[VPath]) -> None:
    """Write an archive of files and directories; complete before it has its name."""
    with tempfile.SpooledTemporaryFile(_SPOOL) as spool:
        with zipfile.ZipFile(cast("BinaryIO", spool), "w", zipfile.ZIP_DEFLATED) as archive:
            left = [MAX_ARCHIVE_FILES, MAX_ARCHIVE_BYTES]
            for path in paths:
                await _archive(session, archive, path, path.name, target, left)
        await _make(session, target.parent)
        await _write(session, target, cast("BinaryIO", spool))


async def _write(session: Session, target: VPath, source: BinaryIO) -> None:
    await asyncio.to_thread(source.seek, 0)
    await write_whole(session, target, source)


async def _archive(  # noqa: PLR0917  a walk
    session: Session, archive: zipfile.ZipFile, path: VPath, name: str, target: VPath, left: list[int]
) -> None:
    if path == target:
        return
    entry = await session.stat(path)
    if entry.is_dir:
        if name.count("/") > MAX_DEPTH:
            raise InvalidArgument(f"{path} is too deep")
        for inner in await _entries(session, path):
            below = f"{name}/{inner.name}" if name else inner.name
            await _archive(session, archive, path.child(inner.name), below, target, left)
        return
    left[0] -= 1
    if left[0] < 0:
        raise TooLarge
    information = zipfile.ZipInfo(name, time.gmtime(max(entry.mtime_ns // 10**9, 315_619_200))[:6])
    information.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(information, "w", force_zip64=entry.size > 1 << 30) as place:
        async for piece in _pieces(session, path, left[1]):
            left[1] -= len(piece)
            await asyncio.to_thread(place.write, piece)
