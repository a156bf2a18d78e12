# SPDX-License-Identifier: Apache-2.0
"""Bodies of answers: multistatus (RFC 4918 section 13), errors with a condition (section 16), locks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final
from xml.sax.saxutils import escape

from tidegate.doors.dav.wire.xml import DAV, Name
from tidegate.doors.dav.wire.xml import text as xml_text

HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>\n'
OPEN: Final = HEAD + '<D:multistatus xmlns:D="DAV:">\n'
CLOSE: Final = "</D:multistatus>\n"
CONTENT_TYPE: Final = b'application/xml; charset="utf-8"'


def status_line(code: int) -> str:
    """A status element."""
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = ""
    return f"<D:status>HTTP/1.1 {code} {phrase}</D:status>"


def empty(name: Name) -> str:
    """An element without content."""
    namespace, local = name
    if namespace == DAV:
        return f"<D:{local}/>"
    if not namespace:
        return f"<{local}/>"
    return f'<n:{local} xmlns:n="{escape(namespace, {chr(34): "&quot;"})}"/>'


def propstat(properties: Iterable[str], code: int, condition: str = "") -> str:
    """Properties that have one status.

    Args:
        properties: elements.
        code: of HTTP.
        condition: local name of a precondition in ``DAV:``; empty for none.
    """
    error = f"<D:error><D:{condition}/></D:error>" if condition else ""
    return f"<D:propstat><D:prop>{''.join(properties)}</D:prop>{status_line(code)}{error}</D:propstat>"


def response(href: str, propstats: Sequence[str]) -> str:
    """The response element of one resource. `href` is an address, percent-encoded."""
    return f"<D:response><D:href>{escape(href)}</D:href>{''.join(propstats)}</D:response>\n"


def failed(href: str, code: int, condition: str = "") -> str:
    """A resource that something failed for."""
    error = f"<D:error><D:{condition}/></D:error>" if condition else ""
    return f"<D:response><D:href>{escape(href)}</D:href>{status_line(code)}{error}</D:response>\n"


def error(condition: str, text: str = "", hrefs: Sequence[str] = ()) -> bytes:
    """The body of an answer that names the condition that did not hold.

    Args:
        condition: local name in ``DAV:``, such as ``propfind-finite-depth``; empty for none.
        text: for people.
        hrefs: addresses in the condition.
    """
    inner = "".join(f"<D:href>{escape(href)}</D:href>" for href in hrefs)
    element = f"<D:{condition}>{inner}</D:{condition}>" if inner else f"<D:{condition}/>" if condition else ""
    said = f'<t:text xmlns:t="https://tidegate.dev/ns/">{xml_text(text)}</t:text>' if text else ""
    return f'{HEAD}<D:error xmlns:D="DAV:">{element}{said}</D:error>\n'.encode()


def active_lock(*, token: str, href: str, shared: bool, infinite: bool, owner: str, seconds: float) -> str:
    """One lock as ``activelock`` shows it. `owner` is a whole element, or empty."""
    return (
        "<D:activelock><D:locktype><D:write/></D:locktype>"
        f"<D:lockscope><D:{'shared' if shared else 'exclusive'}/></D:lockscope>"
        f"<D:depth>{'infinity' if infinite else '0'}</D:depth>{owner}"
        f"<D:timeout>Second-{max(1, round(seconds))}</D:timeout>"
        f"<D:locktoken><D:href>{escape(token)}</D:href></D:locktoken>"
        f"<D:lockroot><D:href>{escape(href)}</D:href></D:lockroot></D:activelock>"
    )


def lock_discovery(locks: Iterable[str]) -> str:
    """The property ``lockdiscovery``."""
    return f"<D:lockdiscovery>{''.join(locks)}</D:lockdiscovery>"


def lock_answer(locks: Iterable[str]) -> bytes:
    """The body of an answer to LOCK."""
    return f'{HEAD}<D:prop xmlns:D="DAV:">{lock_discovery(locks)}</D:prop>\n'.encode()


SUPPORTED_LOCKS: Final = (
    "<D:supportedlock>"
    "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    "<D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    "</D:supportedlock>"
)


def patched(href: str, outcomes: Mapping[Name, int], condition: str = "") -> bytes:
    """The body of an answer to PROPPATCH: the status of each property. `condition` is that of 403s."""
    by_code: dict[int, list[str]] = {}
    for name, code in outcomes.items():
        by_code.setdefault(code, []).append(empty(name))
    stats = [propstat(some, code, condition if code == 403 else "") for code, some in by_code.items()]
    return f"{OPEN}{response(href, stats)}{CLOSE}".encode()
