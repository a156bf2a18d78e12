# SPDX-License-Identifier: Apache-2.0
"""Replies: three digits and text, one line or several (RFC 959 section 4.2).

No text can end its line: CR, LF and NUL in a name are shown as ``?``, so that a file's name cannot forge a
reply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

_ENDS: Final = {ord("\r"): "?", ord("\n"): "?", ord("\0"): "?"}


def plain(text: str) -> str:
    """Text that stays on its line."""
    return text.translate(_ENDS)


def encode(text: str) -> bytes:
    """Text as it is sent: UTF-8, names with the bytes that they have; 255 is doubled (RFC 854)."""
    return text.encode("utf-8", "surrogateescape").replace(b"\xff", b"\xff\xff")


def encode_text(text: str) -> bytes:
    """Text as it goes over a data connection: as `encode`, but there is no Telnet."""
    return text.encode("utf-8", "surrogateescape")


def reply(code: int, text: str) -> bytes:
    """A reply of one line."""
    if text.isascii() and text.isprintable():  # as most
        return b"%d %s\r\n" % (code, text.encode())
    return encode(f"{code} {plain(text)}\r\n")


def multiline(code: int, first: str, lines: Iterable[str], last: str) -> bytes:
    """A reply of several lines; those between begin with a space, so that none looks like the last one."""
    middle = "".join(f" {plain(line)}\r\n" for line in lines)
    return encode(f"{code}-{plain(first)}\r\n{middle}{code} {plain(last)}\r\n")


def sentences(code: int, lines: Sequence[str]) -> bytes:
    """A reply of one line or several, each with the code, as a banner is sent."""
    *before, last = lines or ("",)
    return encode("".join(f"{code}-{plain(line)}\r\n" for line in before) + f"{code} {plain(last)}\r\n")


def quoted(path: str) -> str:
    """A path in quotes, those within doubled (RFC 959 appendix II)."""
    return '"' + path.replace('"', '""') + '"'
