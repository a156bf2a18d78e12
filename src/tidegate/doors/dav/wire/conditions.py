# SPDX-License-Identifier: Apache-2.0
"""The If header (RFC 4918 section 10.4), taken apart and judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_CHARS: Final = 8192
MAX_CONDITIONS: Final = 100

_PART: Final = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|<(?P<uri>[^<>\s]+)>|\[(?P<tag>(?:W/)?\"[^\"\]]*\")\]|(?P<not>[Nn][Oo][Tt])(?=[\s<\[]))"
)


class BadIf(ValueError):
    """The header cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a list.

    Attributes:
        token: state token that the resource has to be locked by; empty for a tag.
        tag: entity tag as written, in quotes; empty for a token.
        negated: it must not hold.
    """

    token: str = ""
    tag: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IfHeader:
    """The header.

    Attributes:
        lists: conditions that hold together, each with the address that they are about; empty for that of the
            request. One list is enough.
    """

    lists: tuple[tuple[str, tuple[Condition, ...]], ...] = ()

    @property
    def tokens(self) -> frozenset[str]:
        """Every state token in it, negated or not: all count as submitted (section 10.4.1)."""
        return frozenset(one.token for _, some in self.lists for one in some if one.token)

    @property
    def addresses(self) -> frozenset[str]:
        """Addresses that lists are about; the empty text is that of the request."""
        return frozenset(address for address, _ in self.lists)


@dataclass(frozen=True, slots=True)
class State:
    """A resource as conditions see it.

    Attributes:
        tag: its entity tag in quotes; empty if there is none.
        tokens: of locks that cover it.
    """

    tag: str = ""
    tokens: frozenset[str] = field(default_factory=frozenset)


def parse(value: str) -> IfHeader:
    """Take the header apart.

    Raises:
        BadIf: it is not as section 10.4.2 says, or longer than its bounds.
    """
    if len(value) > MAX_CHARS:
        raise BadIf(f"If: more than {MAX_CHARS} characters")
    lists: list[tuple[str, tuple[Condition, ...]]] = []
    address, tagged, bare = "", False, False
    some: list[Condition] | None = None
    negated = False
    count = position = 0
    text = value.rstrip()
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise BadIf(f"If: cannot be read from character {position} on")
        position = match.end()
        if some is None:
            if match["open"]:
                some, bare = [], False
            elif match["uri"] and (tagged or not lists):
                if bare:
                    raise BadIf("If: an address without a list")
                address, tagged, bare = match["uri"], True, True
            else:
                raise BadIf("If: expected a list in parentheses")
            continue
        if match["not"]:
            if negated:
                raise BadIf("If: Not twice")
            negated = True
        elif match["close"]:
            if negated or not some:
                raise BadIf("If: a list without a condition")
            lists.append((address, tuple(some)))
            some = None
        elif match["uri"] or match["tag"]:
            count += 1
            if count > MAX_CONDITIONS:
                raise BadIf(f"If: more than {MAX_CONDITIONS} conditions")
            some.append(Condition(match["uri"] or "", match["tag"] or "", negated))
            negated = False
        else:
            raise BadIf("If: a list within a list")
    if some is not None or not lists or bare:
        raise BadIf("If: it ends in the middle of a list")
    return IfHeader(tuple(lists))


def holds(header: IfHeader, states: Mapping[str, State]) -> bool:
    """True if one list holds.

    Args:
        header: taken apart.
        states: of the resources that it is about, by address as written; what is missing has no tag, no lock.
    """
    nothing = State()
    return any(
        all(_one(condition, states.get(address, nothing)) for condition in some)
        for address, some in header.lists
    )


def _one(condition: Condition, state: State) -> bool:
    if condition.token:
        found = condition.token in state.tokens
    else:
        found = bool(state.tag) and condition.tag == state.tag  # strong comparison: W/ never equals
    return found is not condition.negated
