# SPDX-License-Identifier: Apache-2.0
"""Uploads, a receiver that fails, hangs and dies now and then, and kill -9 of the server in between."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import asyncssh
import pytest
from tests.support.receiver import Answer, Received, Receiver
from tests.support.running import Person, Running, wait_for


class Moody:
    """Answers of a receiver on a bad day; from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.well = False

    def __call__(self, request: Received) -> Answer:
        del request
        luck = 1.0 if self.well else self._random.random()
        if luck < 0.15:
            return Answer(503)
        if luck < 0.2:
            return Answer(cut=True)
        if luck < 0.21:
            return Answer(hang=True)
        return Answer()


async def upload(person: Person, names: list[str]) -> list[str]:
    """Upload files; returns those that the server said are complete."""
    done: list[str] = []
    try:
        async with person.connect() as client, client.start_sftp_client() as sftp:
            for name in names:
                async with sftp.open(name, "wb") as file:
                    await file.write(b"x" * 100)
                await sftp.stat(name)  # asyncssh says nothing if it cannot send CLOSE any more
                done.append(name)
    except (OSError, asyncssh.Error):
        pass
    return done


async def run(tmp_path: Path, *, uploads: int, kills: int, seed: int, patience: float) -> None:
    moody = Moody(seed)
    with Receiver(moody) as receiver:
        server = Running(
            tmp_path / "config",
            settings={
                "common": {"actions": {"execute_on": ["upload"], "hook": receiver.url}},
                "http": {"timeout": 5},
            },
        )
        server.expected_errors = ["uploads.journal", "unfinished"]
        complete: list[str] = []
        try:
            person = server.account()
            await asyncio.to_thread(server.start)
            share = uploads // (kills + 1)
            for turn in range(kills + 1):
                names = [f"/{turn}-{number}" for number in range(share)]
                work = asyncio.create_task(upload(person, names))
                if turn < kills:
                    target = len(complete) + share // 2

                    def half(target: int = target, work: asyncio.Task[list[str]] = work) -> bool:
                        return len({one.id for one in receiver.received}) >= target // 2 or work.done()

                    await asyncio.to_thread(wait_for, half, "events come", patience)
                    await asyncio.to_thread(server.kill)
                    receiver.stop()
                    complete += await work
                    await asyncio.to_thread(server.start)
                    receiver.start()
                else:
                    complete += await work
            moody.well = True
            wanted = set(complete)

            def told() -> bool:
                return wanted <= {one.json["virtual_path"] for one in receiver.accepted}

            await asyncio.to_thread(wait_for, told, "every complete upload is told", patience)
        finally:
            await asyncio.to_thread(server.stop)
    assert len(complete) > uploads // 4
    ids: dict[str, set[str]] = defaultdict(set)
    for one in receiver.accepted:
        ids[one.json["virtual_path"]].add(one.id)
    assert {path: found for path, found in ids.items() if len(found) != 1} == {}
    assert len({next(iter(found)) for found in ids.values()}) == len(ids)


@pytest.mark.timeout(200)
async def test_every_complete_upload_is_told_with_one_id(tmp_path: Path) -> None:
    await run(tmp_path, uploads=40, kills=1, seed=7, patience=60)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_a_thousand_uploads_over_four_kills(tmp_path: Path) -> None:
    await run(tmp_path, uploads=1_000, kills=4, seed=11, patience=600)
