# SPDX-License-Identifier: Apache-2.0
"""SFTP by hand over a real SSH connection: every byte is the test's own, every status code is seen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncssh
from tests.support import sftp_packets as p

SECONDS = 20


class RawSftp:
    """One SFTP channel."""

    def __init__(self, writer: Any, reader: Any) -> None:
        self.writer = writer
        self.reader = reader
        self.next_id = 0

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)

    async def receive(self) -> p.Reply:
        """The next reply.

        Raises:
            EOFError: the server closed the channel.
        """
        try:
            size = int.from_bytes(await asyncio.wait_for(self.reader.readexactly(4), SECONDS), "big")
            return p.parse(await asyncio.wait_for(self.reader.readexactly(size), SECONDS))
        except (asyncio.IncompleteReadError, asyncssh.Error, OSError) as error:
            raise EOFError from error

    async def ask(self, build: Callable[..., bytes], *args: Any, **more: Any) -> p.Reply:
        """Send one request, which has no other beside it, and wait for the answer."""
        self.next_id += 1
        self.send(build(self.next_id, *args, **more))
        reply = await self.receive()
        assert reply.rid == self.next_id
        return reply


async def raw_channel(client: asyncssh.SSHClientConnection, *, hello: bool = True) -> RawSftp:
    """Start the sftp subsystem, and agree on the version unless told not to."""
    writer, reader, _ = await client.open_session(subsystem="sftp", encoding=None)
    raw = RawSftp(writer, reader)
    if hello:
        raw.send(p.init())
        assert (await raw.receive()).kind == 2
    return raw


@contextlib.asynccontextmanager
async def raw_sftp(person: Any) -> AsyncIterator[RawSftp]:
    """A connection with one channel."""
    async with person.connect() as client:
        yield await raw_channel(client)
