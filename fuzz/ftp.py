# SPDX-License-Identifier: Apache-2.0
"""Throws bytes at the text of FTP: ``python fuzz/ftp.py --seconds 60``; with ``--atheris`` under that fuzzer.

What must hold: the reader of commands raises nothing, holds one line at most, and does not care how its bytes
are cut; arguments raise nothing but ValueError; a reply stays on its lines; ends of lines come back.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time

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


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10, help="how long to run")
    parser.add_argument("--seed", type=int, default=None, help="first seed; random if left out")
    parser.add_argument("--count", type=int, default=None, help="number of inputs; else as many as fit")
    parser.add_argument("--atheris", action="store_true", help="run under atheris")
    options = parser.parse_args()
    if options.atheris:
        import atheris

        atheris.instrument_all()
        atheris.Setup(sys.argv[:1], one)
        atheris.Fuzz()
        return 0
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    stop, done = time.monotonic() + options.seconds, 0
    while done < options.count if options.count is not None else time.monotonic() < stop:
        chance = random.Random(seed + done)
        data = b"".join(
            chance.choice(WORDS) if chance.random() < 0.7 else chance.randbytes(chance.randrange(20))
            for _ in range(chance.randrange(12))
        )
        try:
            one(data)
        except BaseException:
            print(f"failed: python fuzz/ftp.py --seed {seed + done} --count 1", file=sys.stderr)
            raise
        done += 1
    print(f"{done} inputs from seed {seed}, no failure")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
