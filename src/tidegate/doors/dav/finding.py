# SPDX-License-Identifier: Apache-2.0
"""PROPFIND (RFC 4918 section 9.1): listings go out as they come, whatever the size of a directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from tidegate.doors.dav import preconditions
from tidegate.doors.dav.call import Call
from tidegate.doors.dav.locking import locks_at, locks_of_member
from tidegate.doors.dav.properties import NO_DEAD, Dead, Locks, Renderer, Resource, add_room, href_of
from tidegate.doors.dav.request import XML, Rejected
from tidegate.doors.dav.wire import answers, bodies, headers
from tidegate.errors import Conflict, Denied, NotFound, ProviderError, TidegateError
from tidegate.model import Entry, Kind, VPath

MAX_LEVELS: Final = 64
"""Directories within each other that an infinite depth goes down."""
MAX_WAITING: Final = 100_000
"""Directories that an infinite depth has yet to list; an answer that meets more is broken off."""
MAX_LOCK_CHARS: Final = 1024 * 1024
"""Characters of an answer that tell the locks of members; those after them have 507 for ``lockdiscovery``."""
SEND_CHARS: Final = 64 * 1024
"""Characters of an answer that are gathered before they are sent."""


async def propfind(call: Call) -> None:
    """PROPFIND."""
    request = call.request
    # Without Depth all is meant (RFC 4918 section 9.1). Clients that leave it out want to know of one thing.
    default = headers.INFINITY if request.binding.infinite_depth else "1"
    try:
        depth = headers.depth(request.header("depth"), default)
    except headers.BadHeader as error:
        raise Rejected(400, str(error)) from None
    data = await request.body(bodies.MAX_BODY)
    try:
        wanted = await request.parsed(bodies.propfind, data)
    except (bodies.BadXml, bodies.BadBody) as error:
        raise Rejected(400, f"the body is not a PROPFIND: {error}") from None
    if call.refuses(call.path):
        raise NotFound
    entry = await call.session.stat(call.path)
    await preconditions.check_if(call, call.condition)
    if depth == headers.INFINITY and entry.is_dir and not request.binding.infinite_depth:
        raise Rejected(403, "Depth: 0 and 1 are what there is", condition="propfind-finite-depth")
    renderer = Renderer(wanted, call)
    collection = entry.is_dir
    first = Resource(
        entry,
        request.href(call.path, collection=collection),
        call.path.name or "/",
        await dead_of(call, call.path),
        await locks_at(call, call.path, collection=collection) if renderer.asks_locks else (),
    )
    if renderer.asks_quota or depth == "0":
        await add_room(call, call.path, first)
    answer = _Answer(call)
    answer.add(renderer.show(first))
    if collection and depth != "0":
        await _list(call, answer, renderer, first.href, 0 if depth == "1" else MAX_LEVELS)
    await answer.end()


class _Answer:
    """A multistatus that is sent while it is made."""

    def __init__(self, call: Call) -> None:
        self._request = call.request
        self._parts: list[str] = [answers.OPEN]
        self._size = 0
        self._lock_chars = MAX_LOCK_CHARS

    def add(self, text: str) -> None:
        """Another response."""
        self._parts.append(text)
        self._size += len(text)

    def locks(self, found: tuple[str, ...]) -> Locks:
        """The locks of a member, as far as the answer has room for them."""
        self._lock_chars -= sum(map(len, found))
        return found if self._lock_chars >= 0 or not found else None

    @property
    def full(self) -> bool:
        """True if much has come together."""
        return self._size >= SEND_CHARS

    async def flush(self) -> None:
        """Send what has come together, if it is much."""
        if self.full:
            await self._send(more=True)
        await asyncio.sleep(0)  # a listing that never waits would keep others from running

    async def _send(self, *, more: bool) -> None:
        # Names that are not UTF-8 stand in addresses as they are, and in what people read with a mark.
        data = "".join(self._parts).encode("utf-8", "replace")
        self._parts, self._size = [], 0
        if not self._request.started:
            head = [XML] if more else [XML, (b"content-length", str(len(data)).encode())]
            await self._request.begin(207, head)
        await self._request.write(data, more=more)

    async def end(self) -> None:
        """Send the rest."""
        self._parts.append(answers.CLOSE)
        await self._send(more=False)


async def _list(call: Call, answer: _Answer, renderer: Renderer, base: str, levels: int) -> None:
    """Answer for everything in a directory, and in what is below it down to `levels`.

    Links are shown as what they lead to, and not gone into: they may lead back, and there may be many.

    Raises:
        TidegateError: the directory cannot be listed, and nothing has been sent.
    """
    path = call.path
    waiting: list[tuple[VPath, str, int]] = [(path, base, levels)]
    while waiting:
        here, href, left = waiting.pop()
        try:
            dead = await dead_of_children(call, here)
            links: set[str] = set()
            listing: Any = entries(call, here, links)
            async with aclosing(listing):
                async for batch in listing:
                    for entry in batch:
                        child = href_of(href, entry)
                        found = dead.get(entry.name, NO_DEAD) if dead else NO_DEAD
                        locks: Locks = ()
                        if renderer.asks_locks and call.session.locks.active:
                            at = here.child(entry.name)
                            locks = answer.locks(await locks_of_member(call, at, collection=entry.is_dir))
                        answer.add(renderer.show(Resource(entry, child, entry.name, found, locks)))
                        if answer.full:
                            await answer.flush()
                        if left and entry.is_dir and entry.name not in links:
                            waiting.append((here.child(entry.name), child, left - 1))
                    links.clear()
                    await answer.flush()
                    if len(waiting) > MAX_WAITING:
                        raise Conflict("too many directories")
        except TidegateError as error:
            if here == path and not call.request.started:
                raise
            if here == path or len(waiting) > MAX_WAITING:  # what ends early must not look complete
                call.request.exchange.abort()
                raise
            call.failed("list", here, error)


async def entries(call: Call, path: VPath, links: set[str] | None = None) -> AsyncIterator[list[Entry]]:
    """Entries of a directory in batches, as clients see them: links followed, devices and such left out.

    Args:
        call: the request.
        path: of the directory.
        links: gets the names of a batch that are links.
    """
    batches: Any = call.session.list(path)
    async with aclosing(batches):
        async for batch in batches:
            shown: list[Entry] = []
            for entry in batch:
                if call.hides(entry.name):
                    continue
                if entry.kind is Kind.LINK:
                    if links is not None:
                        links.add(entry.name)
                    try:
                        entry = await call.session.stat(path.child(entry.name))
                    except TidegateError:
                        continue
                if entry.kind is not Kind.OTHER:
                    shown.append(entry)
            yield shown


# -- dead properties ---------------------------------------------------------------------------------------


async def dead_of(call: Call, path: VPath) -> Dead:
    """Properties that clients have set; none where they cannot be told now."""
    try:
        return await call.session.properties.get(path)
    except TidegateError as error:
        call.failed("stat", path, error)
        return NO_DEAD


async def dead_of_children(call: Call, path: VPath) -> Mapping[str, Dead]:
    """Properties of everything in a directory, by name; none where they cannot be told now."""
    try:
        return await call.session.properties.of_children(path)
    except Denied:
        raise
    except ProviderError as error:
        call.failed("list", path, error)
        return {}
