# SPDX-License-Identifier: Apache-2.0
"""DELETE, COPY and MOVE (RFC 4918 sections 9.6, 9.8 and 9.9)."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeGuard

from tidegate.doors.common import trees
from tidegate.doors.dav import preconditions, status
from tidegate.doors.dav.call import Call, is_apple, rejection
from tidegate.doors.dav.request import XML, Rejected
from tidegate.doors.dav.trees import TooManyFailures, Work
from tidegate.doors.dav.wire import answers, headers
from tidegate.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IsADirectory,
    Locked,
    NotADirectory,
    NotFound,
    TidegateError,
)
from tidegate.model import Attrs, Entry, VPath


async def delete(call: Call) -> None:
    """DELETE: a file, or a directory with all in it."""
    if call.refuses(call.path):
        raise NotFound
    entry = await call.session.stat(call.path, follow=False)
    if entry.is_link:
        seen = await call.entry() or entry
    else:
        seen = entry
    if entry.is_dir and _depth(call) != headers.INFINITY:
        raise Rejected(400, "Depth: a directory is removed with all in it")
    preconditions.check(call, seen)
    await preconditions.check_if(call, call.condition)
    if call.path == "/":
        raise Rejected(403, "the root cannot be removed")
    if not entry.is_dir:
        await call.session.remove(call.path)
        await call.request.answer(204)
        return
    with Work(call.session, "remove") as work, contextlib.suppress(TooManyFailures):
        await trees.remove(work, call.path, entry)
    await _told(call, work, call.path, 204)


async def copy(call: Call) -> None:
    """COPY: a file, a tree, or with Depth 0 a directory without what is in it."""
    depth = _depth(call)
    if depth == "1":
        raise Rejected(400, "Depth: expected 0 or infinity")
    source, target, old = await _both(call)
    code = 201 if old is None else 204
    session = call.session

    async def put(work: Work) -> None:
        if not source.is_dir:
            await _placed(call, session.copy(call.path, target, replace=True))
        elif depth == "0":
            await _placed(call, session.mkdir(target))
        else:
            await trees.copy(work, call.path, target, lambda name: _refused_name(call, name))

    if source.is_dir and old is not None:  # before anything is removed
        session.require_copy(call.path, target)
    with Work(session, "copy") as work, contextlib.suppress(TooManyFailures):
        if old is None or not (old.is_dir or source.is_dir):
            await put(work)
        else:
            await _replace(call, work, target, put)
    await _told(call, work, target, code)


def _refused_name(call: Call, name: str) -> bool:
    return is_apple(name) and call.refuses(VPath.parse("/" + name))


async def move(call: Call) -> None:
    """MOVE: one rename, within a storage and between two."""
    if _depth(call) != headers.INFINITY:
        raise Rejected(400, "Depth: expected infinity")
    _, target, old = await _both(call)
    work = await _rename(call, target, old)
    if work is not None and work.failures:
        await _told(call, work, target, 204)
        return
    when = headers.unix_time_ns(call.request.header("x-oc-mtime") or "")
    more = []
    if when is not None:
        try:
            await call.session.set_attrs(target, Attrs(atime_ns=when, mtime_ns=when))
        except TidegateError as error:
            call.failed("chtimes", target, error)
        else:
            more.append((b"x-oc-mtime", b"accepted"))
    await call.request.answer(201 if old is None else 204, more)


async def _rename(call: Call, target: VPath, old: Entry | None) -> Work | None:
    """Rename at once if that can be; else beside what is there, whose place it takes then.

    Who may not rename is told so before anything is removed.

    Returns:
        what failed, if several things may have.
    """
    session = call.session
    if old is None:
        await _placed(call, session.rename(call.path, target, replace=False))
        return None
    with contextlib.suppress(AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory):
        await session.rename(call.path, target, replace=True)
        return None
    with Work(session, "remove") as work, contextlib.suppress(TooManyFailures):
        await _replace(
            call,
            work,
            target,
            lambda _: _placed(call, session.rename(call.path, target, replace=True)),
            moves=call.path,
        )
    return work


def _depth(call: Call) -> str:
    try:
        return headers.depth(call.request.header("depth"), headers.INFINITY)
    except headers.BadHeader as error:
        raise Rejected(400, str(error)) from None


async def _both(call: Call) -> tuple[Entry, VPath, Entry | None]:
    """Look at both ends of a COPY or MOVE, and judge what can be before anything is done.

    Returns:
        what is copied or moved; the path that it gets; what is there now.

    Raises:
        Rejected: a condition does not hold, or the two do not go together.
    """
    request = call.request
    target = request.target()
    try:
        replaces = headers.overwrite(request.header("overwrite"))
    except headers.BadHeader as error:
        raise Rejected(400, str(error)) from None
    if call.refuses(call.path):
        raise NotFound
    if call.refuses(target):
        raise Rejected(403, "files of this name are not taken here")
    entry = await call.session.stat(call.path)
    preconditions.check(call, entry)
    await preconditions.check_if(call, call.condition)
    # By links, and folders that are mounted twice, one thing has several paths.
    here = await call.session.identity(call.path, follow=request.method == "COPY")
    there = await call.session.identity(target, follow=False)
    if target == call.path or there == here:
        raise Rejected(403, "source and destination are the same (RFC 4918 section 9.8.5)")
    if entry.is_dir and (target.is_within(call.path) or there.startswith(f"{here}/")):
        raise Rejected(403, "a directory cannot be put into itself")
    old = await call.entry(target)
    if old is not None and not replaces:
        raise Rejected(412, "there is something at the destination, and Overwrite is F")
    if old is not None and (call.path.is_within(target) or here.startswith(f"{there}/")):
        raise Rejected(403, "the destination holds what would be put in its place")
    if old is None:
        await call.parent_is_there(target)
    return entry, target, old


async def _replace(
    call: Call,
    work: Work,
    target: VPath,
    put: Callable[[Work], Awaitable[None]],
    *,
    moves: VPath | None = None,
) -> None:
    """Put something into the place of a tree, or a tree into the place of a file (RFC 4918 section 9.8.4).

    What is there goes when the new is complete. Nothing happens if it may not be removed, or if something of
    the new cannot be put. Where the storage cannot exchange two trees, the old one is removed first.

    Args:
        call: the request.
        work: gets what fails.
        target: where something is.
        put: puts the new there.
        moves: where it is moved from, if it is.

    Raises:
        Rejected: something of the old one cannot be removed; it is all on record.
    """
    session = call.session
    there = await session.stat(target, follow=False)
    with Work(session, "remove") as old, contextlib.suppress(TooManyFailures):
        await trees.require_removable(old, target, there)
    if old.failures:
        raise rejection(call.request, old.failures[0][2])
    async with session.replacing(target, moves=moves) as replacement:
        if replacement is None:
            with Work(session, "remove") as old, contextlib.suppress(TooManyFailures):
                await trees.remove(old, target, there)
            if old.failures:
                raise rejection(call.request, old.failures[0][2])
        await put(work)
        if replacement is None or work.failures:
            return
        await replacement.swap()
        # It is on record if something of the old one cannot be removed; nobody sees it any more.
        with Work(session, "remove") as rest, contextlib.suppress(TooManyFailures):
            await trees.remove(rest, target, there)


async def _placed(call: Call, work: Awaitable[None]) -> None:
    """Wait for what puts something at the destination."""
    try:
        await work
    except (NotFound, NotADirectory) as error:
        if await call.entry(call.path) is None:
            raise
        raise Rejected(409, "there is no directory to put it in", cause=error) from None


async def _told(call: Call, work: Work, top: VPath, code: int) -> None:
    """Answer: with `code` if all went well, with what failed otherwise (RFC 4918 section 9.6.1)."""
    request = call.request
    if not work.failures:
        await request.answer(code)
        return
    first, _, error = work.failures[0]
    if len(work.failures) == 1 and first == top and not _is_below(error, top):
        raise rejection(request, error)
    body = [answers.OPEN]
    for path, is_dir, problem in work.failures:
        if _is_below(problem, path):  # it is a member's lock that is in the way
            path, is_dir = VPath.parse(problem.root), False
        href = request.href(path, collection=is_dir)
        body.append(answers.failed(href, status.code_of(problem), status.condition_of(problem)))
    body.append(answers.CLOSE)
    await request.answer(207, [XML], "".join(body).encode("utf-8", "replace"))


def _is_below(error: TidegateError, path: VPath) -> TypeGuard[Locked]:
    return isinstance(error, Locked) and bool(error.root) and error.root != path
