# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests: PROPFIND, PROPPATCH and LOCK (RFC 4918 sections 14.20, 14.19 and 14.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tidegate.doors.dav.wire.xml import DAV, XML, BadXml, Element, Name, parse, write

MAX_BODY: Final = 256 * 1024
"""Bytes of an XML body."""
MAX_PROPERTIES: Final = 1000
"""Properties of one request."""
MAX_ASKED_CHARS: Final = 64 * 1024
"""Of the names that a PROPFIND asks for, with their namespaces: all may come back for each resource."""
MAX_OWNER: Final = 4096
"""Characters of a lock's owner, as XML."""


class BadBody(ValueError):
    """The document is XML, and not what the method takes."""


@dataclass(frozen=True, slots=True)
class PropFind:
    """The wish of a PROPFIND.

    Attributes:
        kind: ``prop`` for `names`, ``allprop`` for all of RFC 4918 and dead ones and `names`, ``propname``.
        names: of properties, in the order asked for.
    """

    kind: Literal["prop", "allprop", "propname"] = "allprop"
    names: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One instruction of PROPPATCH.

    Attributes:
        name: of the property.
        value: the property, to be written elsewhere as it is; None removes it.
        text: its text, for properties that mean something to the server.
    """

    name: Name
    value: str | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class LockRequest:
    """The wish of a LOCK.

    Attributes:
        shared: others may hold a shared lock too.
        owner: content of the ``owner`` element as XML; empty for none.
    """

    shared: bool = False
    owner: str = ""


def propfind(data: bytes) -> PropFind:
    """Take a PROPFIND apart; no body asks for everything.

    Raises:
        BadXml, BadBody: it is not one.
    """
    if not data.strip():
        return PropFind()
    root = _root(data, "propfind")
    kinds = [one for one in root.children if one.name[0] == DAV and one.name[1] in _KINDS]
    if len(kinds) != 1:
        raise BadBody("propfind: expected one of prop, allprop, propname")
    kind = kinds[0].name[1]
    if kind == "propname":
        return PropFind("propname")
    if kind == "prop":
        return PropFind("prop", _names(kinds[0]))
    more = root.child("include")
    return PropFind("allprop", _names(more) if more is not None else ())


_KINDS: Final = ("prop", "allprop", "propname")


def _names(element: Element) -> tuple[Name, ...]:
    names = tuple(dict.fromkeys(one.name for one in element.children))
    if len(names) > MAX_PROPERTIES:
        raise BadBody(f"more than {MAX_PROPERTIES} properties")
    if sum(len(namespace) + len(local) for namespace, local in names) > MAX_ASKED_CHARS:
        raise BadBody(f"more than {MAX_ASKED_CHARS} characters of names and namespaces")
    return names


def proppatch(data: bytes) -> list[Change]:
    """Take a PROPPATCH apart, in order.

    Raises:
        BadXml, BadBody: it is not one.
    """
    root = _root(data, "propertyupdate")
    changes: list[Change] = []
    for step in root.children:
        if step.name not in ((DAV, "set"), (DAV, "remove")):
            continue
        sets = step.name[1] == "set"
        for prop in step.children:
            if prop.name != (DAV, "prop"):
                continue
            language = _language(prop) or _language(step) or _language(root)
            for one in prop.children:
                value = write(one, language) if sets else None
                changes.append(Change(one.name, value, one.text.strip() if sets else ""))
                if len(changes) > MAX_PROPERTIES:
                    raise BadBody(f"more than {MAX_PROPERTIES} properties")
    if not changes:
        raise BadBody("propertyupdate: nothing to set or remove")
    return changes


def _language(element: Element) -> str:
    return element.attributes.get((XML, "lang"), ("", ""))[1]


def lock(data: bytes) -> LockRequest:
    """Take the body of a LOCK apart.

    Raises:
        BadXml, BadBody: it is not one.
    """
    root = _root(data, "lockinfo")
    scope, kind = root.child("lockscope"), root.child("locktype")
    if kind is None or kind.child("write") is None or scope is None:
        raise BadBody("lockinfo: expected lockscope and locktype write")
    shared, exclusive = scope.child("shared"), scope.child("exclusive")
    if (shared is None) is (exclusive is None):
        raise BadBody("lockinfo: expected exclusive or shared")
    owner = root.child("owner")
    text = ""
    if owner is not None:
        language = _language(owner) or _language(root)
        whole = Element((DAV, "owner"), "D", {}, owner.content)
        text = write(whole, language)
        if len(text) > MAX_OWNER:
            raise BadBody(f"owner: more than {MAX_OWNER} characters")
    return LockRequest(shared is not None, text)


def _root(data: bytes, name: str) -> Element:
    root = parse(data)
    if root.name != (DAV, name):
        raise BadBody(f"expected the element {name} of the namespace {DAV}")
    return root


__all__ = ["BadBody", "BadXml", "Change", "LockRequest", "PropFind", "lock", "propfind", "proppatch"]
