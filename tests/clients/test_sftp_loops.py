# SPDX-License-Identifier: Apache-2.0
"""Three servers that store on each other in a ring: whoever logs in there gets an error in time, nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from tests.support.running import Person, Running, in_thread

from tidegate.cli.provider import opened
from tidegate.model import StorageConfig

BOUND_SECONDS = 90.0
"""Three servers give up one after the other, each after the half minute that an answer may take."""


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[list[Person]]:
    """The account ``ring`` of each of three servers has its home on the next one; ``beside`` has a directory."""
    with contextlib.ExitStack() as stack:
        servers = [Running(tmp_path / f"s{number}") for number in range(3)]
        people: list[Person] = []
        for server in servers:
            stack.callback(server.kill)
            server.start()
            people.append(server.account("ring"))
            server.account("beside")
        for number, person in enumerate(people):
            following = people[(number + 1) % 3]
            _store_on(person, following)
        yield people


def _store_on(person: Person, other: Person) -> None:
    config = {
        "endpoint": f"127.0.0.1:{other.port}",
        "username": other.name,
        "private_key": {"status": "Plain", "payload": other.key.read_text()},
        "fingerprints": [_fingerprint(other)],
    }

    async def change() -> None:
        from dataclasses import replace

        async with opened(person.server.directory, "tidegate") as desk:
            account = await desk.provider.user(person.name)
            assert account is not None
            filesystem = StorageConfig("sftp", {"sftpconfig": config})
            await desk.provider.update_user(replace(account, filesystem=filesystem))

    in_thread(change)


def _fingerprint(person: Person) -> str:
    key = asyncssh.read_public_key(person.server.directory / "id_ed25519.pub")
    return str(key.get_fingerprint())


async def test_a_ring_of_three_ends_in_an_error(ring: list[Person]) -> None:
    began = time.monotonic()
    async with asyncio.timeout(BOUND_SECONDS):
        with pytest.raises((asyncssh.Error, OSError)):
            async with ring[0].connect() as client, client.start_sftp_client() as files:
                await files.listdir(".")
    took = time.monotonic() - began
    assert took < BOUND_SECONDS
    for person in ring:  # the servers, and who has another home there, are as they were
        options = {"username": "beside"}
        async with person.connect(**options) as client, client.start_sftp_client() as files:
            assert await files.listdir(".") == [".", ".."]
