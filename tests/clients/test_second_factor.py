# SPDX-License-Identifier: Apache-2.0
"""One-time codes over SSH, by real clients against the product."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest
from tests.support import fork_server
from tests.support.ftp_world import RawFtp
from tests.support.one_time import Authenticator
from tests.support.ports import free_port
from tests.support.running import Person, Running, in_thread
from tests.support.ssh_world import SSH, run_program

from tidegate.cli.provider import opened
from tidegate.identity.totp import new_secret
from tidegate.model import Filters
from tidegate.policy.second_factor import recovery_codes_of

SINGLE = ("publickey", "password", "keyboard-interactive")


FTP_PORT = free_port()


def ftp_section() -> dict[str, Any]:
    binding = {"port": FTP_PORT, "address": "127.0.0.1", "plain_login": True}
    return {"bindings": [binding], "passive_port_range": {"start": 0, "end": 0}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    kinds = [{"name": name, "algo": name.lower()} for name in ("SHA1", "SHA256", "SHA512")]
    made = Running(
        tmp_path_factory.mktemp("codes") / "config",
        settings={
            "ftpd": ftp_section(),
            "mfa": {"totp": kinds},
            "kms": {"secrets": {"master_key": "0123456789abcdef" * 4}},
        },
    )
    try:
        made.start()
        yield made
        made.stop()
    finally:
        made.kill()


def cli(server: Running, *argv: str) -> dict[str, Any]:
    """Run the command line on the server's configuration; returns the document that it prints."""
    command = [*argv, "-c", str(server.directory), "--json"]
    done = fork_server.run(command)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def person_with_codes(
    server: Running, kind: str = "SHA1", protocols: Sequence[str] = ("SSH",), **more: Any
) -> tuple[Person, Authenticator]:
    """A person whose codes were enabled by what the command line and REST call."""
    person = server.account(**more)
    secret = new_secret()

    async def enable() -> None:
        async with opened(server.directory, "tidegate", quiet=True) as desk:
            factors = desk.administration.users.factors
            await factors.enable(
                person.name, config_name=kind, secret=secret, protocols=protocols, by=desk.actor
            )

    in_thread(enable)
    server.secrets.add(secret)
    return person, Authenticator(secret, kind.lower())


