# SPDX-License-Identifier: Apache-2.0
"""Command lines of SSH clients, split into words as a POSIX shell splits them. No shell ever sees them.

Clients quote for a shell: with single quotes, double quotes or backslashes (XCU 2.2). What a shell would do
beyond quoting is not done: ``$``, `` ` ``, ``;``, ``|``, ``&``, ``<`` and ``>`` are characters like others,
so no line runs a second command. Two expansions remain, and they are the command's own matter: a `Word` knows
whether it is a pattern of file names (XCU 2.13.3), and whether it begins with the home directory (XCU 2.6.1).
"""

from __future__ import annotations

from typing import Final

from tidegate.errors import InvalidArgument

MAX_COMMAND: Final = 64 * 1024
"""Longest command line, characters."""

MAX_ARGUMENTS: Final = 1000
"""Words of one command."""

_SPACE: Final = frozenset(" \t\n")
_MAGIC: Final = frozenset("*?[")
_ESCAPED_IN_PATTERN: Final = frozenset("*?[]\\")
_ESCAPED_IN_QUOTES: Final = frozenset('$`"\\')


class Word(str):
    """One word, without its quotes.

    Attributes:
        pattern: the word as a pattern of file names, quoted characters escaped by a backslash; empty if no
            ``*``, ``?`` or ``[`` stood outside quotes.
        home: True if the word begins with a tilde outside quotes.
    """

    __slots__ = ("home", "pattern")

    home: bool
    pattern: str

    def __new__(cls, text: str, pattern: str = "", *, home: bool = False) -> Word:
        """A word."""
        made = super().__new__(cls, text)
        made.pattern = pattern
        made.home = home
        return made


class _Builder:
    """Gathers the characters of one word."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.pattern: list[str] = []
        self.magic = False
        self.home = False

    def literal(self, char: str) -> None:
        """A character that quotes take every meaning from."""
        self.text.append(char)
        self.pattern.append(f"\\{char}" if char in _ESCAPED_IN_PATTERN else char)

    def bare(self, char: str) -> None:
        """A character outside quotes."""
        if char == "~" and not self.text:
            self.home = True
        self.magic = self.magic or char in _MAGIC
        self.text.append(char)
        self.pattern.append(char)

    def word(self) -> Word:
        return Word("".join(self.text), "".join(self.pattern) if self.magic else "", home=self.home)


def split(line: str) -> list[Word]:
    """The words of a command line.

    Raises:
        InvalidArgument: a quote is never closed, a backslash has nothing behind it, or the line is too long.
    """
    if len(line) > MAX_COMMAND:
        raise InvalidArgument(f"a command line of more than {MAX_COMMAND} characters")
    if "\0" in line:
        raise InvalidArgument("a command line with a NUL byte")
    words: list[Word] = []
    current: _Builder | None = None
    index, size = 0, len(line)
    while index < size:
        char = line[index]
        index += 1
        if char in _SPACE:
            if current is not None:
                words.append(current.word())
                current = None
            continue
        if len(words) >= MAX_ARGUMENTS:
            raise InvalidArgument(f"a command line of more than {MAX_ARGUMENTS} words")
        if current is None:
            current = _Builder()
        if char == "\\":
            if index == size:
                raise InvalidArgument("a command line that ends in a backslash")
            if line[index] != "\n":  # else the line goes on
                current.literal(line[index])
            index += 1
        elif char == "'":
            end = line.find("'", index)
            if end < 0:
                raise InvalidArgument("a command line with a quote that is never closed")
            for quoted in line[index:end]:
                current.literal(quoted)
            index = end + 1
        elif char == '"':
            index = _double(line, index, current)
        else:
            current.bare(char)
    if current is not None:
        words.append(current.word())
    return words


def _double(line: str, index: int, current: _Builder) -> int:
    """Take what stands between double quotes; returns the index after them."""
    while index < len(line):
        char = line[index]
        index += 1
        if char == '"':
            return index
        if char == "\\" and index < len(line):
            following = line[index]
            if following in _ESCAPED_IN_QUOTES or following == "\n":
                index += 1
                if following == "\n":
                    continue
                char = following
        current.literal(char)
    raise InvalidArgument("a command line with a quote that is never closed")
