# SPDX-License-Identifier: Apache-2.0
"""Throws bytes at the text of FTP: ``python fuzz/ftp.py --seconds 60``; with ``--atheris`` under that fuzzer.

What must hold: the reader of commands raises nothing, holds one line at most, and does not care how its bytes
are cut; arguments raise nothing but ValueError; a reply stays on its lines; ends of lines come back.
"""

from __future__ import annotations

import contextlib
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from fuzz.runner import run, words

from tidegate.doors.ftp.wire import addresses, listings, replies, times
from tidegate.doors.ftp.wire.commands import MAX_LINE, CommandReader
from tidegate.doors.ftp.wire.text import FromWire, ToWire

WORDS = [
    b"USER ", b"RETR ", b"PORT ", b"EPRT |", b"MFMT ", b"\xff\xf4", b"\xff\xf2", b"\xff\xfb", b"\xff\xff",
    b"\r\n", b"\n", b"\r", b"\0", b"127,0,0,1,", b"20200101000000 ", b"x" * 3000, b"\xc3\xa9", b"|1|", b'"',
    b"size;",
]  # fmt: skip


def one(data: bytes) -> None:
    """One input for everything."""
    whole, pieces = CommandReader(), CommandReader()
    expected = whole.feed(data)
    found = []
    for byte in data[:4000]:
        found += pieces.feed(bytes((byte,)))
        assert pieces.waiting <= MAX_LINE + 1
    found += pieces.feed(data[4000:])
    assert found == expected
    text = data.decode("utf-8", "surrogateescape")
    for parse in (
        addresses.parse_port,
        addresses.parse_eprt,
        lambda argument: addresses.parse_epsv(argument, 4),
        times.parse_time,
        times.time_and_path,
    ):
        with contextlib.suppress(ValueError):
            parse(text)
    listings.chosen_facts(text)
    for reply in (replies.reply(550, text), replies.multiline(211, text, [text], text)):
        assert reply.count(b"\n") == reply.count(b"\r\n") <= 3
        assert reply.endswith(b"\r\n")
    out, back = ToWire(), FromWire()
    cut = len(data) // 2
    sent = out.convert(data[:cut]) + out.convert(data[cut:])
    assert back.convert(sent) + back.end() == data.replace(b"\r\n", b"\n")


def case(chance: random.Random, seed: int) -> None:
    del seed
    one(words(chance, WORDS))


if __name__ == "__main__":
    raise SystemExit(run("ftp.py", __doc__, case, one))
