# SPDX-License-Identifier: Apache-2.0
"""Properties that the server knows itself (RFC 4918 section 15, RFC 4331), and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tidegate.doors.dav.call import Call, etag
from tidegate.doors.dav.content_types import content_type
from tidegate.doors.dav.wire import answers, headers, paths
from tidegate.doors.dav.wire.bodies import PropFind
from tidegate.doors.dav.wire.xml import DAV, Name, text
from tidegate.errors import TidegateError
from tidegate.model import Entry, VPath

Dead = Mapping[Name, bytes]

NO_DEAD: Final[Dead] = {}

Locks = tuple[str, ...] | None
"""``activelock`` elements; None where the answer has no room for them."""


@dataclass(slots=True)
class Resource:
    """A resource as its properties are made of it.

    Attributes:
        entry: its attributes, links followed.
        href: its address, percent-encoded.
        name: shown to people.
        dead: properties that clients have set.
        locks: ``activelock`` elements of the locks that cover it; None if they are not told.
        available: bytes that are free, None if that is not told here.
        used: bytes in use, likewise.
    """

    entry: Entry
    href: str
    name: str
    dead: Dead = field(default_factory=lambda: NO_DEAD)
    locks: Locks = ()
    available: int | None = None
    used: int | None = None


LOCKS: Final[Name] = (DAV, "lockdiscovery")

_Shown = Callable[[Resource], str | None]


class Renderer:
    """Shows resources as one PROPFIND asks for them.

    Args:
        wanted: what is asked for.
        call: the request, for content types.
    """

    def __init__(self, wanted: PropFind, call: Call) -> None:
        self._wanted = wanted
        types = call.options.types
        self._live: dict[str, _Shown] = {
            "resourcetype": lambda r: (
                "<D:resourcetype><D:collection/></D:resourcetype>" if r.entry.is_dir else "<D:resourcetype/>"
            ),
            "displayname": lambda r: f"<D:displayname>{text(r.name)}</D:displayname>",
            "getlastmodified": lambda r: (
                f"<D:getlastmodified>{headers.http_date(r.entry.mtime_ns // 1_000_000_000)}"
                "</D:getlastmodified>"
            ),
            "creationdate": lambda r: (
                f"<D:creationdate>{headers.iso_date(r.entry.mtime_ns // 1_000_000_000)}</D:creationdate>"
            ),
            "getcontentlength": lambda r: (
                None if r.entry.is_dir else f"<D:getcontentlength>{r.entry.size}</D:getcontentlength>"
            ),
            "getetag": lambda r: None if r.entry.is_dir else f"<D:getetag>{etag(r.entry)}</D:getetag>",
            "getcontenttype": lambda r: (
                None
                if r.entry.is_dir
                else f"<D:getcontenttype>{content_type(r.entry.name, types)}</D:getcontenttype>"
            ),
            "supportedlock": lambda _: answers.SUPPORTED_LOCKS,
            "lockdiscovery": lambda r: None if r.locks is None else answers.lock_discovery(r.locks),
        }
        # RFC 4331 section 3: no part of allprop, but for what is asked about alone, as Node's client does.
        self._asked: dict[str, _Shown] = {
            "quota-available-bytes": lambda r: _number("quota-available-bytes", r.available),
            "quota-used-bytes": lambda r: _number("quota-used-bytes", r.used),
        }
        self._steps: list[tuple[Name, _Shown | None]] = [(name, self._of(name)) for name in wanted.names]

    @property
    def asks_quota(self) -> bool:
        """True if room is asked for."""
        return self._wanted.kind == "propname" or any(
            name[0] == DAV and name[1] in self._asked for name in self._wanted.names
        )

    @property
    def asks_locks(self) -> bool:
        """True if locks are asked for."""
        return self._wanted.kind == "allprop" or LOCKS in self._wanted.names

    def _of(self, name: Name) -> _Shown | None:
        if name[0] != DAV:
            return None
        return self._live.get(name[1]) or self._asked.get(name[1])

    def show(self, resource: Resource) -> str:
        """The response element of a resource."""
        kind = self._wanted.kind
        if kind == "prop":
            return self._show_asked(resource)
        live = {**self._live, **self._asked}
        found = [
            (shown if kind == "allprop" else answers.empty((DAV, local)))
            for local, show in live.items()
            if (DAV, local) not in resource.dead and (shown := show(resource)) is not None
        ]
        for name, value in resource.dead.items():
            found.append(value.decode() if kind == "allprop" else answers.empty(name))
        return answers.response(resource.href, [answers.propstat(found, 200)])

    def _show_asked(self, resource: Resource) -> str:
        found: list[str] = []
        missing: list[str] = []
        untold: list[str] = []
        dead = resource.dead
        for name, show in self._steps:
            shown: str | None = None
            if dead and name in dead:
                shown = dead[name].decode()
            elif show is not None:
                shown = show(resource)
            if shown is None and name == LOCKS and resource.locks is None:
                untold.append(answers.empty(name))
            elif shown is None:
                missing.append(answers.empty(name))
            else:
                found.append(shown)
        stats = [answers.propstat(found, 200)] if found or not (missing or untold) else []
        if missing:
            stats.append(answers.propstat(missing, 404))
        if untold:
            stats.append(answers.propstat(untold, 507))
        return answers.response(resource.href, stats)


def _number(local: str, value: int | None) -> str | None:
    return None if value is None else f"<D:{local}>{value}</D:{local}>"


def href_of(base: str, entry: Entry) -> str:
    """The address of an entry of the collection at `base`, which ends in a slash."""
    return f"{base}{paths.quoted(entry.name)}/" if entry.is_dir else base + paths.quoted(entry.name)


async def add_room(call: Call, path: VPath, resource: Resource) -> None:
    """Tell how much room a collection has (RFC 4331); nothing where that is not known."""
    if not resource.entry.is_dir:
        return
    try:
        space = await call.session.space(path)
    except TidegateError:
        return
    resource.available, resource.used = space.free, space.used
