# SPDX-License-Identifier: Apache-2.0
"""The command line by which a client starts the far side of SCP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.doors.common.command_line import Word
from tidegate.errors import InvalidArgument

_IGNORED: Final = frozenset("qvBCOTR1246")
"""Options that say how the client connects, or what it prints."""


@dataclass(frozen=True, slots=True)
class Options:
    """The request of the client.

    Attributes:
        sink: True to receive files (``-t``), False to send them (``-f``).
        recursive: directories too (``-r``).
        preserve: modes and times (``-p``).
        directory: the target must be a directory (``-d``).
        names: the target, or what to send.
    """

    sink: bool
    recursive: bool
    preserve: bool
    directory: bool
    names: tuple[Word, ...]


def parse(words: Sequence[Word]) -> Options:
    """Take a command line apart; options stand in any grouping, before the names.

    Raises:
        InvalidArgument: an option that no client sends to a server, or neither or both of ``-t`` and ``-f``.
    """
    given: set[str] = set()
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            index += 1
            break
        if not word.startswith("-") or word == "-":
            break
        given.update(word[1:])
        index += 1
    unknown = sorted(given - _IGNORED - set("tfrpd"))
    if unknown:
        raise InvalidArgument(f"unknown option -- {unknown[0]}")
    if ("t" in given) == ("f" in given):
        raise InvalidArgument("this server is the far side of a copy: -t to receive, or -f to send")
    names = tuple(words[index:])
    if not names:
        raise InvalidArgument("no file named")
    return Options("t" in given, "r" in given, "p" in given, "d" in given, names)
