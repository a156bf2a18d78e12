# SPDX-License-Identifier: Apache-2.0
"""Write locks held by one account, met by the real clients of another at every door, and seen by operators."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import asyncssh
import pytest
from tests.support.command_line import tidegate
from tests.support.doors import port_of
from tests.support.ports import free_port
from tests.support.programs import Done, git, rsync, run, scp, sftp
from tests.support.running import Person
from tests.support.ssh_world import Recorder
from tests.support.web_world import ADMIN, WebWorld, settings

from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.doors.ssh.options import Binding
from tidegate.events.kinds import Refused
from tidegate.model import Peer, Principal, Protocol, VPath
from tidegate.server.app import App
from tidegate.server.door_table import FTP, HTTP
from tidegate.server.ssh import ssh_plan
from tidegate.vfs.session import Session

API = "/api/v2"
LOCKED = "locked by alice"


@dataclass
class LockWorld:
    """A server where alice and bob share the folder /team, and alice has a session."""

    web: WebWorld
    alice: Session
    bob: Person
    ftp_port: int
    team: Path
    record: Recorder

    async def client(self, program: Any, *words: Any, **more: Any) -> Done:
        """Run a client program while the server answers."""
        return cast("Done", await asyncio.to_thread(partial(program, *words, **more)))

    async def curl(self, *words: str, cwd: Path) -> Done:
        url = f"ftp://bob:a%20password%20of%20bob@127.0.0.1:{self.ftp_port}"
        argv = [f"{url}{word[1:]}" if word.startswith(":/") else word for word in words]
        return await self.client(run, "curl", "-sS", "--disable", *argv, cwd=cwd)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[LockWorld]:
    ftp_port, record = free_port(), Recorder()
    binding = {"address": "127.0.0.1", "port": ftp_port, "plain_login": True, "clear_command_channel": True}
    sections = settings(
        ftpd={"bindings": [binding]},
        sftpd={"bindings": [], "enabled_ssh_commands": ["*"]},
    )
    sections["ftpd"] = {"bindings": [binding]}
    app = App(
        Loaded(Settings.model_validate(sections), config_dir=tmp_path),
        sinks=[record], log_events=False, doors=(ssh_plan(Binding("", 0)), FTP, HTTP),
    )  # fmt: skip
    team = tmp_path / "files" / "team"
    (team / "d").mkdir(parents=True)
    for name in ("f", "d/f", "other"):
        (team / name).write_bytes(b"old content")
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(app.stop)
        await app.start()
        world = WebWorld(app, tmp_path, cast("Any", None))
        await world.add_admin(ADMIN, "*")
        world.client = await stack.enter_async_context(world.acting_as(ADMIN))
        for name in ("alice", "bob"):
            folder = {"name": "team", "virtual_path": "/team", "mapped_path": str(team)}
            user = world.user(
                name, password=f"a password of {name}", virtual_folders=[folder],
                public_keys=[key.export_public_key().decode()],
            )  # fmt: skip
            answer = await world.client.post(f"{API}/users", json=user)
            assert answer.status_code == 201, answer.text
        account = await app.provider.user("alice")
        assert account is not None
        peer = Peer("dav", Protocol.HTTP, "127.0.0.1", 1, "127.0.0.1:80", "")
        alice = await app.sessions.open(Principal(account, "password", "127.0.0.1"), peer)
        stack.push_async_callback(alice.close)
        home = tmp_path / "files" / "bob"
        server = cast("Any", SimpleNamespace(port=port_of(app)))
        bob = Person(server, "bob", "a password of bob", tmp_path / "key", home)
        yield LockWorld(world, alice, bob, ftp_port, team, record)


def content(world: LockWorld) -> dict[str, bytes]:
    return {
        str(path.relative_to(world.team)): path.read_bytes()
        for path in world.team.rglob("*")
        if path.is_file()
    }


@pytest.mark.needs("sftp", "scp", "ssh")
async def test_openssh_is_told_who_holds_the_lock(world: LockWorld, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"of bob")
    before = content(world)
    lock = await world.alice.locks.lock(VPath("/team/f"), seconds=600)
    deep = await world.alice.locks.lock(VPath("/team/d"), depth_infinite=True, seconds=600)
    for line in (
        "put new /team/f",
        "rm /team/f",
        "rename /team/f /team/g",
        "rename /team/other /team/f",
        "chmod 600 /team/f",
        "cp /team/other /team/f",
        "put new /team/d/new",
        "mkdir /team/d/sub",
        "rename /team/d /team/e",
        "ln -s /team/f /team/d/link",
        "ln /team/f /team/d/link",
    ):
        done = await world.client(sftp, world.bob, line, cwd=tmp_path)
        done.failed("ailure")  # all that OpenSSH shows of the answer
    (await world.client(scp, world.bob, "new", ":/team/f", cwd=tmp_path)).failed("ailure")
    (await world.client(scp, world.bob, "new", ":/team/f", cwd=tmp_path, old=True)).failed("ocked by alice")
    assert content(world) == before
    assert {(event.rule, event.text) for event in world.record.of(Refused)} == {("lock", LOCKED)}
    async with world.bob.connect() as line, line.start_sftp_client() as client:
        with pytest.raises(asyncssh.SFTPFailure, match=LOCKED):
            await client.open("/team/f", "w")
    (await world.client(sftp, world.bob, "get /team/f got", "ls -l /team/d", cwd=tmp_path)).ok()
    assert (tmp_path / "got").read_bytes() == b"old content"

    await world.alice.locks.unlock(VPath("/team/f"), lock.token)
    await world.alice.locks.unlock(VPath("/team/d"), deep.token)
    (await world.client(sftp, world.bob, "put new /team/f", "rm /team/d/f", cwd=tmp_path)).ok()
    assert content(world) == {"f": b"of bob", "other": b"old content"}


@pytest.mark.needs("curl")
async def test_ftp_answers_450(world: LockWorld, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"of bob")
    before = content(world)
    await world.alice.locks.lock(VPath("/team/f"), seconds=600)
    await world.alice.locks.lock(VPath("/team/d"), depth_infinite=True, seconds=600)
    for words in (
        ["-T", "new", ":/team/f"],
        ["-T", "new", "--append", ":/team/f"],
        ["-T", "new", ":/team/d/new"],
        ["-Q", "DELE /team/f", ":/"],
        ["-Q", "RNFR /team/f", "-Q", "RNTO /team/g", ":/"],
        ["-Q", "RNFR /team/other", "-Q", "RNTO /team/d/g", ":/"],
        ["-Q", "MKD /team/d/sub", ":/"],
        ["-Q", "SITE CHMOD 600 /team/f", ":/"],
        ["-Q", "MFMT 20200101000000 /team/f", ":/"],
    ):
        done = await world.curl("-v", *words, cwd=tmp_path)
        assert done.status != 0, words
        assert f"450 {words[1].split()[-1]}" in done.err.decode() or "450 " in done.err.decode(), done.err
        assert LOCKED in done.err.decode(), done.err
    assert content(world) == before
    assert (await world.curl(":/team/f", cwd=tmp_path)).ok().out == b"old content"


@pytest.mark.needs("rsync", "git", "ssh")
async def test_programs_do_not_start_over_a_lock(world: LockWorld, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"of bob")
    lock = await world.alice.locks.lock(VPath("/team/d/f"), seconds=600)
    before = content(world)
    done = await world.client(rsync, world.bob, "-a", "new", ":/team/d/", cwd=tmp_path)
    done.failed(LOCKED)
    assert content(world) == before
    (await world.client(git, "init", "-q", "--bare", world.team / "d" / "r.git")).ok()
    (await world.client(git, "init", "-q", tmp_path / "work")).ok()
    work = tmp_path / "work"
    (await world.client(git, "commit", "-q", "--allow-empty", "-m", "x", cwd=work)).ok()
    push = partial(world.client, git, "push", "-q", ":/team/d/r.git", "HEAD:main", person=world.bob, cwd=work)
    (await push()).ok()  # the locked file is not in the repository
    await world.alice.locks.unlock(VPath("/team/d/f"), lock.token)
    await world.alice.locks.lock(VPath("/team/d"), depth_infinite=True, seconds=600)
    (await world.client(git, "commit", "-q", "--allow-empty", "-m", "y", cwd=work)).ok()
    (await push()).failed(LOCKED)


async def test_operators_see_a_lock_and_end_it(world: LockWorld, tmp_path: Path) -> None:
    client = world.web.client
    assert (await client.get(f"{API}/locks")).json() == []
    lock = await world.alice.locks.lock(VPath("/team/f"), owner="<D:href>Alice</D:href>", seconds=600)
    (told,) = (await client.get(f"{API}/locks", params={"user": "alice"})).json()
    assert 0 < told.pop("expires_in") <= 600
    assert told == {
        "token": lock.token, "username": "alice", "path": "/team/f", "place": f"file:{world.team}/f",
        "scope": "exclusive", "depth": "0", "owner": "<D:href>Alice</D:href>", "timeout": 600,
    }  # fmt: skip
    assert (await client.get(f"{API}/locks", params={"user": "bob"})).json() == []
    question = {"user": "bob", "op": "overwrite", "path": "/team/f"}
    answer = (await client.get(f"{API}/explain", params=question)).json()
    assert (answer["allowed"], answer["decided_by"]["rule"]) == (False, "lock")
    assert "alice holds an exclusive lock on /team/f" in answer["decided_by"]["why"]
    assert lock.token in answer["decided_by"]["hint"]
    for free in ({"op": "download"}, {"path": "/team/other"}, {"path": "/f"}):
        assert (await client.get(f"{API}/explain", params=question | free)).json()["allowed"], free
    renamed = {"user": "bob", "op": "rename", "path": "/team/other", "target": "/team/f"}
    assert not (await client.get(f"{API}/explain", params=renamed)).json()["allowed"]

    token = tmp_path / "token"
    token.write_text(await world.web.token())
    where = ("--url", world.web.url, "--token-file", token)
    shown = await asyncio.to_thread(tidegate, "locks", "list", *where)
    assert lock.token in shown.out and "/team/f" in shown.out
    ended = await asyncio.to_thread(tidegate, "locks", "remove", lock.token, *where)
    assert f"removed lock {lock.token}" in ended.out
    assert (await client.get(f"{API}/locks")).json() == []
    assert (await client.delete(f"{API}/locks/{lock.token}")).status_code == 404
    assert (await client.get(f"{API}/explain", params=question)).json()["allowed"]


async def test_properties_follow_what_sftp_and_ftp_do(world: LockWorld, tmp_path: Path) -> None:
    name = ("urn:x", "colour")
    await world.alice.properties.patch(VPath("/team/d/f"), {name: b"red"})
    await world.alice.properties.patch(VPath("/team/d"), {name: b"blue"})
    (await world.client(sftp, world.bob, "rename /team/d /team/e")).ok()
    assert await world.alice.properties.get(VPath("/team/e/f")) == {name: b"red"}
    copying = ["-Q", "SITE CPFR /team/e/f", "-Q", "SITE CPTO /team/copy", ":/"]
    (await world.curl(*copying, cwd=tmp_path)).ok()
    assert await world.alice.properties.get(VPath("/team/copy")) == {name: b"red"}
    assert await world.alice.properties.of_children(VPath("/team")) == {
        "e": {name: b"blue"}, "copy": {name: b"red"}
    }  # fmt: skip
    (
        await world.curl(
            "-Q", "RNFR /team/e/f", "-Q", "RNTO /team/g", "-Q", "DELE /team/copy", ":/", cwd=tmp_path
        )
    ).ok()
    assert await world.alice.properties.get(VPath("/team/g")) == {name: b"red"}
    (tmp_path / "copy").write_bytes(b"another file of that name")
    (await world.curl("-T", "copy", ":/team/", cwd=tmp_path)).ok()
    (await world.client(sftp, world.bob, "rmdir /team/e", "mkdir /team/e")).ok()
    for path in ("/team/copy", "/team/e"):
        assert await world.alice.properties.get(VPath(path)) == {}
    assert await world.alice.properties.of_children(VPath("/team")) == {"g": {name: b"red"}}
