# SPDX-License-Identifier: Apache-2.0
"""Moving a home by the command line: to a bucket and back, while its owner works, and over crashes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sqlite3
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.command_line import Result, tidegate
from tests.support.far_sshd import FarServer, far_sshd
from tests.support.fault_proxy import FaultProxy, Refuse, fault_proxy
from tests.support.object_servers import ObjectServer
from tests.support.ports import free_port
from tests.support.running import Person, Running, wait_for

PASSWORD = "a long and boring administrator password"
WHEN = 1_000_000_000


class World:
    """One person whose home is a directory, an administrator, and a bucket behind a proxy."""

    def __init__(self, base: Path, store: ObjectServer, proxy: FaultProxy) -> None:
        self.proxy, self.store, self.bucket = proxy, store, store.bucket()
        self.base = base
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        http = {"bindings": [{"port": port}], "signing_passphrase": "of the test alone"}
        self.server = Running(base / "config", settings={"httpd": http, "data_provider": {"track_quota": 1}})
        add = ["admin", "add", "boss", "--password-stdin", "--create", "-c", str(self.server.directory)]
        made = tidegate(*add, stdin=PASSWORD)
        assert made.code == 0, made
        self.server.expected_errors.append("move of user")
        self.server.start()
        self.token = base / "token"
        wait_for(self._log_in, "no REST API")
        self.wish = base / "bucket.json"
        self.prepare()

    def prepare(self) -> None:
        """Another person, and another place in the bucket."""
        self.proxy.clear()
        self.proxy.latency = 0.0
        self.person: Person = self.server.account()
        self.name = self.person.name
        options = self.store.options(self.bucket, key_prefix=f"{self.name}/", endpoint=self.proxy.endpoint)
        self.wish.write_text(json.dumps({"provider": 1, "s3config": options}))

    def _log_in(self) -> bool:
        request = urllib.request.Request(f"{self.url}/api/v2/token")
        request.add_header("Authorization", "Basic " + base64.b64encode(f"boss:{PASSWORD}".encode()).decode())
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            self.token.write_text(json.load(answer)["access_token"])
        return self.token.exists()

    def __call__(self, *args: str | Path) -> Result:
        return tidegate("storage", *args, "--url", self.url, "--token-file", self.token)

    def ok(self, *args: str | Path) -> str:
        result = self(*args)
        assert result.code == 0, (result, self.server.tail())
        return result.out

    def command(self, *args: str) -> Result:
        return tidegate(*args, "--url", self.url, "--token-file", self.token)

    def await_phase(self, phase: str) -> None:
        wait_for(
            lambda: self.ask(f"storage-moves/users/{self.name}")["phase"] == phase, f"no {phase} came", 30
        )

    def ask(self, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}/api/v2/{path}")
        request.add_header("Authorization", f"Bearer {self.token.read_text()}")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def objects(self) -> dict[str, int]:
        prefix = f"{self.name}/"
        found = self.store.admin.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", ())
        return {one["Key"].removeprefix(prefix): one["Size"] for one in found}

    def plant(self, files: int = 12) -> dict[str, bytes]:
        content = {f"sub{number % 3}/f{number}": os.urandom(1000 + number) for number in range(files)}
        content["large"] = os.urandom(6 << 20)
        content["none"] = b""
        for name, data in content.items():
            path = self.person.home / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (WHEN, WHEN))
        (self.person.home / "empty").mkdir()
        return content

    async def read(self) -> dict[str, bytes]:
        """Everything in the home, as its owner reads it."""
        found: dict[str, bytes] = {}
        async with self.person.connect() as client, client.start_sftp_client() as files:
            async for name in _walk(files, "."):
                async with files.open(name, "rb") as file:
                    found[name.removeprefix("./")] = await file.read()
                assert (await files.stat(name)).mtime == WHEN or name.startswith("./new")
        return found


async def _walk(files: asyncssh.SFTPClient, directory: str) -> Any:
    for entry in await files.readdir(directory):
        name = str(entry.filename)
        if name not in {".", ".."}:
            if entry.attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY:
                async for inner in _walk(files, f"{directory}/{name}"):
                    yield inner
            else:
                yield f"{directory}/{name}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, seaweedfs_server: ObjectServer) -> Iterator[World]:
    with fault_proxy(seaweedfs_server.endpoint) as proxy:
        made = World(tmp_path_factory.mktemp("world"), seaweedfs_server, proxy)
        try:
            yield made
            made.server.stop()
        finally:
            made.server.kill()


@pytest.fixture(scope="module")
def far_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    with far_sshd(tmp_path_factory.mktemp("far")) as server:
        yield server


@pytest.fixture
def world(server: World) -> World:
    server.prepare()
    return server


def test_to_a_bucket_and_back(world: World) -> None:
    content = world.plant()
    size = sum(map(len, content.values()))
    assert tidegate("quota", "scan", world.name, "--url", world.url, "--token-file", world.token).code == 0
    used = world.server.stored(world.name).used_quota_size, world.server.stored(world.name).used_quota_files
    assert used == (size, len(content))
    told = world.ok("move", world.name, "--to", world.wish, "--dry-run")
    assert f"{len(content)} files" in told and f"s3://{world.bucket}/{world.name}/" in told
    assert world.objects() == {}

    told = world.ok("move", world.name, "--to", world.wish, "--verify-all")
    assert "every one compared" in told
    assert {name for name in world.objects() if not name.endswith("/")} == content.keys()
    assert world.server.stored(world.name).filesystem.kind == "s3"
    assert asyncio.run(world.read()) == content
    stored = world.server.stored(world.name)
    assert (stored.used_quota_size, stored.used_quota_files, stored.filters.hold) == (*used, "")

    told = world.ok("move", world.name, "--undo")
    assert "none copied now" in told
    assert asyncio.run(world.read()) == content
    assert world.server.stored(world.name).filesystem.is_local
    assert "files removed" in world.ok("move", world.name, "--remove-old")
    assert world.objects() == {}
    assert asyncio.run(world.read()) == content


def test_its_owner_works_meanwhile_and_loses_nothing(world: World) -> None:
    """Whatever was acknowledged before the session ended is at the new storage."""
    content = world.plant()
    world.proxy.latency = 0.02
    acknowledged: dict[str, bytes] = {}

    async def work() -> None:
        moving = asyncio.create_task(asyncio.to_thread(world.ok, "move", world.name, "--to", world.wish))
        number = 0
        with contextlib.suppress(OSError, asyncssh.Error):
            async with world.person.connect() as client, client.start_sftp_client() as files:
                while not moving.done():
                    name, data = f"new{number}", os.urandom(100 + number)
                    async with files.open(name, "wb") as file:
                        await file.write(data)
                    acknowledged[name] = data
                    number += 1
        assert not moving.done(), "its session was not ended"
        await moving
        found = await world.read()
        assert {name: found[name] for name in acknowledged} == acknowledged
        assert {name: found[name] for name in content} == content
        assert number >= 5

    asyncio.run(work())
    assert world.server.stored(world.name).filesystem.kind == "s3"


@pytest.mark.parametrize("phase", ["copying", "differences", "verifying", "removing"])
def test_kill_9(world: World, phase: str) -> None:
    content = world.plant()
    if phase == "removing":
        world.ok("move", world.name, "--to", world.wish)
        world.ok("move", world.name, "--undo")
    world.proxy.latency = 0.05
    how = ["--remove-old"] if phase == "removing" else ["--to", str(world.wish)]
    world.ok("move", world.name, *how, "--no-wait")
    world.await_phase(phase)
    world.server.kill()
    world.proxy.latency = 0.0
    if phase in {"differences", "verifying"}:
        assert world.server.stored(world.name).filters.hold
    world.server.start()
    assert world.server.stored(world.name).filters.hold == ""
    assert world.server.stored(world.name).filesystem.is_local
    assert asyncio.run(world.read()) == content  # nobody is kept out, and the old storage counts
    told = world.ok("move", world.name, *how)
    if phase != "removing":
        assert asyncio.run(world.read()) == content
        assert world.server.stored(world.name).filesystem.kind == "s3"
        if phase == "verifying":
            assert "none copied now" in told
    else:
        assert world.objects() == {}


@pytest.mark.parametrize("happened", [False, True], ids=["before", "after"])
def test_kill_9_in_the_very_switch(world: World, happened: bool) -> None:
    """The change of the record waits for the database; then what notes it waits for the disk."""
    content = world.plant()
    world.proxy.latency = 0.05
    world.ok("move", world.name, "--to", world.wish, "--no-wait")
    world.await_phase("verifying")
    database = sqlite3.connect(world.server.directory / "tidegate.db", isolation_level=None)
    with contextlib.closing(database):
        database.execute("BEGIN IMMEDIATE")
        world.await_phase("switching")
        notes = (world.server.directory / "storage.moves").glob("*/move.json")
        (note,) = [one for one in notes if json.loads(one.read_text())["name"] == world.name]
        wait_for(lambda: json.loads(note.read_text())["phase"] == "switching", "no switch was noted")
        waiting = note.with_suffix(".json.new")
        os.mkfifo(waiting)
        if happened:
            database.execute("ROLLBACK")
            world.await_phase("switched")
        world.server.kill()
    waiting.unlink()
    assert json.loads(note.read_text())["phase"] == "switching"
    assert bool(world.server.stored(world.name).filters.hold) != happened
    world.proxy.latency = 0.0
    world.server.start()
    stored = world.server.stored(world.name)
    assert (stored.filesystem.kind == "s3", stored.filters.hold) == (happened, "")
    assert asyncio.run(world.read()) == content
    if happened:
        assert world("move", world.name, "--to", world.wish).code == 1  # it is there
        assert "files removed" in world.ok("move", world.name, "--remove-old")
    else:
        assert "none copied now" in world.ok("move", world.name, "--to", world.wish)
    assert asyncio.run(world.read()) == content
    assert {name for name in world.objects() if not name.endswith("/")} == content.keys()


def test_a_move_is_among_the_connections_and_can_be_stopped_there(world: World) -> None:
    content = world.plant(60)
    world.proxy.latency = 0.05
    world.ok("move", world.name, "--to", world.wish, "--no-wait")

    def shown() -> dict[str, Any]:
        return next((one for one in world.ask("connections") if one["protocol"] == "MOVE"), {})

    def counts() -> dict[str, Any]:
        return dict(shown().get("active_transfers", [{}])[0])

    # While it looks at the source, it has files and no total yet.
    wait_for(lambda: {"files", "total_files"} <= counts().keys(), "no progress is shown")
    told, listed = shown(), world.command("connections", "list").out
    (transfer,) = told["active_transfers"]
    assert (told["username"], transfer["operation_type"], transfer["path"]) == (
        world.name,
        "storage-move",
        "/",
    )
    assert told["command"].startswith("storage move, ")
    assert (transfer["total_files"], transfer["total_size"]) == (
        len(content),
        sum(map(len, content.values())),
    )
    assert told["remote_address"] == "127.0.0.1"
    assert told["connection_id"] in listed and f"of {len(content)} files" in listed, listed
    assert world.command("connections", "close", world.name, "--yes").code == 1  # no session of its owner is
    assert world.command("connections", "close", told["connection_id"], "--yes").code == 0
    wait_for(lambda: not shown(), "it did not stop")
    assert world.ask(f"storage-moves/users/{world.name}")["state"] == "failed"
    stored = world.server.stored(world.name)
    assert (stored.filesystem.is_local, stored.filters.hold) == (True, "")
    world.proxy.latency = 0.0
    assert "every one compared" in world.ok("move", world.name, "--to", world.wish)
    assert asyncio.run(world.read()) == content


@pytest.mark.parametrize("kind", ["gcs", "azblob", "sftp"])
def test_to_storage_of_another_kind_and_back(world: World, kind: str, request: pytest.FixtureRequest) -> None:
    content = world.plant()
    provider, options = _other(kind, request)
    world.wish.write_text(json.dumps({"provider": provider, f"{kind}config": options}))
    assert "every one compared" in world.ok("move", world.name, "--to", world.wish)
    assert world.server.stored(world.name).filesystem.kind == kind
    assert asyncio.run(world.read()) == content
    (world.person.home / "sub1/f1").unlink()  # which counts no more
    told = world.ok("move", world.name, "--undo")
    assert "1 copied now" in told
    assert world.server.stored(world.name).filesystem.is_local
    assert asyncio.run(world.read()) == content
    assert "files removed" in world.ok("move", world.name, "--remove-old")
    assert asyncio.run(world.read()) == content


def _other(kind: str, request: pytest.FixtureRequest) -> tuple[int, dict[str, Any]]:
    if kind == "sftp":
        base: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        far = request.getfixturevalue("far_server")
        place = far.files / base.mktemp("moved").name
        place.mkdir()
        return 5, far.options(place)
    store = request.getfixturevalue("gcs_server" if kind == "gcs" else "azurite_server")
    return 2 if kind == "gcs" else 3, store.options(store.bucket(), key_prefix="moved/")


def test_a_bucket_that_fails_leaves_the_owner_where_they_are(world: World) -> None:
    content = world.plant()
    world.proxy.add("*", Refuse(403, "AccessDenied"), times=10_000, key="sub1/f7")
    result = world("move", world.name, "--to", world.wish)
    assert result.code == 1
    assert "sub1/f7" in result.err
    assert asyncio.run(world.read()) == content
    world.proxy.clear()
    assert "every one compared" in world.ok("move", world.name, "--to", world.wish)
    assert asyncio.run(world.read()) == content


def test_undo_before_the_switch_removes_the_copies(world: World) -> None:
    content = world.plant()
    world.proxy.add("*", Refuse(403, "AccessDenied"), times=10_000, key="sub0/f0")  # after those of the root
    assert world("move", world.name, "--to", world.wish).code == 1
    world.proxy.clear()
    assert world.objects() != {}
    world.ok("move", world.name, "--undo")
    assert world.objects() == {}
    assert asyncio.run(world.read()) == content
    assert world.ask(f"storage-moves/users/{world.name}")["phase"] == "removed"


def test_what_a_bucket_cannot_hold_is_told_by_name(world: World) -> None:
    content = world.plant(3)
    (world.person.home / "link").symlink_to("large")
    deep = world.person.home / ("d" * 250) / ("e" * 250) / ("f" * 250) / ("g" * 250)
    deep.mkdir(parents=True)
    (deep / ("h" * 250)).write_bytes(b"too deep")
    result = world("move", world.name, "--to", world.wish)
    assert result.code == 1
    assert "cannot hold everything" in result.err
    told = world("move", world.name, "--to", world.wish, "--dry-run", "--leave-out")
    assert "note: not moved: link is a link, and the new storage has none" in told.err
    assert f"note: not moved: {'d' * 250}" in told.err and "too long" in told.err
    told = world("move", world.name, "--to", world.wish, "--leave-out")
    assert told.code == 0, told
    found = {name for name in world.objects() if not name.endswith("/")}
    assert found == content.keys()
    assert (world.person.home / "link").is_symlink()
    told = world("move", world.name, "--remove-old")
    assert told.code == 0, told
    assert (world.person.home / "link").is_symlink()
    assert (deep / ("h" * 250)).exists()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("move",), "give the name of a user, or --folder NAME"),
        (("move", "ann"), "give --to STORAGE, --undo or --remove-old"),
        (("move", "ann", "--to", "relative"), "'relative' is no absolute directory"),
        (("move", "ann", "--to", "ftp://x/y"), "of URLs only s3:// and gs:// are known"),
        (("move", "ann", "--to", "s3:///y"), "names no bucket"),
        (("move", "ann", "--to", "/nowhere.json"), "/nowhere.json"),
        (("move", "ann", "--undo", "--dry-run"), "needs --to STORAGE"),
        (("move", "nobody", "--to", "/srv/x"), "nobody"),
        (("move", "ann", "--undo"), "is known here"),
        (("move", "ann", "--remove-old"), "is known here"),
        (("move", "ann", "--to", "/"), "whole host"),
    ],
)
def test_bad_input_is_named(world: World, args: tuple[str, ...], text: str) -> None:
    result = world(*(world.name if one == "ann" else one for one in args))
    assert (result.code, text in result.err) == (1, True), result
    assert tidegate("storage", "moves", "-c", world.server.directory).code == 1
