# SPDX-License-Identifier: Apache-2.0
"""LOCK and UNLOCK (RFC 4918 sections 9.10 and 9.11); the locks themselves are the session's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from tidegate.doors.dav import preconditions
from tidegate.doors.dav.call import Call
from tidegate.doors.dav.request import XML, Rejected
from tidegate.doors.dav.wire import answers, bodies, conditions, headers
from tidegate.errors import NotADirectory, NotFound, TidegateError
from tidegate.model import VPath
from tidegate.vfs.api import Lock, OpenFlags

DEFAULT_SECONDS: Final = 600.0
"""Seconds that a lock lasts whose client names no time."""
MOST_SECONDS: Final = 24 * 3600.0
"""The longest time that is asked of the server for a lock; the server may grant less."""
NEW: Final = OpenFlags(write=True, create=True, exclusive=True)
NOT_HERE: Final = "lock-token-matches-request-uri"
"""The condition of tokens of locks that are elsewhere, or nowhere."""


async def lock(call: Call) -> None:
    """LOCK: a new lock with a body, more time for one without."""
    request = call.request
    try:
        depth = headers.depth(request.header("depth"), headers.INFINITY)
    except headers.BadHeader as error:
        raise Rejected(400, str(error)) from None
    if depth == "1":
        raise Rejected(400, "Depth: expected 0 or infinity")
    seconds = headers.timeout(request.header("timeout"), DEFAULT_SECONDS, MOST_SECONDS)
    data = await request.body(bodies.MAX_BODY)
    if not data.strip():
        await _refresh(call, seconds)
        return
    try:
        wanted = await request.parsed(bodies.lock, data)
    except (bodies.BadXml, bodies.BadBody) as error:
        raise Rejected(400, f"the body is not a LOCK: {error}") from None
    if call.refuses(call.path):
        raise Rejected(403, "files of this name are not taken here")
    entry = await call.entry()
    preconditions.check(call, entry)
    await preconditions.check_if(call, call.condition)
    if entry is None:
        await call.parent_is_there(call.path)
    made = await call.session.locks.lock(
        call.path,
        scope="shared" if wanted.shared else "exclusive",
        depth_infinite=depth == headers.INFINITY and (entry is None or entry.is_dir),
        owner=wanted.owner,
        seconds=seconds,
    )
    if entry is None:
        await _create(call, made)
    body = answers.lock_answer([shown(call, made, collection=entry is not None and entry.is_dir)])
    token = (b"lock-token", f"<{made.token}>".encode())
    await request.answer(201 if entry is None else 200, [XML, token], body)


async def _create(call: Call, made: Lock) -> None:
    """Put an empty file where a lock was taken and nothing is (RFC 4918 section 7.3)."""
    try:
        with call.session.holding([*call.tokens, made.token]):
            file = await call.open(call.path, NEW)
            try:
                await file.close()
            finally:
                call.done()
    except BaseException as error:
        await call.session.locks.unlock(call.path, made.token)
        if isinstance(error, (NotFound, NotADirectory)):
            raise Rejected(409, "there is no directory to put it in", cause=error) from None
        raise


async def _refresh(call: Call, seconds: float) -> None:
    header = call.condition
    tokens = sorted(header.tokens) if header is not None else []
    if not tokens:
        raise Rejected(400, "LOCK: expected a body, or the token of a lock in If")
    await preconditions.check_if(call, header)
    for token in tokens:
        try:
            made = await call.session.locks.refresh(call.path, token, seconds)
        except NotFound:
            continue
        body = answers.lock_answer([shown(call, made, collection=made.depth_infinite)])
        await call.request.answer(200, [XML], body)
        return
    raise Rejected(412, "no such lock is here", condition=NOT_HERE)


async def unlock(call: Call) -> None:
    """UNLOCK."""
    try:
        token = headers.lock_token(call.request.header("lock-token"))
    except headers.BadHeader as error:
        raise Rejected(400, str(error)) from None
    try:
        await call.session.locks.unlock(call.path, token)
    except NotFound:
        raise Rejected(409, "no such lock is here", condition=NOT_HERE) from None
    await call.request.answer(204)


def shown(call: Call, lock: Lock, *, collection: bool, whole: bool = True) -> str:
    """A lock as ``activelock`` shows it; the owner, which may be long, stands in `whole` ones only."""
    return answers.active_lock(
        token=lock.token,
        href=call.request.href(lock.path, collection=collection),
        shared=lock.scope == "shared",
        infinite=lock.depth_infinite,
        owner=lock.owner if whole else "",
        seconds=lock.left,
    )


async def locks_at(call: Call, path: VPath, *, collection: bool) -> tuple[str, ...]:
    """The locks that cover a path, as ``activelock`` elements; none where they may not be seen."""
    if not call.session.locks.active:
        return ()
    try:
        found = await call.session.locks.list(path)
    except TidegateError:
        return ()
    return tuple(shown(call, one, collection=collection or one.path != path) for one in found)


async def locks_of_member(call: Call, path: VPath, *, collection: bool) -> tuple[str, ...]:
    """The locks that cover a member of a listing; owners stand where a lock is, and not all below it.

    A deep lock covers everything in a directory: told whole for each of many members, locks of a directory
    would make its listing as long as their number, times the longest owner, times the members.
    """
    try:
        found = await call.session.locks.list(path)
    except TidegateError:
        return ()
    return tuple(
        shown(call, one, collection=collection or one.path != path, whole=one.path == path) for one in found
    )


def submitted(header: conditions.IfHeader | None, lock_token: str | None) -> Iterable[str]:
    """Tokens that a request submits: those of If, and that of Lock-Token, which Windows sends instead."""
    tokens = set(header.tokens) if header is not None else set()
    if lock_token is not None:
        with contextlib.suppress(headers.BadHeader):
            tokens.add(headers.lock_token(lock_token))
    return tokens
