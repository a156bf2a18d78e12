# SPDX-License-Identifier: Apache-2.0
"""Commands on a running server from another directory: TLS that is verified, a key in a file, clear errors."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.certificates import certificate
from tests.support.command_line import Result, process, tidegate
from tests.support.ports import free_port
from tests.support.running import Running, make_key, wait_for

PENALTIES = {"authfail": 60, "exempt": ["127.0.0.1"]}
PASSWORD = "a long and boring administrator password"


@dataclass
class Remote:
    """A server with TLS, and an operator elsewhere."""

    server: Running
    url: str
    authority: Path
    here: Path
    key_file: Path

    @property
    def flags(self) -> list[str]:
        return ["--url", self.url, "--api-key-file", str(self.key_file), "--tls-ca", str(self.authority)]

    def __call__(self, *args: str | Path, stdin: str = "") -> Result:
        return tidegate(*args, *self.flags, stdin=stdin)

    def ok(self, *args: str | Path, stdin: str = "") -> Result:
        result = self(*args, stdin=stdin)
        assert result.code == 0, result
        return result


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    base, here = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("operator")
    home = base / "srv"
    port = free_port()
    binding = {
        "address": "127.0.0.1", "port": port, "enable_https": True, "certificate_file": "cert.pem",
        "certificate_key_file": "key.pem",
    }  # fmt: skip
    server = Running(home, settings={"httpd": {"bindings": [binding]}, "common": {"penalties": PENALTIES}})
    authority = certificate(home, "tidegate")
    here.mkdir(exist_ok=True)
    (here / "ca.pem").write_bytes(authority.read_bytes())
    made = process("admin", "add", "boss", "--password-stdin", "--create", "-c", home, stdin=PASSWORD)
    assert made.code == 0, made
    try:
        server.start()
        url = f"https://127.0.0.1:{port}"
        token = here / "token"
        token.write_text(fetch_token(url, here / "ca.pem"))
        key_file = here / "key"
        key_file.write_text(make_api_key(url, here / "ca.pem", token.read_text()))
        yield Remote(server, url, here / "ca.pem", here, key_file)
        server.stop()
    finally:
        server.kill()


def fetch_token(url: str, authority: Path) -> str:
    return str(ask(url, authority, "GET", "/api/v2/token", auth=("boss", PASSWORD))["access_token"])


def make_api_key(url: str, authority: Path, token: str) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    profile = {"email": "", "description": "", "allow_api_key_auth": True}
    ask(url, authority, "PUT", "/api/v2/admin/profile", headers=headers, json=profile)
    body = {"name": "remote", "scope": 1, "admin": "boss"}
    return str(ask(url, authority, "POST", "/api/v2/apikeys", headers=headers, json=body)["key"])


def ask(url: str, authority: Path, method: str, path: str, **more: Any) -> dict[str, Any]:
    import ssl

    import httpx2

    with httpx2.Client(verify=ssl.create_default_context(cafile=str(authority))) as client:
        answer = client.request(method, url + path, **more)
    assert answer.status_code < 300, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_an_accounts_life_from_another_host(remote: Remote, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(remote.here)
    home = remote.server.directory / "files" / "alice"
    added = remote.ok(
        "user", "add", "alice", "--home", home, "--password-stdin", stdin="alice's own password"
    )
    assert added.out.startswith(
        f"added alice: home {home}, may list, download in /\nto allow more: tidegate user set alice "
    )
    assert f"--url {remote.url}" in added.out, "a hint names the same server"
    remote.ok("user", "set", "alice", "-g", "/:*", "--quota-size", "10M", "--allowed-ip", "127.0.0.0/8")
    shown = remote.ok("user", "show", "alice", "--json").json
    assert shown["permissions"] == {"/": ["*"]}
    assert (shown["quota_size"], shown["filters"]["allowed_ip"]) == (10 << 20, ["127.0.0.0/8"])
    assert "password" not in shown
    assert remote.server.stored("alice").password, "a change keeps what it does not show"
    assert ["alice", "enabled"] in [row[:2] for row in remote.ok("user", "list").words]

    make_key(remote.here / "id")
    remote.ok("user", "key", "alice", "--add", remote.here / "id.pub")
    assert len(remote.server.stored("alice").public_keys) == 1
    before = remote.server.stored("alice").password
    remote.ok("user", "passwd", "alice", "--password-stdin", stdin="another of alice's")
    assert remote.server.stored("alice").password != before
    (line,) = remote.server.lines("administered", name="alice", action="add")
    assert (line["admin"], line["channel"], line["ip"]) == ("boss", "rest", "127.0.0.1")
    assert "password" in line["fields"].split(",")

    assert remote.ok("quota", "show", "alice", "--json").json["quota_size"] == 10 << 20
    home.mkdir(parents=True, exist_ok=True)
    (home / "put-beside-the-server").write_bytes(b"x" * 3000)
    assert remote.ok("quota", "scan", "alice").out == "counted alice: 1 files, 2.9 KiB\n"
    used = remote.ok("quota", "show", "alice", "--json").json
    assert (used["used_quota_size"], used["used_quota_files"]) == (3000, 1)
    remote.ok("user", "del", "alice", "--yes")
    assert remote("user", "show", "alice").err == "tidegate: no such user: alice\n"


def test_connections_are_listed_and_ended(remote: Remote):
    home = remote.server.directory / "files" / "bob"
    remote.ok(
        "user", "add", "bob", "--home", home, "-g", "/:*", "--password-stdin", stdin="bob's own password"
    )

    async def connected() -> tuple[Result, Result]:
        connection = await asyncssh.connect(
            "127.0.0.1", port=remote.server.port, username="bob", password="bob's own password",
            known_hosts=None, client_keys=None, config=None, agent_path=None,
        )  # fmt: skip
        async with connection, connection.start_sftp_client():
            listed = await asyncio.to_thread(remote, "connections", "list", "--json")
            closed = await asyncio.to_thread(remote, "connections", "close", "bob", "--yes")
            await asyncio.wait_for(connection.wait_closed(), 10)
        return listed, closed

    listed, closed = asyncio.run(connected())
    (found,) = listed.json
    assert (found["username"], found["protocol"]) == ("bob", "SFTP")
    assert closed.out == "ended 1 connections of bob\n"
    gone = remote("connections", "close", "bob", "--yes")
    assert gone.err == "tidegate: no connection has the id bob, and no user of that name is connected\n"
    remote.ok("user", "del", "bob", "--yes")


def test_folders_and_administrators(remote: Remote):
    place = remote.server.directory / "files" / "pool"
    remote.ok("folder", "add", "pool", place)
    remote.ok("folder", "set", "pool", "--description", "for all")
    assert remote.ok("folder", "show", "pool", "--json").json["description"] == "for all"
    assert "pool" in remote.ok("folder", "list").out
    assert "absolute directory" in remote("folder", "add", "other", "pool").err
    remote.ok("folder", "del", "pool", "--yes")

    remote.ok("admin", "add", "ann", "-g", "view_users", "--password-stdin", stdin="ann's long password")
    remote.ok("admin", "set", "ann", "-g", "view_users,view_conns", "--email", "ann@example.com")
    shown = remote.ok("admin", "show", "ann", "--json").json
    assert (sorted(shown["permissions"]), shown["email"]) == (["view_conns", "view_users"], "ann@example.com")
    remote.ok("admin", "passwd", "ann", "--password-stdin", stdin="ann's other password")
    assert [row[0] for row in remote.ok("admin", "list").words if row[0] == "ann"] == ["ann"]
    assert remote.ok("admin", "passkeys", "ann").out == "ann has no passkeys\n"
    assert remote.ok("admin", "passkeys", "ann", "--remove-all", "--json").json == []
    remote.ok("admin", "del", "ann", "--yes")


def test_a_token_does_too_and_what_is_refused_says_why(remote: Remote):
    by_token = [
        "--url",
        remote.url,
        "--token-file",
        str(remote.here / "token"),
        "--tls-ca",
        str(remote.authority),
    ]
    assert tidegate("user", "list", "--json", *by_token).json == remote.ok("user", "list", "--json").json
    bad = remote.here / "bad"
    bad.write_text("not.a.token")
    refused = tidegate("user", "list", "--url", remote.url, "--token-file", bad, "--tls-ca", remote.authority)
    assert refused.err == f"tidegate: {remote.url}: the token or key is not accepted; it may have expired\n"
    weak = remote("user", "add", "x", "--home", "/srv/x", "--password-stdin", stdin="$2b$04$" + "a" * 53)
    assert weak.err.startswith("tidegate: password: looks like a hash")
    placed = remote("user", "add", "x", "--home", "/", "--password-stdin", stdin="x's own password")
    assert placed.err == "tidegate: home_dir: '/' is the whole host\n"


def test_the_certificate_is_verified(remote: Remote):
    refused = tidegate("user", "list", "--url", remote.url, "--api-key-file", remote.key_file)
    assert refused.code == 1
    assert refused.err.startswith(
        f"tidegate: {remote.url}: certificate: self-signed certificate; --tls-ca FILE"
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--url", "https://127.0.0.1:1"], "--url: needs --token-file or --api-key-file"),
        (
            ["--url", "http://192.0.2.1:80", "--token-file", "key"],
            "--url: http:// would send the token in clear text",
        ),
        (
            ["--url", "ftp://x", "--token-file", "key"],
            "--url: 'ftp://x' is not of the form https://host:port",
        ),
        (["--url", "https://h:x", "--token-file", "key"], "--url: 'https://h:x' is not of the form"),
        (
            ["--url", "https://127.0.0.1:1", "--token-file", "none"],
            "--token-file: none: No such file or directory",
        ),
        (["--url", "https://:pw@h", "--token-file", "key"], "--url: 'https://...@h' is not of the form"),
        (["--url", "https://a:pw@h", "--token-file", "key"], "--url: 'https://...@h' is not of the form"),
        (["--token-file", "key"], "--token-file: needs --url"),
        (["--url", "https://127.0.0.1:1", "--token-file", "key", "--tls-ca", "none"], "--tls-ca: none: "),
        (["--url", "https://127.0.0.1:1", "--token-file", "key"], "https://127.0.0.1:1: connection refused"),
        (["--url", "https://a.invalid", "--token-file", "key"], "https://a.invalid: no such host"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], said: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("a.b\n")
    result = tidegate("user", "list", *flags)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"tidegate: {said}"), result.err
    assert result.err.count("\n") == 1


def test_connections_need_a_server(tmp_path: Path):
    process("initprovider", "-c", tmp_path)
    here = tidegate("connections", "list", "-c", tmp_path)
    assert here.err == "tidegate: connections are known to the running server alone: name it with --url\n"


def test_folders_and_everything_are_counted_from_another_host(remote: Remote):
    files = remote.server.directory / "files"
    for name, sizes in (("fay", (5,)), ("gil", (6, 7))):
        (files / name).mkdir(parents=True)
        remote.ok("user", "add", name, "--home", files / name, "--password-stdin", stdin="a long password")
        for number, size in enumerate(sizes):
            (files / name / f"f{number}").write_bytes(b"x" * size)
    (files / "shared").mkdir()
    (files / "shared" / "f").write_bytes(b"x" * 2000)
    remote.ok("folder", "add", "shared", files / "shared")

    assert remote.ok("quota", "scan", "--folder", "shared").out == "counted shared: 1 files, 2.0 KiB\n"
    assert remote.ok("quota", "scan", "gil", "--no-wait").out == "the server counts the files of gil now\n"
    owners = len(remote.ok("user", "list", "--json").json) + 1
    assert (
        remote.ok("quota", "scan", "--all").out == f"counted {owners} users and folders: 4 files, 2.0 KiB\n"
    )
    assert remote.ok("folder", "show", "shared", "--json").json["used_quota_files"] == 1
    assert remote.ok("quota", "scans", "--json").json == []

    assert remote("quota", "scan", "nobody").err == "tidegate: no such user: nobody\n"
    for wrong in ((), ("gil", "--all"), ("gil", "--folder", "shared")):
        assert "give the name of a user, --folder NAME or --all" in remote("quota", "scan", *wrong).err
    assert "--all with --no-wait" in remote("quota", "scan", "--all", "--no-wait").err
    assert remote("quota", "cancel", "gil").err == "tidegate: no scan of user gil runs\n"
    assert remote("quota", "cancel", "--folder", "shared").err == "tidegate: no scan of folder shared runs\n"
    for wrong in ((), ("gil", "--folder", "shared")):
        assert "give the name of a user, or --folder NAME" in remote("quota", "cancel", *wrong).err
    # A server of storage that says nothing: the count waits for it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        far: dict[str, Any] = {"endpoint": f"127.0.0.1:{silent.getsockname()[1]}", "username": "u"}
        far |= {"password": {"status": "Plain", "payload": "p"}, "fingerprints": [f"SHA256:{'A' * 43}"]}
        key = {"X-SFTPGO-API-KEY": remote.key_file.read_text()}
        where = remote.url, remote.authority
        user = ask(*where, "GET", "/api/v2/users/gil", headers=key)
        user["filesystem"] = {"provider": 5, "sftpconfig": far}
        ask(*where, "PUT", "/api/v2/users/gil", json=user, headers=key)
        remote.ok("quota", "scan", "gil", "--no-wait")
        assert remote.ok("quota", "cancel", "gil").out == (
            "the server counts the files of gil no more; what was recorded stays\n"
        )
    for name in ("fay", "gil"):
        remote.ok("user", "del", name, "--yes")
    remote.ok("folder", "del", "shared", "--yes")


def test_quotas_of_the_provider_itself(tmp_path: Path):
    add = ("user", "add", "carol", "--home", tmp_path / "files" / "carol", "--quota-size", "5M")
    assert process(*add, "--password-stdin", "--create", "-c", tmp_path, stdin="x").code == 0
    shown = tidegate("quota", "show", "carol", "-c", tmp_path)
    assert ["bytes", "stored", "0", "B", "5.0", "MiB"] in shown.words
    assert (
        json.loads(tidegate("quota", "show", "carol", "--json", "-c", tmp_path).out)["quota_size"] == 5 << 20
    )
    assert tidegate("quota", "scan", "carol", "-c", tmp_path).out.startswith(
        "the server counts the files of carol"
    )
    assert tidegate("quota", "scan", "nobody", "-c", tmp_path).err == "tidegate: no such user: nobody\n"
    folder = ("folder", "add", "shared", tmp_path / "files" / "shared", "-c", tmp_path)
    assert tidegate(*folder).code == 0
    assert tidegate("quota", "scan", "--folder", "shared", "-c", tmp_path).err == (
        "tidegate: no account has the folder shared; a running server counts it if asked with --url\n"
    )
    everything = tidegate("quota", "scan", "--all", "-c", tmp_path)
    assert everything.out.startswith("the server counts 1 users and folders when it starts; ")
    assert everything.err.startswith("note: no account has the folder shared")
    mounts = json.dumps({"virtual_folders": [{"name": "shared", "virtual_path": "/s"}]})
    assert tidegate("user", "set", "carol", "--document", "-", "-c", tmp_path, stdin=mounts).code == 0
    assert tidegate("quota", "scan", "--folder", "shared", "-c", tmp_path).out.startswith(
        "the server counts the files of shared when it starts; "
    )
    assert tidegate("quota", "scans", "-c", tmp_path).err == (
        "tidegate: a running server knows what it counts: name it with --url\n"
    )


def test_a_command_without_a_server_is_told_by_the_next_one(tmp_path: Path):
    """Changes at a shell wait in the provider for kept sinks: a record of changes misses none."""
    home, record = tmp_path / "srv", tmp_path / "record.jsonl"
    server = Running(
        home, settings={"events": {"sinks": [{"use": "file", "options": {"path": str(record)}}]}}
    )
    add = (
        "user",
        "add",
        "dora",
        "--home",
        home / "files" / "dora",
        "--password-stdin",
        "--create",
        "-c",
        home,
    )
    assert process(*add, stdin="dora's own password").code == 0
    unix = tmp_path / "passwd"
    unix.write_text(f"emil:x:2000:2000::{tmp_path}/emil:/bin/sh\n")
    imported = process("import", "unix", unix, "-c", home)
    assert imported.code == 0, imported
    try:
        server.start()
        wait_for(lambda: record.exists() and record.read_text().count("\n") >= 2, "nothing was told")
        told = [json.loads(line) for line in record.read_text().splitlines()]
        server.stop()
    finally:
        server.kill()
    found = [(one["event"], one["action"], one["kind"], one["name"], one["channel"]) for one in told]
    assert found == [
        ("administration", "add", "user", "dora", "cli"),
        ("administration", "add", "user", "emil", "import"),
    ]
    assert "dora's own" not in record.read_text()


def test_keys_are_made_changed_and_removed_by_a_token(remote: Remote):
    token = remote.here / "own-token"
    token.write_text(fetch_token(remote.url, remote.authority))
    where = ["--url", remote.url, "--token-file", str(token), "--tls-ca", str(remote.authority)]

    def keys(*args: str) -> Result:
        result = tidegate("api-key", *args, *where)
        assert result.code == 0, result
        return result

    made = keys("add", "backup job", "--admin", "boss")
    text = made.out.strip()
    key_id = text.partition(".")[0]
    assert made.err == f"note: added API key {key_id}; keep it now, it is not shown again\n"
    file = remote.here / "made-key"
    file.write_text(text)
    by_key = ["--url", remote.url, "--api-key-file", str(file), "--tls-ca", str(remote.authority)]
    assert tidegate("user", "list", *by_key).code == 0
    refused = tidegate("api-key", "add", "x", *by_key)
    assert (refused.code, "API key" in refused.err) == (1, True), refused
    keys("set", key_id, "--description", "nightly", "--expires", "2099-12-31")
    shown = keys("show", key_id, "--json").json
    assert (shown["name"], shown["description"], shown["admin"]) == ("backup job", "nightly", "boss")
    assert shown["last_use_at"] > 0
    assert "key" not in shown
    assert tidegate("user", "list", *by_key).code == 0, "a change keeps the secret"
    assert key_id in [row[0] for row in keys("list").words]
    keys("del", key_id, "--yes")
    assert "not accepted" in tidegate("user", "list", *by_key).err


async def test_a_penalty_of_a_running_server_is_seen_and_ended(remote: Remote) -> None:
    person = remote.server.account()
    with pytest.raises(asyncssh.PermissionDenied):
        await person.connect(password="wrong", client_keys=None, local_addr=("127.0.0.77", 0))

    def look() -> None:
        wait_for(lambda: "127.0.0.77" in remote.ok("ban", "list").out, "the penalty")
        shown = {one["address"]: one for one in remote.ok("ban", "list", "--json").json}
        assert (shown["127.0.0.77"]["kind"], shown["127.0.0.77"]["why"]) == ("penalty", "authfail")
        assert "127.0.0.77" not in tidegate("ban", "list", "-c", remote.server.directory).out  # not stored

    await asyncio.to_thread(look)
    with pytest.raises((asyncssh.Error, OSError)):
        await person.connect(local_addr=("127.0.0.77", 0))
    done = await asyncio.to_thread(remote.ok, "ban", "remove", "127.0.0.77")
    assert done.out == "ended the ban of 127.0.0.77\n"
    async with person.connect(local_addr=("127.0.0.77", 0)):
        pass


def test_explain_says_of_an_address_if_it_may_connect_and_counts_nothing(remote: Remote) -> None:
    may = remote("explain", "--connect", "127.0.0.78")
    assert (may.code, may.out.splitlines()[0]) == (0, "MAY CONNECT 127.0.0.78 SSH")
    assert "no penalty" in may.out
    person = remote.server.account()

    async def wrong() -> None:
        with pytest.raises(asyncssh.PermissionDenied):
            await person.connect(password="wrong", client_keys=None, local_addr=("127.0.0.78", 0))

    asyncio.run(wrong())
    ask_again = ("explain", "--connect", "127.0.0.78", "--protocol", "SFTP")
    wait_for(lambda: remote(*ask_again).code == 3, "the penalty")
    refused = remote("explain", "--connect", "127.0.0.78", "--protocol", "DAV", "--json").json
    assert (refused["allowed"], refused["rule"]) == (False, "common.penalties")
    # Without a server: what is stored decides, and what is not known is said to be so.
    home = remote.server.directory
    tidegate("ip-list", "add", "block", "198.51.100.0/24", "-c", home)
    local = tidegate("explain", "--connect", "198.51.100.7", "-c", home)
    assert (local.code, local.out.splitlines()[0]) == (3, "REFUSED 198.51.100.7 SSH by defender list")
    assert "a running server knows" in local.out


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--connect", "nowhere"], "'nowhere' is not an IP address"),
        (["--connect", "192.0.2.1", "--protocol", "gopher"], "'gopher' is no protocol"),
        (["--op", "list"], "--user"),
        (["--user", "a", "--op", "list", "--url", "https://127.0.0.1:1"], "needs --connect"),
    ],
)
def test_questions_that_make_no_sense_are_refused(remote: Remote, flags: list[str], problem: str) -> None:
    result = tidegate("explain", *flags, "-c", remote.server.directory)
    assert result.code == 1
    assert problem in result.err
