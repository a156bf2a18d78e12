# SPDX-License-Identifier: Apache-2.0
"""SFTP client libraries of other languages with the defaults of each, against the running product."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncssh
import pytest
from tests.support.foreign import CLIENTS, Client, run
from tests.support.foreign_builds import JAVA
from tests.support.programs import digest, random_file, tree
from tests.support.running import Person, Running, running

pytestmark = pytest.mark.timeout(1500)  # the first test of a language builds its program

BIG = 20 << 20
MIDDLE = 6 << 20
SMALL = 300
PERMISSION_DENIED = 3
WITHOUT_LANE = ("go", "jsch-old", "sshj", "ssh2js", "paramiko-old", "libssh", "erlang")
"""Clients that also move files without the fast lane in the suite: one for each way to lay out packets. Others do as a soak."""


def both_ways(found: Iterable[Client]) -> pytest.MarkDecorator:
    """For each of these clients, on the fast lane and without it."""
    params = []
    for client in found:
        needs = pytest.mark.needs(*client.needs)
        soak = () if client.name in WITHOUT_LANE else (pytest.mark.soak,)
        params += [
            pytest.param(client, True, id=f"{client.name}-lane", marks=needs),
            pytest.param(client, False, id=f"{client.name}-plain", marks=(needs, *soak)),
        ]
    return pytest.mark.parametrize(("client", "fast_lane"), params)


def clients(*steps: str) -> pytest.MarkDecorator:
    """For each client whose library has these steps."""
    found = [client for client in CLIENTS if client.can(*steps)]
    return pytest.mark.parametrize(
        "client",
        [pytest.param(client, id=client.name, marks=pytest.mark.needs(*client.needs)) for client in found],
    )


@dataclass(slots=True)
class World:
    """Shared by the tests of this file: servers, a user's keys named as OpenSSH names them, and files to move."""

    base: Path
    ending: contextlib.ExitStack
    public: tuple[str, ...] = ()
    started: dict[tuple[bool, bool, int], Running] = field(default_factory=dict)

    def server(self, client: Client, fast_lane: bool, rekey_bytes: int) -> Running:
        """A server with the host keys of a new installation, and with an older kind where the client needs it."""
        old = client.name == "jsch-old"
        kind = (old, fast_lane, rekey_bytes)
        if kind not in self.started:
            names = ["id_ed25519", "id_rsa", *(["id_ecdsa"] if old else [])]
            self.started[kind] = self.ending.enter_context(
                running(
                    self.base / f"server{len(self.started)}",
                    fast_lane=fast_lane,
                    settings={"sftpd": {"host_keys": names, "rekey_bytes": rekey_bytes}},
                )
            )
        return self.started[kind]

    def person(
        self, client: Client, *permissions: str, fast_lane: bool = True, rekey_bytes: int = 1 << 30
    ) -> Person:
        """A fresh account that knows all of the keys."""
        server = self.server(client, fast_lane, rekey_bytes)
        fresh = server.account(public_keys=self.public, permissions={"/": permissions or ("*",)})
        return replace(fresh, key=self.base / "keys" / client.key)

    @property
    def big(self) -> Path:
        return self.base / "big"

    @property
    def middle(self) -> Path:
        return self.base / "middle"

    @property
    def small(self) -> Path:
        """A directory of small files, some of them empty."""
        return self.base / "small"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("foreign")
    (base / "keys").mkdir()
    (base / "small").mkdir()
    public = []
    for name, algorithm, text in (
        ("id_ed25519", "ssh-ed25519", "openssh"),
        ("id_ecdsa", "ecdsa-sha2-nistp256", "pkcs1-pem"),
        ("id_rsa", "ssh-rsa", "pkcs1-pem"),
    ):
        key = asyncssh.generate_private_key(algorithm)
        key.write_private_key(base / "keys" / name, text)
        (base / "keys" / name).chmod(0o600)
        key.write_public_key(base / "keys" / f"{name}.pub")
        public.append((base / "keys" / f"{name}.pub").read_text().strip())
    random_file(base / "big", BIG)
    random_file(base / "middle", MIDDLE)
    for number in range(SMALL):
        (base / "small" / f"{number:03d}").write_bytes(b"small %d\n" % number * (number % 50))
    with contextlib.ExitStack() as ending:
        yield World(base, ending, tuple(public))


