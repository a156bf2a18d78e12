# SPDX-License-Identifier: Apache-2.0
"""Cross-origin requests: what browsers let pages of other sites do (CORS; Fetch standard, section 3.2).

Rules of this file: it knows headers and no connection. The edge asks it about each request of a binding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Headers = list[tuple[bytes, bytes]]

ALWAYS_ALLOWED: Final = frozenset(
    ("accept", "accept-language", "content-language", "content-type", "origin", "range")
)
"""Headers that a page may always send (Fetch standard, "CORS-safelisted request-header"), in lower case."""
MAX_NAMES: Final = 64
"""Header names of one preflight request; more are refused."""

_BY_ORIGIN: Final = (b"vary", b"Origin")
_ASKED: Final = b"Access-Control-Request-"
_BY_PREFLIGHT: Final = (
    b"vary",
    b"Origin, %bMethod, %bHeaders, %bPrivate-Network" % (_ASKED, _ASKED, _ASKED),
)


@dataclass(frozen=True, slots=True)
class Ruling:
    """The verdict on one request.

    Attributes:
        headers: of its answer, whatever that is.
        preflight: status that a preflight request is answered with at once; 0 has the application answer.
        permitted: it may change something although a page of another site sent it.
    """

    headers: Headers
    preflight: int = 0
    permitted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossOrigin:
    """Sites whose pages may send requests, and which.

    Attributes:
        origins: scheme, host and port in lower case, with one ``*`` at most; ``*`` alone is every site.
        methods: that they may use, besides OPTIONS; upper case.
        names: headers that they may send, besides `ALWAYS_ALLOWED`; lower case; ``*`` is every one.
        exposed: headers of answers that they may read.
        credentials: browsers may add the login that they remember. Never of every site.
        max_age_seconds: time that browsers remember an answer to a preflight request; 0 leaves it to them,
            below 0 they ask each time.
        passes: preflight requests are answered by the application.
        status: of answers to preflight requests.
        private_network: pages of public sites may ask a server in a private network.
    """

    origins: tuple[str, ...]
    methods: frozenset[str]
    names: frozenset[str]
    exposed: tuple[str, ...] = ()
    credentials: bool = False
    max_age_seconds: int = 0
    passes: bool = False
    status: int = 204
    private_network: bool = False

    def judge(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Ruling:
        """Judge a request by its method and its headers (lower case names)."""
        given: dict[bytes, list[str]] = {}
        for name, value in headers:
            if name == b"origin" or name.startswith(b"access-control-request-"):
                given.setdefault(name, []).append(value.decode("latin-1").strip())
        asked = given.get(b"access-control-request-method")
        if method == "OPTIONS" and asked:
            return self._preflight(given, asked)
        found: Headers = [_BY_ORIGIN]
        origin = self._allowed(given.get(b"origin"))
        if origin is None or not self._may(method):
            return Ruling(found)
        found += self._origin(origin)
        if self.exposed:
            found.append((b"access-control-expose-headers", ", ".join(self.exposed).encode()))
        return Ruling(found, permitted=self._asked_before(method))

    def _preflight(self, given: dict[bytes, list[str]], asked: list[str]) -> Ruling:
        """The answer to "may I"; a refusal is one without headers that allow something."""
        found: Headers = [_BY_PREFLIGHT]
        status = 0 if self.passes else self.status
        origin = self._allowed(given.get(b"origin"))
        names = _names(given.get(b"access-control-request-headers", []))
        if origin is None or len(asked) > 1 or not self._may(asked[0]) or not self._takes(names):
            return Ruling(found, status)
        found += [*self._origin(origin), (b"access-control-allow-methods", asked[0].encode("latin-1"))]
        if names:
            found.append((b"access-control-allow-headers", ", ".join(names).encode("latin-1")))
        if self.max_age_seconds:
            found.append((b"access-control-max-age", str(max(0, self.max_age_seconds)).encode()))
        if self.private_network and given.get(b"access-control-request-private-network") == ["true"]:
            found.append((b"access-control-allow-private-network", b"true"))
        return Ruling(found, status)

    @property
    def _everybody(self) -> bool:
        return "*" in self.origins

    def _allowed(self, values: list[str] | None) -> str | None:
        """The value of Origin if it may send requests."""
        if not values or len(values) > 1 or not values[0]:
            return None
        origin = values[0]
        lower = origin.lower()
        return origin if self._everybody or any(_matches(one, lower) for one in self.origins) else None

    def _origin(self, origin: str) -> Headers:
        if self._everybody:  # with credentials every site could act as whoever is logged in
            return [(b"access-control-allow-origin", b"*")]
        found = [(b"access-control-allow-origin", origin.encode("latin-1"))]
        if self.credentials:
            found.append((b"access-control-allow-credentials", b"true"))
        return found

    def _may(self, method: str) -> bool:
        return method == "OPTIONS" or method in self.methods

    def _takes(self, names: list[str]) -> bool:
        if len(names) > MAX_NAMES:
            return False
        return "*" in self.names or all(name in ALWAYS_ALLOWED or name in self.names for name in names)

    def _asked_before(self, method: str) -> bool:
        """True if the browser has asked whether it may; it sends POST of forms, with the login, unasked."""
        return method != "POST" or (self.credentials and not self._everybody)


def _names(values: list[str]) -> list[str]:
    return [name.strip().lower() for value in values for name in value.split(",") if name.strip()]


def _matches(pattern: str, origin: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return origin == pattern
    middle = origin[len(head) : len(origin) - len(tail)]
    return (
        len(origin) >= len(head) + len(tail)
        and origin.startswith(head)
        and origin.endswith(tail)
        and not any(sign in middle for sign in "/@?#")
    )
