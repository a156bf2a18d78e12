# SPDX-License-Identifier: Apache-2.0
"""Sinks of somebody else's package, and ours, in the running product: what was acknowledged is told, over kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.running import Person, Running, wait_for

PACKAGE = Path(__file__).parents[1] / "third_party" / "sink"
FIRST = [
    ("upload", "/a"),
    ("upload", "/b"),
    ("rename", "/a"),
    ("remove", "/b"),
    ("download", "/c"),
    ("rmdir", "/d"),
]


def lines(path: Path) -> list[list[Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def serve(directory: Path, sinks: list[dict[str, Any]], **more: Any) -> Running:
    return Running(
        directory,
        settings={"events": {"sinks": sinks, **more}},
        environment={"PYTHONPATH": str(PACKAGE)},
    )


async def do_things(person: Person) -> None:
    async with person.connect() as client, client.start_sftp_client() as sftp:
        for name in ("/a", "/b"):
            async with sftp.open(name, "wb") as file:
                await file.write(b"x" * 1000)
        await sftp.rename("/a", "/c")
        await sftp.remove("/b")
        async with sftp.open("/c", "rb") as file:
            await file.read()
        await sftp.mkdir("/d")
        await sftp.rmdir("/d")


async def test_what_was_acknowledged_is_told_over_kill_9(tmp_path: Path) -> None:
    audit, pause = tmp_path / "audit", tmp_path / "pause"
    server = serve(
        tmp_path / "config", [{"use": "audit", "options": {"file": str(audit), "pause": str(pause)}}]
    )
    server.expected_errors = ["kept sink audit"]
    try:
        person = server.account()
        await asyncio.to_thread(server.start)
        pause.touch()
        await do_things(person)
        async with person.connect() as client, client.start_sftp_client() as sftp:
            file = await sftp.open("/half", "wb")
            await file.write(b"never closed")
            server.kill()
            with contextlib.suppress(asyncssh.Error, OSError):
                await file.close()
        assert lines(audit) == []
        pause.unlink()
        await asyncio.to_thread(server.start)
        wanted = [("login", ""), *FIRST, ("login", "")]
        await asyncio.to_thread(wait_for, lambda: len(lines(audit)) >= len(wanted), "not told")
        async with person.connect():
            pass
        await asyncio.to_thread(wait_for, lambda: len(lines(audit)) > len(wanted), "the last is not told")
        told = lines(audit)
        assert [(event, path) for _, event, _, path in told] == [*wanted, ("login", "")]
        assert [number for number, *_ in told] == list(range(1, len(told) + 1))
        assert {user for *_, user, _ in told} == {person.name}
        await asyncio.to_thread(server.stop)
    finally:
        server.kill()


async def test_killed_in_the_middle_of_many_uploads(tmp_path: Path) -> None:
    """Every upload that a client was told of is told; at most one more of each client, which was not told."""
    file = tmp_path / "events.jsonl"
    server = serve(
        tmp_path / "config", [{"use": "file", "events": ["upload"], "options": {"path": str(file)}}]
    )
    people = server.accounts([{} for _ in range(4)])
    acknowledged: list[set[str]] = [set() for _ in people]

    async def upload(person: Person, done: set[str]) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            async with person.connect() as client, client.start_sftp_client() as sftp:
                for number in range(1000):
                    async with sftp.open(f"/{number}", "wb") as handle:
                        await handle.write(b"x")
                    await sftp.stat(f"/{number}")  # asyncssh says nothing if it cannot send CLOSE any more
                    done.add(f"/{number}")

    try:
        await asyncio.to_thread(server.start)
        tasks = [asyncio.create_task(upload(*pair)) for pair in zip(people, acknowledged, strict=True)]
        await asyncio.to_thread(
            wait_for, lambda: sum(map(len, acknowledged)) > 60 and file.stat().st_size > 0, "no uploads"
        )
        server.kill()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(server.start)
        wanted = {
            (person.name, path) for person, done in zip(people, acknowledged, strict=True) for path in done
        }

        def told() -> dict[int, tuple[str, str]]:
            whole, _, _ = file.read_text().rpartition("\n")  # the last line may be under way
            found = [json.loads(line) for line in whole.splitlines()]
            return {event["id"]: (event["origin"]["username"], event["virtual_path"]) for event in found}

        await asyncio.to_thread(wait_for, lambda: wanted <= set(told().values()), "some are missing")
        await asyncio.to_thread(server.stop)
        by_id = told()
        assert len(set(by_id.values())) == len(by_id)  # two ids never tell of one upload
        assert list(by_id) == sorted(by_id)
        extra = [name for name, _ in set(by_id.values()) - wanted]
        assert len(extra) == len(set(extra))
        assert (file.stat().st_mode & 0o777) == 0o600
    finally:
        server.kill()


async def test_a_sink_by_import_path_and_one_that_may_lose(tmp_path: Path) -> None:
    counts, file = tmp_path / "counts", "events.jsonl"
    server = serve(
        tmp_path / "config",
        [
            {"use": "tidegate_audit:Counts", "options": {"file": str(counts)}},
            {"use": "file", "name": "all", "events": ["upload", "mkdir"], "options": {"path": file}},
        ],
    )
    torn = server.directory / file
    torn.write_text('{"id": 0}\n{"id": 1, "ev')
    try:
        person = server.account()
        await asyncio.to_thread(server.start)
        await do_things(person)
        await asyncio.to_thread(wait_for, lambda: torn.read_text().count("\n") == 4, "not told")
        await asyncio.to_thread(server.stop)
    finally:
        server.kill()
    events = [json.loads(line) for line in torn.read_text().splitlines()[1:]]
    assert [(event["event"], event["virtual_path"]) for event in events] == [
        ("upload", "/a"),
        ("upload", "/b"),
        ("mkdir", "/d"),
    ]
    assert events[0]["size"] == 1000
    assert events[0]["origin"]["username"] == person.name
    found = json.loads(counts.read_text())
    assert (found["Transferred"], found["Operated"], found["LoggedIn"]) == (3, 4, 1)


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ({"use": "nothing"}, "events.sinks[0]: no sink 'nothing' is installed; there are: audit, file"),
        ({"use": "file", "options": {}}, "events.sinks[0]: options of the file sink: path is missing"),
        ({"use": "json:loads"}, "events.sinks[0]: 'json:loads' cannot be used: TypeError"),
        ({"use": "audit", "events": ["uplaod"]}, "events.sinks[0].events[0]: there is no event 'uplaod'"),
    ],
)
def test_what_cannot_be_used_is_told_at_the_start(tmp_path: Path, sink: dict[str, Any], said: str) -> None:
    server = serve(tmp_path / "config", [sink])
    with pytest.raises(AssertionError) as told:
        server.start()
    assert said in str(told.value)