@both_ways(CLIENTS)
def test_files(client: Client, fast_lane: bool, world: World, tmp_path: Path) -> None:
    """A big file up and down, then many small ones on the same channel, and their listing."""
    user = world.person(client, fast_lane=fast_lane)
    names = sorted(path.name for path in world.small.iterdir())[: client.small]
    (tmp_path / "small").mkdir()
    done = run(
        client, user,
        ("put", world.big, "/big"),
        ("get", "/big", tmp_path / "big"),
        ("mkdir", "/small"),
        *(("put", world.small / name, f"/small/{name}") for name in names),
        ("list", "/small"),
        *(("get", f"/small/{name}", tmp_path / "small" / name) for name in names),
        home=tmp_path,
    ).ok()  # fmt: skip
    assert sorted(done.steps[3 + len(names)].values) == names
    assert digest(user.home / "big") == digest(tmp_path / "big") == digest(world.big)
    small = {name.encode(): digest(world.small / name) for name in names}
    assert tree(user.home / "small") == tree(tmp_path / "small") == small
    assert user.leftovers() == []


@both_ways(client for client in CLIENTS if client.scp)
def test_files_over_scp(client: Client, fast_lane: bool, world: World, tmp_path: Path) -> None:
    """A big file, an empty one and one with an odd name both ways, and refusals; the connection goes on."""
    user = world.person(client, fast_lane=fast_lane)
    # sshj quotes in a way that no shell takes, and not at all to fetch.
    odd = "plain" if client.name == "sshj" else "it's a name"
    (user.home / "dir").mkdir()
    (tmp_path / "empty").touch()
    done = run(
        client, user,
        ("scpput", world.big, "/big"),
        ("scpput", tmp_path / "empty", "/dir/none"),
        ("scpput", world.small / "049", f"/dir/{odd}"),
        ("scpget", "/big", tmp_path / "big"),
        ("scpget", f"/dir/{odd}", tmp_path / "odd"),
        ("scpget", "/missing", tmp_path / "missing"),
        ("scpput", world.small / "049", "/nowhere/file"),
        ("list", "/dir"),
        home=tmp_path,
    )  # fmt: skip
    assert [answer.done for answer in done.steps] == [True] * 5 + [False] * 2 + [True], (
        done.steps,
        done.errors,
    )
    assert digest(user.home / "big") == digest(tmp_path / "big") == digest(world.big)
    assert digest(user.home / "dir" / odd) == digest(tmp_path / "odd") == digest(world.small / "049")
    assert (user.home / "dir" / "none").read_bytes() == b""
    assert user.leftovers() == []


@both_ways(client for client in CLIENTS if client.can("rekey"))
def test_keys_are_exchanged_again_meanwhile(
    client: Client, fast_lane: bool, world: World, tmp_path: Path
) -> None:
    """The server begins it, after each MiB, while the client sends or waits for data."""
    user = world.person(client, fast_lane=fast_lane, rekey_bytes=1 << 20)
    run(client, user, ("put", world.middle, "/file"), ("get", "/file", tmp_path / "file"), home=tmp_path).ok()
    assert digest(user.home / "file") == digest(tmp_path / "file") == digest(world.middle)


@clients()
def test_many_names_are_listed(client: Client, world: World, tmp_path: Path) -> None:
    user = world.person(client)
    names = [f"name-{number}-{'n' * (number % 200)}" for number in range(SMALL)]
    for name in names:
        (user.home / name).touch()
    done = run(client, user, ("list", "/"), home=tmp_path).ok()
    assert sorted(done.steps[0].values) == sorted(names)


