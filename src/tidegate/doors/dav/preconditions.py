# SPDX-License-Identifier: Apache-2.0
"""Conditions on a request: entity tags and dates (RFC 9110 section 13), and If (RFC 4918 section 10.4)."""

from __future__ import annotations

from tidegate.doors.dav.call import Call, etag
from tidegate.doors.dav.request import Rejected, Request
from tidegate.doors.dav.wire import conditions, headers
from tidegate.errors import InvalidPath, TidegateError
from tidegate.model import Entry, VPath

NAMES = frozenset((b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if"))


def any_given(call: Call) -> bool:
    """True if the request has a condition."""
    return call.request.has_any(NAMES)


def check(call: Call, entry: Entry | None) -> None:
    """Judge the conditions on entity tags and dates, in the order of RFC 9110 section 13.2.2.

    Args:
        call: the request.
        entry: what is there; None for nothing.

    Raises:
        Rejected: one does not hold: 412, or 304 for reading; 400 for one that cannot be read.
    """
    request = call.request
    tag = etag(entry) if entry is not None and entry.is_file else ""
    try:
        if (value := request.header("if-match")) is not None:
            wanted = headers.tags("If-Match", value)
            if entry is None or (wanted and (False, tag[1:-1]) not in wanted):
                raise Rejected(412, "If-Match does not hold")
        elif (value := request.header("if-unmodified-since")) is not None:
            when = headers.parse_http_date(value)
            if when is not None and entry is not None and entry.mtime_ns // 1_000_000_000 > when:
                raise Rejected(412, "If-Unmodified-Since does not hold")
        reads = request.method in ("GET", "HEAD")
        if (value := request.header("if-none-match")) is not None:
            wanted = headers.tags("If-None-Match", value)
            # Reading compares weakly (RFC 9110 section 13.1.2): W/ says nothing about what we send.
            found = entry is not None and (not wanted or any(one == tag[1:-1] for _, one in wanted if tag))
            if found:
                raise Rejected(304 if reads else 412, "If-None-Match does not hold", headers=_tag(tag))
        elif reads and (value := request.header("if-modified-since")) is not None:
            when = headers.parse_http_date(value)
            if when is not None and entry is not None and entry.mtime_ns // 1_000_000_000 <= when:
                raise Rejected(304, headers=_tag(tag))
    except headers.BadHeader as error:
        raise Rejected(400, str(error)) from None


def _tag(tag: str) -> list[tuple[bytes, bytes]]:
    return [(b"etag", tag.encode())] if tag else []


def parsed_if(request: Request) -> conditions.IfHeader | None:
    """The header If, None without one.

    Raises:
        Rejected: it cannot be read.
    """
    value = request.header("if")
    if value is None:
        return None
    try:
        return conditions.parse(value)
    except conditions.BadIf as error:
        raise Rejected(400, str(error)) from None


async def check_if(call: Call, header: conditions.IfHeader | None) -> None:
    """Judge the header If.

    Raises:
        Rejected: no list of it holds (412).
    """
    if header is None:
        return
    states: dict[str, conditions.State] = {}
    for address in header.addresses:
        path = call.path if not address else _path_at(call, address)
        if path is not None:
            states[address] = await _state(call, path)
    if not conditions.holds(header, states):
        raise Rejected(412, "If does not hold")


def _path_at(call: Call, address: str) -> VPath | None:
    try:
        return call.request.path_at(address)
    except (Rejected, InvalidPath):
        return None


async def _state(call: Call, path: VPath) -> conditions.State:
    try:
        entry = await call.session.stat(path)
    except TidegateError:
        entry = None
    tag = etag(entry) if entry is not None and entry.is_file else ""
    return conditions.State(tag, await tokens_at(call, path))


async def tokens_at(call: Call, path: VPath) -> frozenset[str]:
    """Tokens of the locks that cover a path; none where they may not be seen."""
    if not call.session.locks.active:
        return frozenset()
    try:
        return frozenset(lock.token for lock in await call.session.locks.list(path))
    except TidegateError:
        return frozenset()
