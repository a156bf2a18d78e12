# SPDX-License-Identifier: Apache-2.0
"""Digests of files: HASH, MD5, XCRC and the like."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from tidegate.doors.ftp.conversation import Conversation, Rejected
from tidegate.doors.ftp.data_commands import begin
from tidegate.doors.ftp.session_commands import HASHES
from tidegate.errors import IsADirectory, TidegateError
from tidegate.model import Kind, VPath

Told = Callable[[str, int], Awaitable[None]]
"""Replies with a digest, in hexadecimal digits, and the number of bytes that it is of."""


async def hash_(c: Conversation, argument: str) -> None:
    """HASH: the digest of a file, or of the range that RANG named."""
    path = c.path(argument)
    start, end = c.next.offset, c.next.end
    c.next.offset, c.next.end = 0, None
    name = c.hash_name

    async def told(digest: str, length: int) -> None:
        await c.reply(213, f"{name} {start}-{start + length} {digest} {argument}")

    _begin(c, path, HASHES[name], told, (start, end))


def xdigest(algorithm: str) -> Callable[[Conversation, str], Awaitable[None]]:
    """XCRC, XMD5 and the like: a bare path, or one in quotes and a first and a last offset."""

    async def run(c: Conversation, argument: str) -> None:
        name, start, end = _path_and_range(argument)

        async def told(digest: str, length: int) -> None:  # noqa: ARG001
            await c.reply(250, digest.upper() if algorithm == "crc32" else digest)

        _begin(c, c.path(name), algorithm, told, (start, end))

    return run


async def md5(c: Conversation, argument: str) -> None:
    """MD5 (draft-twine-ftpmd5): the path, then the digest."""

    async def told(digest: str, length: int) -> None:  # noqa: ARG001
        await c.reply(251, f"{argument} {digest.upper()}")

    _begin(c, c.path(argument), "md5", told)


def _begin(
    c: Conversation, path: VPath, algorithm: str, told: Told, piece: tuple[int, int | None] = (0, None)
) -> None:
    """Compute beside the commands: large files take minutes, and who goes away meanwhile ends it."""

    async def work() -> None:
        found = await _digest(c, path, algorithm, *piece)
        if found is not None:
            await told(*found)

    begin(c, work(), "digest")


async def _digest(
    c: Conversation, path: VPath, algorithm: str, start: int, end: int | None
) -> tuple[str, int] | None:
    try:
        entry = await c.files.stat(path)
        if entry.kind is Kind.DIRECTORY:
            raise IsADirectory
        stop = entry.size if end is None else min(end, entry.size)
        if start > stop:
            raise Rejected(501, "the range lies behind the end of the file")
        length = stop - start
        if not length and entry.size:
            raise Rejected(501, "the range is empty")
        (digest,) = await c.files.checksum(path, algorithm, start, length)
    except TidegateError as error:
        await c.failed("checksum", path, error)
        return None
    return digest.hex(), length


def _path_and_range(argument: str) -> tuple[str, int, int | None]:
    if argument.startswith('"'):
        match = re.match(r'"((?:[^"]|"")*)"(.*)', argument, re.DOTALL)
        if match is None:
            raise Rejected(501, "A quote is missing.")
        name, rest = match[1].replace('""', '"'), match[2].split()
    else:
        # A name that ends in numbers can be told from a range by quotes alone; bare ones are names.
        name, rest = argument, []
    if len(rest) > 2 or not all(word.isascii() and word.isdigit() and len(word) < 20 for word in rest):
        raise Rejected(501, "Expected a path in quotes, and a first and last offset.")
    numbers = [int(word) for word in rest]
    return name, numbers[0] if numbers else 0, numbers[1] if len(numbers) > 1 else None
