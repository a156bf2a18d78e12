# SPDX-License-Identifier: Apache-2.0
"""Throws bytes at the SFTP codec and dialogue: ``python fuzz/sftp_wire.py --seconds 60``.

Every input is made from a seed, so a failure is repeated with ``--seed N --count 1``. With ``--atheris`` (and
the atheris package) the codec runs under coverage-guided fuzzing instead. What must hold: the codec raises
nothing but ProtocolViolation; the dialogue raises nothing, answers every whole request at most once, and
leaves neither a file nor a listing open.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from fuzz.runner import run
from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer

from tidegate.doors.sftp.dialogue import SftpLimits
from tidegate.doors.sftp.wire import decoding
from tidegate.errors import ProtocolViolation

PATHS = [
    b"/f",
    b"/d",
    b"/d/g",
    b"/new",
    b"/",
    b".",
    b"..",
    b"",
    b"/d/../f",
    b"/\xff",
    b"a\0b",
    b"~",
    b"/" + b"x" * 300,
]
EXTENSIONS = sorted(decoding.EXTENSIONS)
NUMBERS = [0, 1, 2, 255, 256, 4096, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def fields(chance: random.Random, handles: list[bytes]) -> bytes:
    """A few fields of any kind, in any order."""
    parts = []
    for _ in range(chance.randrange(6)):
        kind = chance.randrange(6)
        if kind == 0:
            parts.append(p.s(chance.choice(PATHS)))
        elif kind == 1:
            parts.append(p.s(chance.choice(handles)) if handles else p.s(b"none"))
        elif kind == 2:
            parts.append(p.u32(chance.choice(NUMBERS) & 0xFFFFFFFF))
        elif kind == 3:
            parts.append(p.u64(chance.choice(NUMBERS)))
        elif kind == 4:
            parts.append(p.attrs(size=chance.randrange(100), mode=chance.randrange(0o200000)))
        else:
            parts.append(chance.randbytes(chance.randrange(12)))
    return b"".join(parts)


def request(chance: random.Random, rid: int, handles: list[bytes]) -> bytes:
    """One request: well-formed more often than not."""
    path = chance.choice(PATHS)
    handle = chance.choice(handles) if handles and chance.random() < 0.9 else chance.randbytes(8)
    kind = chance.randrange(16)
    if kind == 0:
        return p.open_(rid, path, chance.randrange(64), p.attrs(mode=0o644))
    if kind == 1:
        return p.read(rid, handle, chance.choice([0, 1, 10, *NUMBERS]), chance.choice([1, 100, 2**32 - 1]))
    if kind == 2:
        return p.write(
            rid, handle, chance.choice([0, 1, 10, 2**63, 2**64 - 1]), chance.randbytes(chance.randrange(40))
        )
    if kind == 3:
        return p.close(rid, handle)
    if kind == 4:
        return p.opendir(rid, path)
    if kind == 5:
        return p.readdir(rid, handle)
    if kind == 6:
        return p.fsetstat(rid, handle, p.attrs(size=chance.randrange(100)))
    if kind == 7:
        return p.extended(rid, chance.choice(EXTENSIONS).decode(), fields(chance, handles))
    if kind == 8:
        return p.packet(200, p.u32(rid) + fields(chance, handles))
    body = p.u32(rid) + fields(chance, handles)
    return p.packet(chance.choice([*range(3, 21), 42, 101, 200]), body)


def codec(data: bytes) -> None:
    """One input for the codec alone."""
    if not data:
        return
    with contextlib.suppress(ProtocolViolation):
        decoding.decode(data[0], data[1:])
    with contextlib.suppress(ProtocolViolation):
        decoding.decode_init(data)


async def conversation(seed: int) -> None:
    """One peer, friendly at first."""
    chance = random.Random(seed)
    session = MemorySession()
    session.put("/f", b"0123456789" * 30)
    session.put("/d/g", b"x")
    peer = Peer(session, limits=SftpLimits(handles=8, requests=chance.choice([4, 64]), held_bytes=100_000))
    handles: list[bytes] = []
    asked: list[int] = []
    answered: list[int] = []
    for rid in range(chance.randrange(1, 60)):
        session.slow = chance.random() < 0.5
        data = request(chance, rid, handles)
        asked.append(rid)
        if chance.random() < 0.02:
            broken = bytearray(data)
            broken[chance.randrange(len(broken))] = chance.randrange(256)
            data = bytes(broken)
        cut = chance.randrange(len(data) + 1)
        peer.send(data[:cut])
        if chance.random() < 0.3:
            await peer.turns(chance.randrange(5))
        peer.send(data[cut:])
        for reply in peer.take():
            answered.append(reply.rid)
            if reply.kind == 102:
                handles.append(reply.handle)
    if chance.random() < 0.5:
        peer.dialogue.eof_received()
    await peer.turns(chance.randrange(200))
    answered += [reply.rid for reply in peer.take()]
    assert len(answered) <= len(asked), "more answers than requests"
    await peer.drop()
    assert not session.open_files, "a file was left open"
    assert not session.open_listings, "a listing was left open"


def case(chance: random.Random, seed: int) -> None:
    for _ in range(50):
        codec(chance.randbytes(chance.randrange(80)))
        codec(bytes([200]) + p.s(chance.choice(EXTENSIONS)) + fields(chance, []))
    asyncio.run(conversation(seed))


if __name__ == "__main__":
    raise SystemExit(
        run("sftp_wire.py", __doc__, case, codec, what="conversations", logger="tidegate.doors.sftp")
    )
