# SPDX-License-Identifier: Apache-2.0
"""Public keys with the options of an ``authorized_keys`` line, which SFTPGo takes and does not heed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tidegate.model.address_list import parse_network

IDLE: Final = frozenset(
    [
        "no-pty",
        "no-port-forwarding",
        "no-agent-forwarding",
        "no-x11-forwarding",
        "no-user-rc",
        "restrict",
        "no-touch-required",
    ]
)
"""Options for things that are never given here."""

_TYPES: Final = ("ssh-", "ecdsa-", "sk-")
"""The beginnings of the types of keys."""
_OPTION: Final = re.compile(r'([A-Za-z0-9-]+)(?:=("(?:[^"\\]|\\.)*"))?(?:,|(?=\s)|$)')


@dataclass(frozen=True, slots=True)
class OptionLine:
    """A key line without its options.

    Attributes:
        line: type, data and comment.
        idle: options that ask for nothing.
        networks: of ``from=``, if they are plain networks.
        refused: options that restrict and cannot be kept.
    """

    line: str
    idle: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def split_options(text: str) -> OptionLine:
    """Take the options off a key line; a line without them, or one that is no key line, stays as it is."""
    line = text.strip()
    if line.startswith(_TYPES):
        return OptionLine(text)
    idle: list[str] = []
    networks: list[str] = []
    refused: list[str] = []
    at = 0
    while at < len(line) and not line[at].isspace():
        found = _OPTION.match(line, at)
        if found is None or found.end() == at:
            return OptionLine(text)
        name, value = found[1].lower(), (found[2] or '""')[1:-1].replace('\\"', '"')
        if name == "from":
            listed = [part.strip() for part in value.split(",")]
            if listed and all(parse_network(part) is not None for part in listed):
                networks += listed
            else:
                refused.append(f'from="{value}"')
        elif name in IDLE:
            idle.append(name)
        else:
            refused.append(name)
        at = found.end()
    rest = line[at:].strip()
    if rest.startswith(_TYPES):
        return OptionLine(rest, tuple(idle), tuple(networks), tuple(refused))
    return OptionLine(text)
