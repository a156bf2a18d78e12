# SPDX-License-Identifier: Apache-2.0
"""JSON text of any size, one value at a time: no more of it is held than the longest value."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from typing import BinaryIO, Final, NoReturn

from tidegate.errors import BadRecord

MAX_RECORD_CHARS: Final = 16 * 1024 * 1024
"""Longest single record of a dump."""
READ_BYTES: Final = 256 * 1024


class JsonWindow:
    """JSON text of any size, looked at through a window that slides; values come one at a time."""

    def __init__(self, stream: BinaryIO, how_far: Callable[[int], None] | None) -> None:
        self._stream = stream
        self._how_far = how_far
        self._taken = 0
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)
        self._reset()

    def _reset(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._buffer = ""
        self._at = 0
        self._end = False

    def rewind(self) -> None:
        """Begin again."""
        self._stream.seek(0)
        self._reset()

    def peek(self) -> str:
        """The next character that is not a space; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in " \t\r\n":
                    return self._buffer[self._at]
                self._at += 1
            if not self._more(READ_BYTES):
                return ""

    def expect(self, character: str, otherwise: str) -> None:
        """Step over one character.

        Raises:
            BadRecord: something else is there.
        """
        if self.peek() != character:
            self.fail("", otherwise)
        self._at += 1

    def value(self, where: str) -> object:
        """Decode the next value.

        Raises:
            BadRecord: it is not JSON, or too long.
        """
        self.peek()
        size = READ_BYTES
        while True:
            problem = ""
            try:
                found, end = self._decoder.raw_decode(self._buffer, self._at)
            except RecursionError:
                self.fail(where, "is nested too deep")
            except ValueError as error:
                # Cut off or wrong? More text tells, as long as there is some.
                problem = f"is not JSON: {getattr(error, 'msg', error)}"
            else:
                # A number may go on in what was not read yet.
                if end < len(self._buffer) or self._end:
                    self._at = end
                    return found
            if problem and self._end:
                self.fail(where, problem)
            if len(self._buffer) - self._at > MAX_RECORD_CHARS:
                self.fail(where, f"is not JSON, or longer than {MAX_RECORD_CHARS} characters")
            self._more(size)
            size *= 2

    def fail(self, where: str, what: str) -> NoReturn:
        """Raise for what is wrong here."""
        raise BadRecord(where, what)

    def _more(self, size: int) -> bool:
        """Slide the window on; False at the end."""
        if self._end:
            return False
        data = self._stream.read(size)
        self._taken += len(data)
        if self._how_far is not None:
            self._how_far(self._taken)
        try:
            text = self._utf8.decode(data, final=not data)
        except UnicodeDecodeError:
            self.fail("", "is not UTF-8 text")
        self._end = not data
        self._buffer = self._buffer[self._at :] + text
        self._at = 0
        return not self._end


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
