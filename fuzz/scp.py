# SPDX-License-Identifier: Apache-2.0
"""Throws bytes at SCP and at command lines: ``python fuzz/scp.py --seconds 60``.

Every input is made from a seed, so a failure is repeated with ``--seed N --count 1``. With ``--atheris`` (and
the atheris package) records, command lines and patterns run under coverage-guided fuzzing instead. What must
hold: records raise nothing but ProtocolViolation and name one component of a path, command lines nothing but
InvalidArgument, and patterns nothing; a dialogue ends, writes nothing outside the directory that it was begun
for, and leaves neither a file nor a listing open.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from tests.support.memory_session import DISTANT, MemorySession
from tests.support.scp_peer import ScpPeer

from tidegate.doors.common.command_line import split
from tidegate.doors.scp import wire
from tidegate.doors.scp.wildcards import compiled
from tidegate.doors.ssh.commands import parse
from tidegate.errors import InvalidArgument, ProtocolViolation

NAMES = [b"f", b"d", b"..", b".", b"", b"a/b", b"/etc/passwd", b"\xff", b"a b", b"x" * 300, b"a\0b", b"sub"]
SIZES = [b"0", b"1", b"5", b"-1", b"100000", b"9" * 19, b"9" * 30, b"x", b""]
MODES = [b"0644", b"0755", b"4755", b"9", b"", b"77777777"]
LINES = [
    "-t /d",
    "-r -t /d",
    "-rpt /d/",
    "-d -t /d",
    "-r -p -t /d/f",
    "-f /d/f",
    "-rpf /",
    "-rf '/d*' /x",
    "-f /[a-z]*",
]


def records(data: bytes) -> None:
    """One input for what takes text apart."""
    with contextlib.suppress(ProtocolViolation):
        record = wire.parse(data)
        if isinstance(record, wire.FileRecord | wire.DirectoryRecord):
            assert record.name not in ("", ".", "..")
            assert not {"/", "\0"} & set(record.name)
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(InvalidArgument):
        split(text)
    parse(text, ("*",))
    compiled(text[:40]).fullmatch("name")


def record(chance: random.Random) -> bytes:
    """One record: well-formed more often than not."""
    kind = chance.randrange(9)
    if kind < 3:
        size = chance.randrange(40)
        line = b"C0644 %d %s\n" % (size, chance.choice(NAMES[:2] + NAMES[-1:]))
        return line + chance.randbytes(size) + b"\0"
    if kind == 3:
        return b"D0755 0 " + chance.choice(NAMES) + b"\n"
    if kind == 4:
        return b"E\n"
    if kind == 5:
        return b"T%d 0 %d 0\n" % (chance.randrange(2**40), chance.randrange(2**31))
    if kind == 6:
        return chance.choice([b"\0", b"\1no\n", b"\2gone\n"])
    if kind == 7:
        return (
            b" ".join(
                [
                    chance.choice(b"CDTEX").to_bytes(1, "big") + chance.choice(MODES),
                    chance.choice(SIZES),
                    chance.choice(NAMES),
                ]
            )
            + b"\n"
        )
    return chance.randbytes(chance.randrange(30))


async def conversation(seed: int) -> None:
    """One peer, friendly at first."""
    chance = random.Random(seed)
    DISTANT.set(chance.random() < 0.3)
    session = MemorySession()
    session.put("/d/f", b"0123456789" * 30)
    session.put("/d/sub/g", b"x")
    session.put("/other", b"kept")
    session.slow = chance.random() < 0.3
    peer = ScpPeer(chance.choice(LINES), session, window=chance.choice([None, None, 50]))
    for _ in range(chance.randrange(1, 40)):
        data = record(chance) if chance.random() < 0.6 else b"\0"
        cut = chance.randrange(len(data) + 1)
        for piece in (data[:cut], data[cut:]):
            peer.send(piece)
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
        if chance.random() < 0.05:
            peer.channel.open_window(100)
    if chance.random() < 0.5:
        peer.end()
    for _ in range(chance.randrange(100)):
        await asyncio.sleep(0)
    await peer.drop()
    assert not session.open_files, "a file was left open"
    assert not session.open_listings, "a listing was left open"
    assert session.data("/other") == b"kept"
    assert {path for path in session.nodes if not path.is_within("/d")} == {"/", "/other"}
    assert peer.dialogue.held_bytes == 0


class Strict(logging.Handler):
    """The dialogue logs what nobody foresaw; here that is a failure."""

    def emit(self, record: logging.LogRecord) -> None:
        self.seen = record


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10, help="how long to run")
    parser.add_argument("--seed", type=int, default=None, help="first seed; random if left out")
    parser.add_argument(
        "--count", type=int, default=None, help="number of conversations; else as many as fit"
    )
    parser.add_argument("--atheris", action="store_true", help="fuzz records and lines with atheris")
    options = parser.parse_args()
    if options.atheris:
        import atheris

        atheris.instrument_all()
        atheris.Setup(sys.argv[:1], records)
        atheris.Fuzz()
        return 0
    strict = Strict()
    logging.getLogger("tidegate.doors.scp").addHandler(strict)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    stop, done = time.monotonic() + options.seconds, 0
    while (options.count is None and time.monotonic() < stop) or (
        options.count is not None and done < options.count
    ):
        here = seed + done
        chance = random.Random(here)
        try:
            for _ in range(20):
                records(record(chance))
                records(chance.randbytes(chance.randrange(40)))
                records(bytes(chance.choice(b"abC0 '\"\\*?[]!-~/\n") for _ in range(chance.randrange(30))))
            asyncio.run(conversation(here))
            if hasattr(strict, "seen"):
                raise AssertionError(strict.seen.getMessage()) from (strict.seen.exc_info or (0, None))[1]
        except BaseException:
            print(f"failed: python fuzz/scp.py --seed {here} --count 1", file=sys.stderr)
            raise
        done += 1
    print(f"{done} conversations from seed {seed}, no failure")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
