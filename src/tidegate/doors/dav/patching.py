# SPDX-License-Identifier: Apache-2.0
"""PROPPATCH (RFC 4918 section 9.2): all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.doors.dav import preconditions, status
from tidegate.doors.dav.call import Call
from tidegate.doors.dav.request import XML, Rejected
from tidegate.doors.dav.wire import answers, bodies, headers
from tidegate.doors.dav.wire.bodies import Change
from tidegate.doors.dav.wire.xml import DAV, Name
from tidegate.errors import Locked, NotFound, TidegateError
from tidegate.model import Attrs

WIN32: Final = "urn:schemas-microsoft-com:"
"""The namespace of what Windows sets after each upload."""

_PROTECTED: Final = frozenset(
    {
        "creationdate",
        "getcontentlength",
        "getcontenttype",
        "getetag",
        "lockdiscovery",
        "quota-available-bytes",
        "quota-used-bytes",
        "resourcetype",
        "supportedlock",
    }
)
"""Properties in ``DAV:`` that only the server sets."""


def _date(text: str) -> int | None:
    seconds = headers.parse_http_date(text)
    return None if seconds is None else seconds * 1_000_000_000


_TIMES: Final[dict[Name, Callable[[str], int | None]]] = {
    (WIN32, "Win32LastModifiedTime"): _date,
    (DAV, "getlastmodified"): _date,  # lftp
    (DAV, "lastmodified"): headers.unix_time_ns,  # rclone, and other clients of ownCloud
}
"""Properties that are the time of modification, and what reads them."""

_DATES: Final = frozenset({(WIN32, "Win32CreationTime"), (WIN32, "Win32LastAccessTime")})
"""Properties that are kept as they are, and have to be dates."""


async def proppatch(call: Call) -> None:
    """PROPPATCH."""
    request = call.request
    data = await request.body(bodies.MAX_BODY)
    try:
        changes = await request.parsed(bodies.proppatch, data)
    except (bodies.BadXml, bodies.BadBody) as error:
        raise Rejected(400, f"the body is not a PROPPATCH: {error}") from None
    if call.refuses(call.path):
        raise NotFound
    entry = await call.session.stat(call.path)
    preconditions.check(call, entry)
    await preconditions.check_if(call, call.condition)
    wrong = {change.name: code for change in changes if (code := _mistake(change))}
    names = [change.name for change in changes]
    condition = "cannot-modify-protected-property"
    if not wrong:
        try:
            await _apply(call, changes)
        except Locked:  # the request as a whole: 423
            raise
        except TidegateError as error:
            call.failed("chtimes", call.path, error)
            wrong = dict.fromkeys(names, status.code_of(error))
            condition = status.condition_of(error)
    outcome = {name: wrong.get(name, 424 if wrong else 200) for name in names}
    href = request.href(call.path, collection=entry.is_dir)
    await request.answer(207, [XML], answers.patched(href, outcome, condition))


def _mistake(change: Change) -> int:
    """The status of a change that cannot be made; 0 for one that can."""
    namespace, local = change.name
    read = _TIMES.get(change.name)
    if read is not None:
        if change.value is None:
            return 403 if namespace == DAV else 0
        return 0 if read(change.text) is not None else 409
    if change.name in _DATES:
        return 409 if change.value is not None and _date(change.text) is None else 0
    if namespace == DAV and local in _PROTECTED:
        return 403
    return 0


async def _apply(call: Call, changes: list[Change]) -> None:
    when: int | None = None
    sets: dict[Name, bytes] = {}
    removes: set[Name] = set()
    for change in changes:
        read = _TIMES.get(change.name)
        if read is not None and change.value is not None:
            when = read(change.text)
        if change.name[0] == DAV and read is not None:
            continue
        if change.value is None:
            removes.add(change.name)
            sets.pop(change.name, None)
        else:
            sets[change.name] = change.value.encode()
            removes.discard(change.name)
    if when is not None:
        await call.session.set_attrs(call.path, Attrs(atime_ns=when, mtime_ns=when))
    if sets or removes:
        await call.session.properties.patch(call.path, sets, removes)
