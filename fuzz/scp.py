# SPDX-License-Identifier: Apache-2.0
"""Throws bytes at SCP and at command lines: ``python fuzz/scp.py --seconds 60``.

Every input is made from a seed, so a failure is repeated with ``--seed N --count 1``. With ``--atheris`` (and
the atheris package) records, command lines and patterns run under coverage-guided fuzzing instead. What must
hold: records raise nothing but ProtocolViolation and name one component of a path, command lines nothing but
InvalidArgument, and patterns nothing; a dialogue ends, writes nothing outside the directory that it was begun
for, and leaves neither a file nor a listing open.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from fuzz.runner import run
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


def case(chance: random.Random, seed: int) -> None:
    for _ in range(20):
        records(record(chance))
        records(chance.randbytes(chance.randrange(40)))
        records(bytes(chance.choice(b"abC0 '\"\\*?[]!-~/\n") for _ in range(chance.randrange(30))))
    asyncio.run(conversation(seed))


if __name__ == "__main__":
    raise SystemExit(run("scp.py", __doc__, case, records, what="conversations", logger="tidegate.doors.scp"))
