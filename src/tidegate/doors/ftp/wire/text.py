# SPDX-License-Identifier: Apache-2.0
"""Ends of lines in ASCII transfers (RFC 959 section 3.1.1.1): CR LF on the wire, LF in files."""

from __future__ import annotations

CR = 13


class ToWire:
    """Converts what a file holds to what is sent. What ends in CR LF already stays."""

    __slots__ = ("_after_cr",)

    def __init__(self) -> None:
        self._after_cr = False

    def convert(self, data: bytes) -> bytes:
        """The next piece of the file as it is sent."""
        if not data:
            return data
        plain = data[1:] if self._after_cr and data[0] == 10 else data
        head = b"\n" if plain is not data else b""
        self._after_cr = data[-1] == CR
        return head + plain.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class FromWire:
    """Converts what arrives to what a file holds; `end` gives what was held back."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def convert(self, data: bytes) -> bytes:
        """The next piece for the file; a CR at the end waits for what follows it."""
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        return (data[:-1] if self._held else data).replace(b"\r\n", b"\n")

    def end(self) -> bytes:
        """The rest, when nothing follows."""
        held, self._held = self._held, b""
        return held
