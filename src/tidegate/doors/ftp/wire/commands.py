# SPDX-License-Identifier: Apache-2.0
"""Bytes of a control connection to commands: lines of at most `MAX_LINE` bytes, Telnet taken out.

RFC 959 section 5.3: a word of letters, a space, an argument, CR LF. Clients that send LF alone are
understood. Telnet (RFC 854) is what clients send before ABOR: IAC IP and IAC DM are dropped, IAC IAC is the
byte 255, which Latin-1 names have. Names that are no UTF-8 keep their bytes (surrogate escapes, PEP 383).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

MAX_LINE: Final = 8192
"""Bytes of a line without its end: a path of 4,096 bytes, each possibly doubled, fits."""

MAX_WORD: Final = 16
"""Characters of the word of a command; the longest that exist have four."""

IAC: Final = 0xFF
_WITH_OPTION: Final = frozenset((0xFB, 0xFC, 0xFD, 0xFE))
"""WILL, WONT, DO and DONT: the number of an option follows."""


class Command(NamedTuple):
    """One command.

    Attributes:
        word: in capitals; empty if the line is no command.
        argument: what follows the first space, as sent.
    """

    word: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line longer than `MAX_LINE` came and was dropped."""


class CommandReader:
    """Takes the bytes of one control connection apart. Holds at most one line that is not complete."""

    __slots__ = ("_buffer", "_dropping", "_telnet")

    def __init__(self) -> None:
        self._buffer = b""
        self._dropping = False
        self._telnet = b""

    @property
    def waiting(self) -> int:
        """Bytes of a line that is not complete, as far as they are kept."""
        return len(self._buffer) + len(self._telnet) + self._dropping

    def feed(self, data: bytes) -> list[Command | TooLong]:
        """Commands that `data` completes, in order."""
        if IAC in data or self._telnet:
            data = self._without_telnet(data)
        if not self.waiting and 0 < len(data) <= MAX_LINE and data.find(b"\n") == len(data) - 1:
            return [parse_line(data[:-1])]  # one whole line, as clients that wait for replies send
        found: list[Command | TooLong] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            line = data[start:end]
            start = end + 1
            if self._dropping or len(self._buffer) + len(line) > MAX_LINE + 1:
                found.append(TooLong())
            else:
                found.append(parse_line(self._buffer + line))
            self._buffer = b""
            self._dropping = False
        if self._dropping:
            return found
        self._buffer += data[start:]
        if len(self._buffer) > MAX_LINE + 1:
            self._dropping = True
            self._buffer = b""
        return found

    def _without_telnet(self, data: bytes) -> bytes:
        data, self._telnet = self._telnet + data, b""
        kept = bytearray()
        at = 0
        while (found := data.find(b"\xff", at)) >= 0:
            kept += data[at:found]
            sequence = data[found : found + 3]
            if len(sequence) < 2 or (sequence[1] in _WITH_OPTION and len(sequence) < 3):
                self._telnet = sequence
                return bytes(kept)
            if sequence[1] == IAC:
                kept.append(IAC)
                at = found + 2
            elif sequence[1] in _WITH_OPTION:
                at = found + 3
            elif sequence[1] >= 0xF0:
                at = found + 2
            else:  # a client that does not double the byte, as most do not
                kept.append(IAC)
                at = found + 1
        kept += data[at:]
        return bytes(kept)


def parse_line(line: bytes) -> Command:
    """The command of a line, without its LF."""
    line = line.removesuffix(b"\r").replace(b"\r\0", b"\r")
    word, _, argument = line.lstrip(b" ").partition(b" ")
    name = _name(word) if len(word) <= MAX_WORD else ""
    return Command(name, argument.decode("utf-8", "surrogateescape")) if name else Command("")


@lru_cache(maxsize=256)
def _name(word: bytes) -> str:
    """The name of a command; empty for what can be none."""
    name = word.decode("ascii", "replace").upper()
    return name if name.isascii() and name.isalnum() else ""
