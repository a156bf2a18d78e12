# SPDX-License-Identifier: Apache-2.0
"""Links: keeps what a link reaches the same as what was judged when it was made or moved.

The gate judges paths as text, and a link's content by the place of the link. Accounts with one rule for the
whole tree lose nothing by that; for all others three things have to hold, and are made to hold here:

* a text that climbs (``..``) is stored only where the way to the link holds no link itself, because there the
  storage climbs from somewhere else than the text does;
* a link that is moved is judged anew, and so is every link in a directory that is moved;
* nothing of this changes while it is looked at: such acts take turns.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tidegate.abc import Backend, Capability
from tidegate.errors import Denied, NotADirectory, NotFound, PeerLimit
from tidegate.model import Intent, VPath
from tidegate.vfs.context import Context
from tidegate.vfs.mounts import Mount, ResolvedPath, listing

MAX_MOVED_ENTRIES: Final = 1_000_000
"""Entries of a directory that are looked through for links when it is renamed."""
LEADS_OUT: Final = "permission: link that leads out"
_TURNS: Final = "/links"
"""A key that no path has: its place is the lock of acts that make or move links."""


@asynccontextmanager
async def taking_turns(context: Context, *backends: Backend) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Hold off others that make or move links in these storages; take no place before.

    Storage without links needs no turns.

    Yields:
        what ends the turn early.
    """
    async with AsyncExitStack() as turn:
        if not context.gate.uniform:
            with_links = {id(each): each for each in backends if Capability.LINKS in each.capabilities}
            if with_links:
                await turn.enter_async_context(
                    context.paths.locked(*((backend, _TURNS) for backend in with_links.values()))
                )
        yield turn.aclose


async def text_to_store(
    context: Context, resolved: ResolvedPath, text: str, points: VPath, link: VPath
) -> str:
    """The text to store for a link that was judged as leading to `points`.

    It is kept to the letter, but where its words would lead elsewhere than judged: over the root of the
    storage, or, for an account with more than one rule, back up (``x/..``) behind what may be a link.
    """
    mount = resolved.mount
    plain = f"/{points.relative_to(mount.path)}"
    if text.startswith("/"):
        inside = text if mount.path == "/" else text.removeprefix(mount.path)
        fits = mount.path == "/" or (inside != text and inside[:1] in {"", "/"})
        return (inside or "/") if fits and _keeps(context, inside, 0) else plain
    relative = posixpath.relpath(points, link.parent)
    if await _astray(context, resolved, link, relative):
        return plain
    depth = len(link.parent.parts) - len(mount.path.parts)
    return text if _keeps(context, text, depth) else relative


async def check_moved_link(
    context: Context, origin: ResolvedPath, goal: ResolvedPath, source: VPath, target: VPath
) -> None:
    """Judge a link at its new place.

    Raises:
        Denied: it would give more there than what it points to, or lead elsewhere.
    """
    try:
        text = await context.through(origin).readlink(origin.key)
    except Denied:
        if context.gate.uniform:
            return  # it leads out of the root from here, and is followed nowhere without being contained
        raise context.deny(Intent.RENAME_FILE, source, LEADS_OUT, "links") from None
    points = VPath.parse(absolute(goal.mount, text), base=target.parent)
    if points != VPath.parse(absolute(origin.mount, text), base=source.parent):
        context.require(Intent.SYMLINK, points, target=target)
    else:
        _check_link(context, points, target)
    if await _astray(context, goal, target, text):
        raise context.deny(Intent.RENAME_FILE, source, "permission: link below a link", "links")


async def check_moved_tree(
    context: Context, origin: ResolvedPath, goal: ResolvedPath, source: VPath, target: VPath
) -> None:
    """Judge every link in a directory at its new place.

    Raises:
        Denied: one of them would give more there than what it points to, or lead elsewhere.
        PeerLimit: the directory holds too many entries.
    """
    backend = context.through(origin)
    if context.gate.uniform or Capability.LINKS not in backend.capabilities:
        return
    astray = await _astray(context, goal, target, "..")
    seen = 0
    todo = [""]
    while todo:
        inside = todo.pop()
        try:
            async with listing(backend, _below(origin.key, inside)) as batches:
                async for batch in batches:
                    seen += len(batch)
                    if seen > MAX_MOVED_ENTRIES:
                        raise PeerLimit("directory holds too many files")
                    for entry in batch:
                        name = _below(inside, entry.name)
                        if entry.is_dir:
                            todo.append(name)
                        elif entry.is_link:
                            try:
                                text = await backend.readlink(_below(origin.key, name))
                            except NotFound:
                                continue
                            except Denied:
                                raise context.deny(Intent.RENAME_DIR, source, LEADS_OUT, "links") from None
                            link = VPath(f"{target}/{name}")
                            if astray and _climbs(posixpath.join(posixpath.dirname(name), text)):
                                raise context.deny(
                                    Intent.RENAME_DIR, source, "permission: link below a link", "links"
                                )
                            points = VPath.parse(absolute(goal.mount, text), base=link.parent)
                            _check_link(context, points, link)
                    await asyncio.sleep(0)
        except (NotFound, NotADirectory):
            continue


def absolute(mount: Mount, text: str) -> str:
    """A link's text as a virtual path: absolute ones start at the mount."""
    if not text.startswith("/"):
        return text
    if mount.path == "/":
        return text
    return mount.path if text == "/" else f"{mount.path}{text}"


def _check_link(context: Context, points: VPath, link: VPath) -> None:
    decision = context.gate.check_link(points, link)
    if not decision.allowed:
        context.refuse(Intent.SYMLINK, points, decision)


async def _astray(context: Context, resolved: ResolvedPath, link: VPath, text: str) -> bool:
    """True if a text climbs at a place whose way holds a link, so that it would climb from elsewhere."""
    if context.gate.uniform or not _climbs(text):
        return False
    way = posixpath.dirname(link.relative_to(resolved.mount.path))
    while way:
        try:
            if (await resolved.backend.stat(way, follow=False)).is_link:
                return True
        except NotFound:
            pass
        way = posixpath.dirname(way)
    return False


def _keeps(context: Context, text: str, depth: int) -> bool:
    """True if a text read by its words, `depth` directories below the root, is what the storage reads."""
    down = False
    for part in text.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0 or (down and not context.gate.uniform):
                return False
        elif part not in {"", "."}:
            depth += 1
            down = True
    return True


def _climbs(text: str) -> bool:
    clean = posixpath.normpath(text)
    return clean == ".." or clean.startswith("../")


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name
