# SPDX-License-Identifier: Apache-2.0
"""Operations of the clients of a simulation: a table, to which others add.

An operation gets the client and a `random.Random` of its own, and talks to the session as a door does. It may
raise `TidegateError` (a refusal is an answer). It is run as a task that a broken line cancels at any await.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from tidegate.errors import TidegateError
from tidegate.model import Attrs, VPath
from tidegate.testing.simulation.clock import DAY_SECONDS
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.files.handle import File

if TYPE_CHECKING:
    from tidegate.testing.simulation.client import Client

FILES: Final = ("/a", "/b", "/d/a", "/inc/a", "/inc/d/b", "/own/a", "/own/b")
"""Names that histories use; few, so that clients meet."""
LINKS: Final = ("/l", "/ld/a", "/dangling")
"""Names behind links that are there when a history begins."""
DIRECTORIES: Final = ("/d", "/e", "/inc/d", "/own/d")

Act = Callable[["Client", random.Random], Awaitable[None]]


class Operation(NamedTuple):
    """One kind of act.

    Attributes:
        weight: share of draws, compared with others.
        act: does it.
    """

    weight: int
    act: Act


OPERATIONS: dict[str, Operation] = {}


def operation(weight: int) -> Callable[[Act], Act]:
    """Put a function into the table under its name."""

    def add(act: Act) -> Act:
        OPERATIONS[getattr(act, "__name__", "").replace("_", "-")] = Operation(weight, act)
        return act

    return add


def some_file(client: Client, draw: random.Random) -> VPath:
    """A file's path; now and then one behind a link, if the history has links."""
    behind = draw.random() < 0.08 and client.links
    return VPath(draw.choice(LINKS if behind else FILES))


async def opened(client: Client, path: VPath, flags: OpenFlags, draw: random.Random) -> File:
    """A file of the client's session, opened as the door does: at once if that is possible."""
    session = client.session
    file = session.open_nowait(path, flags) if draw.random() < 0.7 else None
    if file is None:
        file = await session.open(path, flags)
    client.files.append(file)
    return file


async def written(file: File, offset: int, data: bytes, draw: random.Random) -> None:
    """Write as the door does: at once if that is possible."""
    if draw.random() < 0.3 or not file.write_nowait(offset, data):
        await file.write(offset, data)


async def ended(client: Client, file: File, draw: random.Random) -> None:
    """Close as the door does."""
    if file in client.files:
        client.files.remove(file)
        if draw.random() < 0.3 or not file.close_nowait():
            await file.close()


def left_open(client: Client, file: File) -> None:
    """Let later acts have it; until then nobody else touches it: doors close a file after its requests."""
    if file in client.files:
        client.spare.append(file)


async def _upload(client: Client, draw: random.Random, flags: OpenFlags) -> None:
    file = await opened(client, some_file(client, draw), flags, draw)
    offset = draw.choice((0, 0, 0, draw.randrange(4000)))
    for _ in range(draw.randrange(4)):
        size = draw.choice((1, 700, 2500, 5000))
        await written(file, offset, b"x" * size, draw)
        offset += size
        if draw.random() < 0.08:
            await file.set_attrs(Attrs(size=draw.randrange(6000)))
        if draw.random() < 0.1:
            await file.sync()
    if draw.random() < 0.8:
        await ended(client, file, draw)
    else:
        left_open(client, file)


@operation(10)
async def upload(client: Client, draw: random.Random) -> None:
    """A new file, or over an old one; one in five stays open."""
    await _upload(client, draw, OpenFlags(write=True, create=True, truncate=True))


@operation(3)
async def upload_new(client: Client, draw: random.Random) -> None:
    """A file that must not exist."""
    await _upload(client, draw, OpenFlags(write=True, create=True, exclusive=True))


@operation(4)
async def resume(client: Client, draw: random.Random) -> None:
    """Go on with an upload, or edit a file."""
    await _upload(client, draw, OpenFlags(write=True, create=draw.random() < 0.7, read=draw.random() < 0.3))


@operation(2)
async def append(client: Client, draw: random.Random) -> None:
    """Add to a file's end."""
    await _upload(client, draw, OpenFlags(append=True, write=True, create=True))


@operation(2)
async def write_nothing(client: Client, draw: random.Random) -> None:
    """A write of no bytes, far away: it changes nothing."""
    flags = OpenFlags(write=True, create=True, truncate=True)
    file = await opened(client, some_file(client, draw), flags, draw)
    await written(file, 0, b"x" * draw.choice((0, 5)), draw)
    await written(file, draw.randrange(1, 9000), b"", draw)
    await ended(client, file, draw)


@operation(5)
async def go_on(client: Client, draw: random.Random) -> None:
    """Write to a file that stayed open, and mostly close it."""
    if client.spare:
        file = client.spare.pop(draw.randrange(len(client.spare)))
        await written(file, draw.randrange(9000), b"y" * draw.choice((1, 900, 4000)), draw)
        if draw.random() < 0.7:
            await ended(client, file, draw)
        else:
            left_open(client, file)