@clients("symlink", "readlink")
def test_links_are_the_right_way_round(client: Client, world: World, tmp_path: Path) -> None:
    user = world.person(client)
    done = run(
        client, user,
        ("symlink", "target", "/link"),
        ("readlink", "/link"),
        ("symlink", "/there/target", "/absolute"),
        ("readlink", "/absolute"),
        home=tmp_path,
    ).ok()  # fmt: skip
    assert {path.name for path in user.home.iterdir()} == {"link", "absolute"}
    assert os.readlink(user.home / "link") == "target"
    assert (done.steps[1].values, done.steps[3].values) == (("target",), ("/there/target",))


@clients()
def test_names_change_and_go(client: Client, world: World, tmp_path: Path) -> None:
    user = world.person(client)
    run(
        client, user,
        ("mkdir", "/in"),
        ("put", world.small / "049", "/in/part"),
        ("rename", "/in/part", "/in/whole"),
        ("put", world.small / "048", "/in/other"),
        ("remove", "/in/other"),
        home=tmp_path,
    ).ok()  # fmt: skip
    assert tree(user.home) == {b"in": "", b"in/whole": digest(world.small / "049")}


@clients("password")
def test_passwords(client: Client, world: World, tmp_path: Path) -> None:
    user = world.person(client)
    (user.home / "file").write_bytes(b"x")
    done = run(client, user, ("list", "/"), home=tmp_path, password=user.password).ok()
    assert done.steps[0].values == ("file",)
    refused = run(client, user, home=tmp_path, password="not the password")
    assert not refused.login.done and refused.login.text


@clients("exec")
def test_a_refused_command_ends(client: Client, world: World, tmp_path: Path) -> None:
    """Commons VFS runs `id` by itself; the others are told to. Files go on on the same connection."""
    user = world.person(client)
    (user.home / "file").write_bytes(b"x")
    command = "/file" if client.name == "vfs" else "id -u"
    done = run(client, user, ("exec", command), ("list", "/"), home=tmp_path).ok()
    assert done.steps[1].values == ("file",)
    refused = user.server.wait_line("refused", username=user.name, intent="ssh_command")
    assert refused["text"].startswith("id -u:")
    status, said = done.steps[0].values
    if client.name == "vfs":
        assert (status, said) == ("true", "true"), "what it knows without an answer"
    else:
        assert status == "1" and "sftp" in said, done.steps[0]


@clients()
def test_what_is_not_permitted_has_its_error(client: Client, world: World, tmp_path: Path) -> None:
    user = world.person(client, "list", "download")
    (user.home / "file").write_bytes(b"x")
    done = run(
        client, user,
        ("put", world.small / "001", "/new"),
        ("mkdir", "/new"),
        ("remove", "/file"),
        ("get", "/file", tmp_path / "file"),
        home=tmp_path,
    )  # fmt: skip
    assert [answer.done for answer in done.steps] == [False, False, False, True], done
    assert tree(user.home) == {b"file": digest(tmp_path / "file")}
    if client.can("status"):
        assert {answer.status for answer in done.steps[:3]} == {PERMISSION_DENIED}, done.steps


@pytest.mark.parametrize("client", [client for client in CLIENTS if client.name == "mina"], ids=["mina"])
@pytest.mark.needs(*JAVA.programs)
def test_mina_asks_for_digests(client: Client, world: World, tmp_path: Path) -> None:
    user = world.person(client)
    (user.home / "file").write_bytes(world.small.joinpath("049").read_bytes())
    done = run(client, user, ("digest", "/file"), home=tmp_path).ok()
    assert done.steps[0].values == (digest(user.home / "file"),)


def test_the_reference_names_every_client() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/clients.md").read_text()
    assert [client.library for client in CLIENTS if f"| {client.library} |" not in page] == []
