# SPDX-License-Identifier: Apache-2.0
"""COMB: parts that a client has stored by themselves become one file."""

from __future__ import annotations

import logging

from tidegate.doors.ftp.conversation import Conversation, Rejected
from tidegate.doors.ftp.data_commands import begin
from tidegate.errors import TidegateError
from tidegate.model import Attrs, VPath
from tidegate.vfs.api import File, OpenFlags, Session

log = logging.getLogger(__name__)


async def comb(c: Conversation, argument: str) -> None:
    """COMB: append parts to a target, in order, and remove them."""
    names = _quoted_words(argument)
    if len(names) < 2:
        raise Rejected(501, "COMB: expected a target and its parts, in quotes if they have spaces.")
    session, target = c.files, c.path(names[0])
    parts = [c.path(name) for name in names[1:]]
    if target in parts or len(set(parts)) < len(parts):
        raise Rejected(501, "COMB: each path once.")

    async def work() -> None:
        out: File | None = None
        try:
            # By another name, a link, a part would be appended to itself and then removed.
            real = [await session.real_path(one) for one in (target, *parts)]
            if len(set(real)) < len(real):
                raise Rejected(501, "COMB: each file once; links lead to the same one.")
            sizes = []
            for part in parts:  # before anything is appended
                source = await session.open(part, OpenFlags(read=True))
                try:
                    sizes.append((await source.stat()).size)
                finally:
                    await source.abort()
            out = await session.open(target, OpenFlags(write=True, create=True))
            before = at = (await out.stat()).size
            try:
                for part, size in zip(parts, sizes, strict=True):
                    at += await _appended(session, part, size, out, at)
            except BaseException:
                await out.abort()
                out = None
                await _cut_back(session, target, before)
                raise
            await out.close()
            out = None
            for part in parts:
                await session.remove(part)
        except TidegateError as error:
            await c.failed("copy", parts[0], error, target)
            return
        finally:
            if out is not None:
                await out.abort()
        await c.reply(250, "Combined.")

    begin(c, work(), "combination")


async def _appended(session: Session, part: VPath, size: int, out: File, at: int) -> int:
    """Append `size` bytes, as many as it had before: a hard link to the target would grow with it."""
    if not size:
        return 0
    source = await session.open(part, OpenFlags(read=True))
    try:
        return await session.copy_range(source, 0, size, out, at)
    finally:
        await source.abort()


async def _cut_back(session: Session, path: VPath, size: int) -> None:
    """Take off what a combination that failed had appended: its parts stay, and the client tries again."""
    try:
        if (await session.stat(path)).size > size:
            await session.set_attrs(path, Attrs(size=size))
    except TidegateError as error:
        log.warning("%s: parts stay appended to %r: %s", session.peer.connection_id, path, error)


def _quoted_words(argument: str) -> list[str]:
    found: list[str] = []
    rest = argument.strip()
    while rest:
        if rest.startswith('"'):
            end = 1
            while (end := rest.find('"', end)) >= 0 and rest[end + 1 : end + 2] == '"':
                end += 2
            if end < 0:
                raise Rejected(501, "A quote is missing.")
            found.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :].lstrip()
        else:
            word, _, rest = rest.partition(" ")
            found.append(word)
            rest = rest.lstrip()
    return found