@operation(2)
async def give_up(client: Client, draw: random.Random) -> None:
    """End an open file as failed."""
    if client.spare:
        file = client.spare.pop(draw.randrange(len(client.spare)))
        client.files.remove(file)
        await file.abort()


@operation(2)
async def download(client: Client, draw: random.Random) -> None:
    """Read a file."""
    file = await opened(client, some_file(client, draw), OpenFlags(read=True), draw)
    await file.read(0, 5000)
    await ended(client, file, draw)


@operation(7)
async def remove(client: Client, draw: random.Random) -> None:
    """Remove a file or a link, open or not."""
    await client.session.remove(some_file(client, draw))


@operation(6)
async def rename(client: Client, draw: random.Random) -> None:
    """Rename a file, also over another one and between folders."""
    source, target = some_file(client, draw), some_file(client, draw)
    await client.session.rename(source, target, replace=draw.random() < 0.6)


@operation(2)
async def rename_tree(client: Client, draw: random.Random) -> None:
    """Rename a directory."""
    source, target = VPath(draw.choice(DIRECTORIES)), VPath(draw.choice(DIRECTORIES))
    await client.session.rename(source, target, replace=False)


@operation(4)
async def copy(client: Client, draw: random.Random) -> None:
    """copy-file."""
    await client.session.copy(some_file(client, draw), some_file(client, draw), replace=draw.random() < 0.7)


@operation(2)
async def copy_data(client: Client, draw: random.Random) -> None:
    """copy-data between two open files."""
    source = await opened(client, some_file(client, draw), OpenFlags(read=True), draw)
    target = await opened(client, some_file(client, draw), OpenFlags(write=True, create=True), draw)
    await client.session.copy_range(source, 0, draw.choice((0, 900)), target, draw.randrange(3000))
    await ended(client, target, draw)
    await ended(client, source, draw)


@operation(4)
async def resize(client: Client, draw: random.Random) -> None:
    """Set a file's size by its path."""
    await client.session.set_attrs(some_file(client, draw), Attrs(size=draw.randrange(7000)))


@operation(2)
async def make_directory(client: Client, draw: random.Random) -> None:
    """Create a directory, also where a file was."""
    await client.session.mkdir(VPath(draw.choice((*DIRECTORIES, *FILES))))


@operation(2)
async def remove_directory(client: Client, draw: random.Random) -> None:
    """Remove a directory if it is empty."""
    await client.session.rmdir(VPath(draw.choice((*DIRECTORIES, *FILES))))


@operation(2)
async def link(client: Client, draw: random.Random) -> None:
    """Create a symbolic link."""
    await client.session.symlink(some_file(client, draw), some_file(client, draw))


@operation(2)
async def hard_link(client: Client, draw: random.Random) -> None:
    """Give a file a second name."""
    await client.session.hardlink(some_file(client, draw), some_file(client, draw))


@operation(3)
async def look(client: Client, draw: random.Random) -> None:
    """List directories and look at a file."""
    for name in ("/", draw.choice(DIRECTORIES)):
        try:
            async for _ in client.session.list(VPath(name)):
                await asyncio.sleep(0)
        except TidegateError:
            continue
    await client.session.stat(some_file(client, draw))


@operation(3)
async def recount(client: Client, draw: random.Random) -> None:
    """An administrator starts a quota scan of an account or a folder, and does not wait for it."""
    scans = client.vfs.scans
    if draw.random() < 0.7:
        await scans.start_user(draw.choice(("alice", "bob")))
    else:
        await scans.start_folder(draw.choice(("inc", "own")))


@operation(1)
async def days_pass(client: Client, draw: random.Random) -> None:
    """Nobody comes for a while, then somebody lists everything."""
    client.clock.passed += draw.choice((0.1, 8.0, 10.0)) * DAY_SECONDS
    for name in ("/", *DIRECTORIES):
        try:
            async for _ in client.session.list(VPath(name)):
                pass
        except TidegateError:
            continue


@operation(2)
async def rest(client: Client, draw: random.Random) -> None:  # noqa: ARG001  (as all others)
    """Wait until usage is written and marks are gone."""
    await asyncio.sleep(draw.choice((0.5, 1.5, 4.0)))


@operation(2)
async def line_breaks(client: Client, draw: random.Random) -> None:  # noqa: ARG001  (as all others)
    """The client's line breaks, whatever is under way."""
    client.cut()


@operation(1)
async def leave(client: Client, draw: random.Random) -> None:  # noqa: ARG001
    """The client says goodbye in good order and comes again."""
    client.leave()


@operation(1)
async def process_ends(client: Client, draw: random.Random) -> None:  # noqa: ARG001
    """The server is killed (SIGKILL)."""
    client.kill()
