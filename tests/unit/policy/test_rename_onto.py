# SPDX-License-Identifier: Apache-2.0
"""RENAME onto a name that exists: refused or replaced, as account, binding and server say."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.command_line import tidegate
from tests.support.loading import load_file
from tests.support.ports import free_port
from tests.support.vfs_world import PUT, World, p, put, vfs_world
from tests.support.web_world import WebWorld, web_world

from tidegate import errors as e
from tidegate.abc import Publish
from tidegate.config.schema.sftpd import Sftpd
from tidegate.model import FilePatterns, Peer, Principal, Protocol
from tidegate.store.dump import dump
from tidegate.store.dump_reading import RENAMES_REPLACE
from tidegate.store.memory import MemoryProvider
from tidegate.store.options import ProviderOptions

DATA = Path(__file__).parents[2] / "data"


async def session_of(world: World, *, account: str, binding: str, **fields: Any) -> Any:
    made = world.account(filters={"rename_onto": account, **fields.pop("filters", {})}, **fields)
    peer = Peer("c", Protocol.SFTP, "192.0.2.7", rename_onto=binding)
    return await world.vfs.open(Principal(made, "password", "192.0.2.7"), peer)


@pytest.mark.parametrize("server", ["", "refuse", "replace"])
@pytest.mark.parametrize("binding", ["", "refuse", "replace"])
@pytest.mark.parametrize("account", ["", "refuse", "replace"])
async def test_account_then_binding_then_server(
    tmp_path: Path, account: str, binding: str, server: str
) -> None:
    async with vfs_world(tmp_path, rename_onto=server) as world:
        session = await session_of(world, account=account, binding=binding)
        await put(session, "/part", b"new")
        await put(session, "/file", b"old!")
        if (account or binding or server or "refuse") == "replace":
            await session.rename(p("/part"), p("/file"), replace=False)
            assert (world.home() / "file").read_bytes() == b"new"
        else:
            with pytest.raises(e.AlreadyExists):
                await session.rename(p("/part"), p("/file"), replace=False)
            assert (world.home() / "file").read_bytes() == b"old!"
        await session.close()


async def test_it_is_an_overwrite(tmp_path: Path) -> None:
    """Permission, patterns and usage are those of replacing; a link is replaced, not followed."""
    async with vfs_world(tmp_path) as world:
        rights = {"/": ("*",), "/in": ("list", "upload", "rename")}
        hidden = FilePatterns(path="/", denied_patterns=("*.key",), deny_policy=1)
        session = await session_of(
            world,
            account="replace",
            binding="",
            permissions=rights,
            quota_size=1000,
            filters={"file_patterns": (hidden,)},
        )
        (world.home() / "in").mkdir()
        (world.home() / "s.key").write_bytes(b"secret")
        await put(session, "/part", b"new")
        await put(session, "/file", b"old!!")
        await put(session, "/in/file", b"old!!")
        await put(session, "/in/part", b"newest")
        with pytest.raises(e.Denied, match="permission: overwrite on /in"):
            await session.rename(p("/in/part"), p("/in/file"), replace=False)
        with pytest.raises(e.Denied, match="file pattern"):
            await session.rename(p("/part"), p("/s.key"), replace=False)
        (world.home() / "link").symlink_to("file")
        await session.rename(p("/part"), p("/link"), replace=False)
        assert not (world.home() / "link").is_symlink()
        assert (world.home() / "file").read_bytes() == b"old!!"
        await session.rename(p("/file"), p("/link"), replace=False)
        await session.close()
        assert await world.used() == (5 + 5 + 6, 3)


@pytest.mark.parametrize("mode", list(Publish))
async def test_the_pattern_of_movers(tmp_path: Path, mode: Publish) -> None:
    """Upload to a temporary name and RENAME it over the old file, before or after it is closed."""
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        session = await session_of(world, account="replace", binding="", quota_size=1000)
        await put(session, "/report", b"yesterday's")
        await put(session, "/report.part", b"today's")
        await session.rename(p("/report.part"), p("/report"), replace=False)
        assert (world.home() / "report").read_bytes() == b"today's"
        file = await session.open(p("/report.part"), PUT)
        await file.write(0, b"soon")
        await session.rename(p("/report.part"), p("/report"), replace=False)
        await file.close()
        assert (world.home() / "report").read_bytes() == b"soon"
        assert sorted(path.name for path in world.home().iterdir()) == ["report"]
        await session.close()
        assert await world.used() == (4, 1)


async def test_an_import_from_sftpgo_sets_replace_and_says_so_once() -> None:
    provider = MemoryProvider(ProviderOptions(driver="memory"))
    for file in ("sftpgo-0.9-dump.json", "sftpgo-2.x-dump.json"):
        report = await load_file(provider, DATA / file)
        assert [note for note in report.notes if "rename_onto" in note] == [RENAMES_REPLACE]
    accounts = [account async for account in provider.iter_users()]
    assert len(accounts) > 3
    assert {account.filters.rename_onto for account in accounts} == {"replace"}
    first = replace(accounts[0], filters=replace(accounts[0].filters, rename_onto=""))
    await provider.update_user(first)

    own = b"".join([chunk async for chunk in dump(provider)])
    report = await load_file(provider, io.BytesIO(own))
    assert RENAMES_REPLACE not in report.notes
    again = await provider.user(first.username)
    assert again is not None
    assert again.filters.rename_onto == ""


def test_bindings_that_differ_are_explained_by_the_stricter() -> None:
    def strictest(whole: str, *bindings: str) -> str:
        ports = [{"port": 2022, "rename_onto": text} for text in bindings]
        return Sftpd.model_validate({"rename_onto": whole, "bindings": ports}).strictest_rename_onto

    assert strictest("replace") == "replace"
    assert strictest("refuse", "replace") == "replace"
    assert strictest("refuse", "replace", "replace") == "replace"
    assert strictest("replace", "", "refuse") == "refuse"


async def test_rest_takes_and_shows_it(world: WebWorld) -> None:
    document = world.user("pat", filters={"rename_onto": "replace"})
    made = await world.client.post("/api/v2/users", json=document)
    assert made.json()["filters"]["rename_onto"] == "replace", made.text
    question = {"user": "pat", "op": "rename", "path": "/a", "target": "/b", "target_exists": True}
    told = (await world.client.get("/api/v2/explain", params=question)).json()
    assert told["allowed"]
    document["filters"] = {"rename_onto": "refuse"}
    assert (await world.client.put("/api/v2/users/pat", json=document)).status_code == 200
    told = (await world.client.get("/api/v2/explain", params=question)).json()
    assert (told["allowed"], told["client_text"]) == (False, "already exists")
    assert told["decided_by"]["where"] == "filters.rename_onto"
    question["op"] = "posix-rename"
    assert (await world.client.get("/api/v2/explain", params=question)).json()["allowed"]
    document["filters"] = {"rename_onto": "maybe"}
    refused = await world.client.put("/api/v2/users/pat", json=document)
    assert refused.status_code == 400
    assert "filters.rename_onto: 'maybe' is not refuse, replace or empty" in refused.text


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    async with web_world(tmp_path) as made:
        yield made


def test_the_command_line_sets_and_explains_it(tmp_path: Path) -> None:
    def ok(*words: str, code: int = 0) -> Any:
        result = tidegate(*words, "--config-dir", tmp_path, stdin="a long enough password\n")
        assert result.code == code, result.err
        return result

    ok(
        "user",
        "add",
        "ada",
        "--create",
        "--password-stdin",
        "--rename-onto",
        "replace",
        "--permission",
        "/:*",
    )
    asked = (
        "explain",
        "--user",
        "ada",
        "--op",
        "rename",
        "--path",
        "/a",
        "--target",
        "/b",
        "--target-exists",
    )
    assert "the account lets RENAME replace" in ok(*asked).out
    ok("user", "set", "ada", "--rename-onto", "default")
    assert ok("user", "show", "ada", "--json").json["filters"]["rename_onto"] == ""
    assert "filters.rename_onto" in ok(*asked, code=3).out
    (tmp_path / "tidegate.json").write_text(json.dumps({"sftpd": {"rename_onto": "replace"}}))
    assert "the server lets RENAME replace" in ok(*asked).out


async def test_by_binding_over_the_wire(tmp_path: Path) -> None:
    """Two addresses of one server; asyncssh's `rename` is RENAME of the draft."""
    ports = [free_port(), free_port()]
    bindings = [
        {"address": "127.0.0.1", "port": ports[0]},
        {"address": "127.0.0.1", "port": ports[1], "rename_onto": "replace"},
    ]
    async with web_world(tmp_path, sftpd={"bindings": bindings}) as world:
        document = world.user("pat", password="very long password")
        assert (await world.client.post("/api/v2/users", json=document)).status_code == 201
        home = Path(document["home_dir"])
        home.mkdir(parents=True)
        for port, outcome in zip(ports, ("old", "new"), strict=True):
            async with (
                asyncssh.connect(
                    "127.0.0.1", port, username="pat", password="very long password", known_hosts=None
                ) as connection,
                connection.start_sftp_client() as sftp,
            ):
                (home / "part").write_text("new")
                (home / "file").write_text("old")
                try:
                    await sftp.rename("part", "file")
                except asyncssh.SFTPFailure:
                    assert outcome == "old"
                assert (home / "file").read_text() == outcome
