# SPDX-License-Identifier: Apache-2.0
"""Lines to requests and answers to lines. No sockets, no clock, no asyncio."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LINE = 4096
"""Bytes of a request, its line end included."""

WORDS = {"LOGIN": 2, "LIST": 1, "GET": 1, "QUIT": 0}
"""Requests and the number of their arguments; the last one may hold spaces."""

GREETING = b"HELLO tidegate-lines 1\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    word: str
    arguments: tuple[str, ...] = ()


def parse(line: bytes) -> Request | None:
    """The request of a line, None if it is none."""
    text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    word, _, rest = text.partition(" ")
    count = WORDS.get(word.upper())
    if count is None:
        return None
    arguments = tuple(rest.split(" ", count - 1)) if count else ()
    return Request(word.upper(), arguments) if len(arguments) == count and all(arguments) else None


def line(word: str, text: str = "") -> bytes:
    """One line of an answer; whatever a name holds, it stays one line."""
    shown = text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")
    return f"{word} {shown}".rstrip().encode("utf-8", "surrogateescape") + b"\r\n"