def answers_in_turn(directory: Path, *answers: str) -> dict[str, str]:
    """Environment in which OpenSSH is given these answers, one for each question."""
    (directory / "answers").write_text("".join(f"{one}\n" for one in answers))
    script = directory / "askpass.sh"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$1" >> {directory}/asked\n'
        f"head -n 1 {directory}/answers\nsed -i 1d {directory}/answers\n"
    )
    script.chmod(0o700)
    return {"SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}


def openssh(person: Person, methods: str) -> list[str]:
    return [
        *("ssh", "-v", *SSH, "-o", "IdentitiesOnly=yes", "-i", str(person.key)),
        *("-o", f"PreferredAuthentications={methods}", "-o", "NumberOfPasswordPrompts=1"),
        *("-p", str(person.port), f"{person.name}@127.0.0.1", "pwd"),
    ]


class Client(asyncssh.SSHClient):
    """Answers each question of keyboard-interactive by what a function makes of it."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer

    def kbdint_auth_requested(self) -> str:
        return ""

    def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> Any:
        return [self.answer(text) for text, _ in prompts]


@pytest.mark.needs("ssh")
@pytest.mark.parametrize("kind", ["SHA1", "SHA256", "SHA512"])
@pytest.mark.parametrize("methods", ["keyboard-interactive", "password,keyboard-interactive"])
async def test_openssh(server: Running, tmp_path: Path, kind: str, methods: str) -> None:
    person, device = person_with_codes(server, kind)
    environment = answers_in_turn(tmp_path, person.password, device.code())
    status, out, err = await run_program(*openssh(person, methods), env=environment)
    assert (status, out) == (0, b"/\n"), err
    asked = (tmp_path / "asked").read_text().splitlines()
    assert ["assword" in asked[0], "Authentication code:" in asked[1], len(asked)] == [True, True, 2]
    first = methods.partition(",")[0]
    method = "keyboard-interactive" if first == "keyboard-interactive" else "password+keyboard-interactive"
    server.wait_line("login", username=person.name, method=method)


@pytest.mark.needs("ssh")
async def test_a_password_is_not_enough_and_a_code_is_good_once(server: Running, tmp_path: Path) -> None:
    person, device = person_with_codes(server)
    status, _, err = await run_program(
        *openssh(person, "password"), env=answers_in_turn(tmp_path, person.password)
    )
    assert status == 255, err
    code = device.code()
    methods = "keyboard-interactive"
    for answers, good in (
        ((person.password, "000000"), False),
        ((person.password, ""), False),
        (("wrong", code), False),
        ((person.password, f"{code[:3]} {code[3:]}"), True),
        ((person.password, code), False),
        ((person.password, device.code()), True),
    ):
        status, _, err = await run_program(*openssh(person, methods), env=answers_in_turn(tmp_path, *answers))
        assert (status == 0) is good, (answers, err)
    server.wait_line("connection_failed", username=person.name, error="bad_code")


@pytest.mark.needs("ssh")
async def test_a_key_goes_alone_unless_a_second_step_is_wanted(server: Running, tmp_path: Path) -> None:
    person, _ = person_with_codes(server)
    status, out, err = await run_program(*openssh(person, "publickey"))
    assert (status, out) == (0, b"/\n"), err
    person, device = person_with_codes(
        server, filters=Filters(denied_login_methods=(*SINGLE, "publickey+password"))
    )
    assert (await run_program(*openssh(person, "publickey")))[0] == 255
    environment = answers_in_turn(tmp_path, device.code())
    status, out, err = await run_program(*openssh(person, "publickey,keyboard-interactive"), env=environment)
    assert (status, out) == (0, b"/\n"), err
    assert (tmp_path / "asked").read_text().count("\n") == 1
    assert b'Authenticated using "publickey" with partial success' in err
    server.wait_line("login", username=person.name, method="publickey+keyboard-interactive")


async def test_key_and_password_and_code(server: Running) -> None:
    person, device = person_with_codes(
        server, filters=Filters(denied_login_methods=(*SINGLE, "publickey+keyboard-interactive"))
    )

    def client() -> list[list[str]]:
        transport = paramiko.Transport(("127.0.0.1", person.port))
        try:
            transport.start_client(timeout=10)
            key = paramiko.Ed25519Key.from_private_key_file(str(person.key))
            steps = [transport.auth_publickey(person.name, key)]
            steps.append(transport.auth_password(person.name, person.password, fallback=False))
            assert not transport.is_authenticated()
            steps.append(transport.auth_interactive(person.name, lambda *_: [device.code()]))
            assert transport.is_authenticated()
        finally:
            transport.close()
        return steps

    assert await asyncio.to_thread(client) == [["password"], ["keyboard-interactive"], []]
    server.wait_line("login", username=person.name, method="publickey+password+keyboard-interactive")


async def test_asyncssh_and_paramiko(server: Running) -> None:
    person, device = person_with_codes(server)

    def answer(text: str) -> str:
        return device.code() if "code" in text else person.password

    connected = person.connect(
        client_factory=lambda: Client(answer), client_keys=None, preferred_auth="keyboard-interactive"
    )
    async with connected as client:
        assert (await client.run("pwd")).stdout == "/\n"

    def of_paramiko() -> None:
        transport = paramiko.Transport(("127.0.0.1", person.port))
        try:
            transport.start_client(timeout=10)
            assert transport.auth_password(person.name, person.password, fallback=False) == [
                "keyboard-interactive"
            ]
            with pytest.raises(paramiko.AuthenticationException):
                transport.auth_interactive(person.name, lambda *_: ["999999"])
            transport.auth_interactive(person.name, lambda *_: [device.code()])
            assert transport.is_authenticated()
        finally:
            transport.close()

    await asyncio.to_thread(of_paramiko)


async def test_codes_of_one_user_are_nothing_to_another(server: Running) -> None:
    """Proofs and codes of one user are void for another name on the same connection."""
    person, device = person_with_codes(server)
    other, _ = person_with_codes(server)

    def client() -> None:
        transport = paramiko.Transport(("127.0.0.1", person.port))
        try:
            transport.start_client(timeout=10)
            transport.auth_password(person.name, person.password, fallback=False)
            with pytest.raises(paramiko.AuthenticationException):
                transport.auth_interactive(other.name, lambda *_: [device.code()])
            assert not transport.is_authenticated()
        finally:
            transport.close()

    await asyncio.to_thread(client)
    assert not server.lines("login", username=other.name)


@pytest.mark.needs("ssh")
async def test_recovery_codes_are_good_once(server: Running, tmp_path: Path) -> None:
    person, _ = person_with_codes(server)
    codes = cli(server, "user", "totp", person.name, "--recovery-codes")["recovery_codes"]
    assert len(set(codes)) == 12
    text = (server.directory / "tidegate.db").read_bytes()
    assert not [one for one in codes if one.encode() in text or one.replace("-", "").encode() in text]
    methods = "keyboard-interactive"
    for code, good in ((codes[0], True), (codes[0], False), (codes[1].lower().replace("-", " "), True)):
        environment = answers_in_turn(tmp_path, person.password, code)
        status, _, err = await run_program(*openssh(person, methods), env=environment)
        assert (status == 0) is good, (code, err)
    left = recovery_codes_of(server.stored(person.name).filters)
    assert sum(not one["used"] for one in left) == 10
    fresh = cli(server, "user", "totp", person.name, "--recovery-codes")["recovery_codes"]
    environment = answers_in_turn(tmp_path, person.password, codes[2])
    assert (await run_program(*openssh(person, methods), env=environment))[0] == 255
    assert not set(fresh) & set(codes)


@pytest.mark.needs("ssh")
async def test_wrong_codes_are_throttled_for_the_name(server: Running, tmp_path: Path) -> None:
    person, device = person_with_codes(server)
    methods = "keyboard-interactive"
    for _ in range(5):
        environment = answers_in_turn(tmp_path, person.password, "123")
        assert (await run_program(*openssh(person, methods), env=environment))[0] == 255
    environment = answers_in_turn(tmp_path, person.password, device.code())
    assert (await run_program(*openssh(person, methods), env=environment))[0] == 255
    server.wait_line("connection_failed", username=person.name, error="throttled")
    assert (await run_program(*openssh(person, "publickey")))[0] == 0  # keys are no guesses


@pytest.mark.needs("ssh")
async def test_who_has_to_set_codes_up_does_not_come_in(server: Running, tmp_path: Path) -> None:
    person = server.account(filters=Filters(two_factor_protocols=("SSH",)))
    for methods in ("publickey", "password", "keyboard-interactive"):
        environment = answers_in_turn(tmp_path, person.password)
        assert (await run_program(*openssh(person, methods), env=environment))[0] == 255
    server.wait_line("connection_failed", username=person.name, error="second_factor")
    device = Authenticator(cli(server, "user", "totp", person.name, "--enable")["secret"])
    environment = answers_in_turn(tmp_path, person.password, device.code())
    status, _, err = await run_program(*openssh(person, "keyboard-interactive"), env=environment)
    assert status == 0, err
    cli(server, "user", "totp", person.name, "--disable")
    assert (await run_program(*openssh(person, "publickey")))[0] == 255


@pytest.mark.needs("ssh")
async def test_doors_that_do_not_ask(server: Running, tmp_path: Path) -> None:
    person, _ = person_with_codes(server, protocols=("HTTP",))
    environment = answers_in_turn(tmp_path, person.password)
    assert (await run_program(*openssh(person, "password"), env=environment))[0] == 0


async def test_a_secret_is_encrypted_and_one_that_cannot_be_opened_refuses(server: Running) -> None:
    person, device = person_with_codes(server)
    assert device._key.hex() not in (server.directory / "tidegate.db").read_bytes().hex()
    held: Any = server.stored(person.name).filters.extra["totp_config"]
    assert held["secret"]["status"] == "AES-256-GCM-Envelope"
    other = server.account()

    async def copy() -> None:
        """Somebody who can write to the database moves a secret of theirs to another account."""
        async with opened(server.directory, "tidegate", quiet=True) as desk:
            stored = await desk.provider.user(other.name)
            assert stored is not None
            filters = replace(stored.filters, extra={"totp_config": held})
            await desk.provider.update_user(replace(stored, filters=filters))

    in_thread(copy)
    server.expected_errors.append("filters.totp_config.secret")

    code = device.code()

    def answer(text: str) -> str:
        return code if "code" in text else other.password

    with pytest.raises(asyncssh.PermissionDenied):
        await other.connect(
            client_factory=lambda: Client(answer), client_keys=None, preferred_auth="keyboard-interactive"
        )
    server.wait_line("connection_failed", username=other.name, error="provider_error")


def test_ftp_takes_the_code_behind_the_password(server: Running) -> None:
    person, device = person_with_codes(server, protocols=("FTP",))
    (person.home / "f").write_text("content")

    def curl(secret: str) -> int:
        where = f"ftp://127.0.0.1:{FTP_PORT}/f"
        command = ["curl", "-sS", "-u", f"{person.name}:{secret}", "-o", "/dev/null", where]
        return subprocess.run(command, timeout=60, check=False, capture_output=True).returncode

    code = device.code()
    server.secrets.add(code)
    assert curl(person.password) == 67, "the password alone"
    assert curl(f"{person.password}000000") == 67
    assert curl(f"wrong{code}") == 67
    assert curl(f"{person.password}{code}") == 0
    assert curl(f"{person.password}{code}") == 67, "a code is good once"
    with RawFtp(FTP_PORT) as ftp:
        assert ftp.code(f"USER {person.name}") == 331
        assert ftp.ask(f"PASS {person.password}") == "331 Authentication code"
        assert ftp.code("PWD") == 530
        assert ftp.code(f"PASS {device.code()}") == 230
    server.wait_line("connection_failed", username=person.name, protocol="FTP", error="bad_code")


def test_ftp_is_shut_until_codes_are_set_up(server: Running) -> None:
    person = server.account(filters=Filters(two_factor_protocols=("FTP",)))
    with RawFtp(FTP_PORT) as ftp:
        assert ftp.code(f"USER {person.name}") == 331
        assert ftp.code(f"PASS {person.password}") == 530
        assert ftp.code(f"USER {person.name}") == 331
        assert ftp.code(f"PASS {person.password}123456") == 530


def test_ftp_alone_does_for_no_account_that_wants_a_key(server: Running) -> None:
    person = server.account(filters=Filters(denied_login_methods=SINGLE))
    with RawFtp(FTP_PORT) as ftp:
        assert ftp.code(f"USER {person.name}") == 331
        assert ftp.code(f"PASS {person.password}") == 530
