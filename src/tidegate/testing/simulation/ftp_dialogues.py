# SPDX-License-Identifier: Apache-2.0
"""Whole conversations of FTP clients: the control connection and the dialogue of the door, as they are.

Simulated are its transport, which takes replies, and data connections. It has no weight of its own:
histories have it if `Rules.acts` names it.
"""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from tidegate.cluster.registry import Activity
from tidegate.doors.ftp.control import Control
from tidegate.doors.ftp.conversation import Conversation
from tidegate.doors.ftp.data import DataConnection
from tidegate.doors.ftp.dialogue import FtpDialogue
from tidegate.doors.ftp.early import EarlyTls
from tidegate.doors.ftp.options import FtpBinding, FtpOptions
from tidegate.doors.ftp.ways import Passive
from tidegate.errors import Conflict
from tidegate.testing.simulation.ftp_operations import Line
from tidegate.testing.simulation.operations import DIRECTORIES, operation, some_file

if TYPE_CHECKING:
    from tidegate.testing.simulation.client import Client

FTP_DIALOGUE: Final = "ftp-conversation"
"""Name of the operation."""

LEAVES: Final = 0.3
"""Share of clients that go away without QUIT, at any point."""
BACKLOG: Final = 4
"""Most commands that a client sends before it has replies."""


class _Transport:
    """Takes replies."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        """Take some."""
        self.sent += data

    def is_closing(self) -> bool:
        """True once the door has ended it."""
        return self.closed

    def close(self) -> None:
        """End it."""
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    resume_reading = pause_reading


class _Early:
    """A data connection whose TLS has begun, so that the door makes none of a socket."""

    begun = sends = False

    def __init__(self, line: Line) -> None:
        self._line = line

    async def connection(self, seconds: float) -> DataConnection:
        """The line."""
        del seconds
        await asyncio.sleep(0)
        return cast("DataConnection", self._line)

    async def settled(self, patience: float, seconds: float) -> None:
        """Nothing is to be waited for."""
        del patience, seconds
        await asyncio.sleep(0)


class _Way(Passive):
    """A port that has its connection already."""

    def __init__(self, line: Line) -> None:
        self.early = cast("EarlyTls", _Early(line))

    async def arrives(self, seconds: float) -> bool:
        """At once."""
        del seconds
        return True

    @property
    def settled(self) -> bool:
        """It came about."""
        return False

    def close(self) -> None:
        """There is no socket."""


_TRANSFERS: Final = ("STOR", "STOR", "APPE", "RETR", "STOU", "MLSD", "LIST")


def _command(client: Client, draw: random.Random) -> str:
    """A command with its argument, or two that belong together."""
    one, other = some_file(client, draw), some_file(client, draw)
    directory = draw.choice(DIRECTORIES)
    return draw.choice(
        (
            f"{draw.choice(_TRANSFERS)} {one}",
            f"STOR {one}",
            f"REST {draw.choice((0, 1, 500, 3000))}",
            f"RNFR {one}\r\nRNTO {other}",
            f"RNFR {directory}\r\nRNTO {draw.choice(DIRECTORIES)}",
            f"DELE {one}",
            f"MKD {directory}",
            f"RMD {directory}",
            f"SITE CPFR {one}\r\nSITE CPTO {other}",
            f"MLST {one}",
            f"SIZE {one}",
            f"MFMT 20200101000000 {one}",
            f"ALLO {draw.choice((1, 50_000))}",
            "ABOR",
            "NOOP",
            "TYPE A",
            "TYPE I",
            f"CWD {directory}",
        )
    )


async def _converse(client: Client, draw: random.Random, c: Conversation, dialogue: FtpDialogue) -> None:
    """Send commands, some of them before the replies to those before, and let the door obey."""
    leaves = draw.randrange(6) if draw.random() < LEAVES else -1
    for step in range(draw.randrange(2, 7)):
        await asyncio.sleep(draw.choice((0.0, 0.0, 0.001, 0.05)))
        if step == leaves:
            return
        lines = [_command(client, draw) for _ in range(draw.randrange(1, BACKLOG))]
        if c.next.way is None and not c.busy:
            c.next.goes(_Way(Line(draw)))
        c.control.data_received("".join(f"{line}\r\n" for line in lines).encode())
        if c.control.waiting and not await dialogue.obey():
            return
    if draw.random() < 0.7:
        c.control.data_received(b"QUIT\r\n")
        await dialogue.obey()


async def _no_address(_: object) -> str:
    return ""


@operation(0)
async def ftp_conversation(client: Client, draw: random.Random) -> None:
    """A client logs in, sends commands and goes, with a word or without."""
    first = client.session
    session = await client.vfs.open(first.principal, first.peer)
    client.sessions.append(session)
    control, transport = Control(Activity(), 30.0), _Transport()
    control.connection_made(cast("Any", transport))
    door = SimpleNamespace(draining=False, passive_address=_no_address)
    c = Conversation(
        door=cast("Any", door),
        options=FtpOptions(),
        binding=FtpBinding(),
        control=control,
        peer=first.peer,
        record=cast("Any", SimpleNamespace(username=first.principal.username)),
        visit=cast("Any", None),
        own_address="127.0.0.1",
        context=None,
        activity=Activity(),
        session=session,
    )
    dialogue = FtpDialogue(c)
    try:
        await _converse(client, draw, c, dialogue)
    finally:
        control.connection_lost(None)
        await dialogue.obey()  # there is nobody any more: it clears up
        await session.close()
    if not transport.sent.startswith((b"1", b"2", b"3")):
        raise Conflict(transport.sent[:60].decode(errors="replace"))
