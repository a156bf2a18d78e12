# SPDX-License-Identifier: Apache-2.0
"""An authenticator of somebody else's package, in the running product, by real clients."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from tests.support import fork_server
from tests.support.running import Running, running
from tests.support.ssh_world import SSH, run_program

PACKAGE = Path(__file__).parents[1] / "third_party" / "authenticator"
SEED = base64.b32encode(b"twenty bytes of seed").decode()
QUOTA = 10_000


@pytest.fixture(scope="module")
def roster_module() -> Iterator[object]:
    sys.path.insert(0, str(PACKAGE))
    try:
        import tidegate_roster

        yield tidegate_roster
    finally:
        sys.path.remove(str(PACKAGE))


class World:
    def __init__(self, server: Running, roster: Path) -> None:
        self.server, self.roster = server, roster

    def people(self) -> dict[str, dict[str, object]]:
        return json.loads(self.roster.read_text())

    def write(self, people: dict[str, dict[str, object]]) -> None:
        fresh = self.roster.with_suffix(".new")
        fresh.write_text(json.dumps(people))
        os.replace(fresh, self.roster)

    @contextlib.contextmanager
    def transport(self) -> Iterator[paramiko.Transport]:
        with contextlib.closing(paramiko.Transport(("127.0.0.1", self.server.port))) as transport:
            transport.start_client(timeout=20)
            yield transport

    @contextlib.contextmanager
    def sftp(self, name: str, password: str) -> Iterator[paramiko.SFTPClient]:
        with self.transport() as transport:
            assert transport.auth_password(name, password) == []
            client = paramiko.SFTPClient.from_transport(transport)
            assert client is not None
            yield client


def make(directory: Path) -> tuple[Path, dict[str, object]]:
    homes = directory / "elsewhere"
    roster = directory / "roster.json"
    homes.mkdir(parents=True)
    people = {
        "rosa": {"password": "red", "home": str(homes / "rosa"), "secret": SEED},
        "paul": {"password": "plain", "home": str(homes / "paul"), "quota": QUOTA},
        "rita": {"password": "only", "home": str(homes / "rita"), "description": "read only"},
        "mallory": {"password": "mask", "home": str(homes / "mallory"), "description": "mallory"},
        "dora": {"password": "done", "home": str(homes / "dora"), "status": 0},
    }
    roster.write_text(json.dumps(people))
    return roster, {
        "settings": {"identity": {"authenticators": [{"use": "roster", "options": {"file": str(roster)}}]}},
        "environment": {"PYTHONPATH": str(PACKAGE)},
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    top = tmp_path_factory.mktemp("roster")
    roster, options = make(top)
    with running(top / "config", **options) as server:
        yield World(server, roster)


def test_password_then_code_are_two_steps_of_paramiko(world: World, roster_module) -> None:
    with world.transport() as transport:
        assert transport.auth_password("rosa", "red") == ["keyboard-interactive"]
        asked: list[object] = []

        def answer(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
            asked.append((title, instructions, prompts))
            return [roster_module.code(SEED)]

        assert transport.auth_interactive("rosa", answer) == []
        assert asked == [("", "Look at your telephone.", [("One-time code: ", False)])]
        client = paramiko.SFTPClient.from_transport(transport)
        client.putfo(io.BytesIO(b"hello"), "/note")
        assert client.stat("/note").st_size == 5
    line = world.server.wait_line("login", username="rosa", method="password+keyboard-interactive")
    assert line


def test_both_are_questions_of_one_method(world: World, roster_module) -> None:
    with world.transport() as transport:
        asked: list[str] = []

        def answer(_: str, __: str, prompts: list[tuple[str, bool]]) -> list[str]:
            asked.append(prompts[0][0])
            return ["red"] if len(asked) == 1 else [roster_module.code(SEED)]

        assert transport.auth_interactive("rosa", answer) == []
        assert asked == ["Password: ", "One-time code: "]


@pytest.mark.needs("ssh")
async def test_openssh_is_led_through_both_steps(world: World, roster_module, tmp_path: Path) -> None:
    script = tmp_path / "askpass.sh"
    script.write_text(
        f'#!/bin/sh\ncase "$1" in *code*) echo {roster_module.code(SEED)};; *) echo red;; esac\n'
    )
    script.chmod(0o700)
    env = {"SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    for methods in ("password,keyboard-interactive", "keyboard-interactive"):
        code, out, err = await run_program(
            "ssh", "-v", *SSH, "-p", str(world.server.port), "-o", f"PreferredAuthentications={methods}",
            "rosa@127.0.0.1", "pwd", env=env,
        )  # fmt: skip
        assert (code, out.strip()) == (0, b"/"), err.decode()
        partial = b'Authenticated using "password" with partial success' in err
        assert partial == methods.startswith("password")


def test_a_wrong_code_keeps_the_user_out_and_the_first_step_stays(world: World, roster_module) -> None:
    with world.transport() as transport:
        transport.auth_password("rosa", "red")
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_interactive("rosa", lambda *_: ["000000x"])
        with pytest.raises(paramiko.AuthenticationException):  # the password alone opens nothing
            transport.auth_password("rosa", "red")
        assert not transport.is_authenticated()
        assert transport.auth_interactive("rosa", lambda *_: [roster_module.code(SEED)]) == []
    world.server.wait_line("connection_failed", username="rosa", login_type="keyboard-interactive")


@pytest.mark.parametrize(
    ("name", "password"),
    [("paul", "wrong"), ("nobody", "plain"), ("mallory", "mask"), ("dora", "done")],
)
def test_who_stays_out(world: World, name: str, password: str) -> None:
    with world.transport() as transport, pytest.raises(paramiko.AuthenticationException):
        transport.auth_password(name, password)


def test_the_stage_before_the_login_changes_the_account(world: World) -> None:
    with world.sftp("rita", "only") as client:
        assert client.listdir("/") == []
        with pytest.raises(PermissionError):
            client.mkdir("/new")


def test_stored_accounts_are_asked_after_it(world: World) -> None:
    person = world.server.account()
    with world.sftp(person.name, person.password) as client:
        assert client.listdir("/") == []


def test_check_names_what_cannot_be_used(tmp_path: Path) -> None:
    for use, options, says in (
        ("rooster", {}, "no authenticator 'rooster' is installed; there are: roster"),
        ("roster", {}, "the roster needs the option file"),
        ("tidegate_roster:account_of", {}, "'tidegate_roster:account_of' cannot be used: TypeError"),
        ("no_such_package:Thing", {}, "'no_such_package:Thing' cannot be used: ModuleNotFoundError"),
    ):
        uses = {"identity": {"authenticators": [{"use": use, "options": options}]}}
        (tmp_path / "tidegate.json").write_text(json.dumps(uses))
        done = fork_server.run(["check", "-c", str(tmp_path)], env={**os.environ, "PYTHONPATH": str(PACKAGE)})
        assert done.returncode != 0
        assert f"identity.authenticators[0]: {says}" in done.stderr, done.stderr


def put(client: paramiko.SFTPClient, path: str, size: int) -> None:
    with client.open(path, "w") as file:
        file.write(b"x" * size)


def test_the_quota_of_an_account_that_is_not_stored_holds(tmp_path: Path, roster_module) -> None:
    """Across sessions and restarts; nothing is said in the log, and nobody is sent away for not being stored."""
    roster, options = make(tmp_path)
    server = Running(tmp_path / "config", **options)
    world = World(server, roster)
    try:
        server.start()
        with world.sftp("paul", "plain") as client:
            put(client, "/one", 8000)
        with world.sftp("paul", "plain") as client, pytest.raises(OSError, match="quota"):
            put(client, "/two", 8000)
        server.stop()
        assert not [
            line for line in server.lines() if line["level"] == "warn" and "usage of paul" in str(line)
        ]
        server.start()
        with world.sftp("paul", "plain") as client:
            with pytest.raises(OSError, match="quota"):
                put(client, "/two", 8000)
            client.remove("/one")
            put(client, "/two", 8000)
        server.kill()  # counted again at the next start
        server.start()
        with world.sftp("paul", "plain") as client, pytest.raises(OSError, match="quota"):
            put(client, "/three", 8000)
        server.stop()
    finally:
        server.kill()
