# SPDX-License-Identifier: Apache-2.0
"""Logins that take a key and something else, by real clients against the product."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncssh
import paramiko
import pytest
from tests.support.running import Person, Running, running
from tests.support.ssh_world import SSH, askpass, run_program

from tidegate.model import Filters

SINGLE = ("publickey", "password", "keyboard-interactive")
PAIRS = ("publickey+password", "publickey+keyboard-interactive")
SECONDS = ("password", "keyboard-interactive")


@pytest.fixture
def server(servers: Callable[[bool], Running]) -> Running:
    return servers(True)


def steps_person(server: Running, second: str) -> Person:
    """Somebody who logs in by a key and `second`; both if it is empty."""
    other = tuple(pair for pair in PAIRS if second and pair != f"publickey+{second}")
    return server.account(filters=Filters(denied_login_methods=(*SINGLE, *other)))


def openssh(person: Person, *more: str) -> list[str]:
    return [
        *("ssh", "-v", *SSH, "-o", "IdentitiesOnly=yes", "-i", str(person.key), *more),
        *("-p", str(person.port), f"{person.name}@127.0.0.1", "pwd"),
    ]


def offered_after_key(person: Person) -> tuple[list[str], paramiko.Transport]:
    """Methods that the server offers after the key, and the connection."""
    transport = paramiko.Transport(("127.0.0.1", person.port))
    transport.start_client(timeout=10)
    key = paramiko.Ed25519Key.from_private_key_file(str(person.key))
    return transport.auth_publickey(person.name, key), transport


@pytest.mark.needs("ssh")
@pytest.mark.parametrize("second", SECONDS)
async def test_openssh(server: Running, tmp_path: Path, second: str) -> None:
    person = steps_person(server, second)
    status, out, err = await run_program(*openssh(person), env=askpass(tmp_path, person.password))
    assert (status, out) == (0, b"/\n"), err
    assert b'Authenticated using "publickey" with partial success' in err
    assert f"Authentications that can continue: {second}\r\n".encode() in err
    server.wait_line("login", username=person.name, method=f"publickey+{second}")


@pytest.mark.needs("ssh")
async def test_openssh_in_one_step_or_with_a_wrong_second_one(server: Running, tmp_path: Path) -> None:
    person = steps_person(server, "password")
    for methods, word in (
        ("publickey", person.password),
        ("password", person.password),
        ("keyboard-interactive", person.password),
        ("publickey,keyboard-interactive", person.password),
        ("publickey,password", "wrong"),
    ):
        command = openssh(
            person, "-o", f"PreferredAuthentications={methods}", "-o", "NumberOfPasswordPrompts=1"
        )
        status, _, err = await run_program(*command, env=askpass(tmp_path, word))
        assert status == 255, (methods, err)
        assert b"Permission denied" in err
    assert not server.lines("login", username=person.name)


@pytest.mark.needs("plink")
@pytest.mark.parametrize("second", SECONDS)
async def test_plink(server: Running, tmp_path: Path, second: str) -> None:
    """plink answers one question of keyboard-interactive with the password that it was given."""
    person = steps_person(server, second)
    ppk = tmp_path / "key.ppk"
    subprocess.run(["puttygen", person.key, "-O", "private", "-o", ppk], check=True, timeout=20)
    host_key = (server.directory / "id_ed25519.pub").read_text().split()[1]
    command = ["plink", "-batch", "-ssh", "-P", str(person.port), "-l", person.name, "-i", str(ppk)]
    command += ["-pw", person.password, "-hostkey", host_key, "127.0.0.1", "pwd"]
    status, out, err = await run_program(*command, env={"HOME": str(tmp_path)})
    assert (status, out) == (0, b"/\n"), err
    server.wait_line("login", username=person.name, method=f"publickey+{second}")


@pytest.mark.parametrize("second", SECONDS)
async def test_paramiko(server: Running, second: str) -> None:
    person = steps_person(server, second)

    def client() -> None:
        offered, transport = offered_after_key(person)
        try:
            assert offered == [second]
            assert not transport.is_authenticated()
            with pytest.raises(paramiko.AuthenticationException):
                transport.auth_publickey(
                    person.name, paramiko.Ed25519Key.from_private_key_file(str(person.key))
                )
            # A wrong second step fails and forgets nothing of the first.
            with pytest.raises(paramiko.AuthenticationException):
                answer(transport, "wrong")
            assert answer(transport, person.password) == []
            assert transport.is_authenticated()
        finally:
            transport.close()

    def answer(transport: paramiko.Transport, word: str) -> list[str]:
        if second == "password":
            return transport.auth_password(person.name, word, fallback=False)
        return transport.auth_interactive(person.name, lambda *_: [word])

    await asyncio.to_thread(client)


async def test_either_second_step_is_offered_if_both_will_do(server: Running) -> None:
    person = steps_person(server, "")

    def client() -> list[str]:
        offered, transport = offered_after_key(person)
        transport.close()
        return offered

    assert sorted(await asyncio.to_thread(client)) == ["keyboard-interactive", "password"]


@pytest.mark.parametrize("second", SECONDS)
async def test_asyncssh(server: Running, second: str) -> None:
    person = steps_person(server, second)
    async with person.connect(password=person.password) as client:
        assert (await client.run("pwd")).stdout == "/\n"
    server.wait_line("login", username=person.name, method=f"publickey+{second}")
    with pytest.raises(asyncssh.PermissionDenied):
        await person.connect(client_keys=None, password=person.password)
    with pytest.raises(asyncssh.PermissionDenied):
        await person.connect(password=None)


async def test_a_switched_off_method_is_no_second_step(tmp_path: Path) -> None:
    with running(tmp_path / "c", settings={"sftpd": {"password_authentication": False}}) as alone:
        person = steps_person(alone, "")

        def client() -> list[str]:
            offered, transport = offered_after_key(person)
            transport.close()
            return offered

        assert await asyncio.to_thread(client) == ["keyboard-interactive"]
        assert not alone.lines("login")
