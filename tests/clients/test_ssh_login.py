# SPDX-License-Identifier: Apache-2.0
"""Logging in with real clients."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import paramiko
import pytest
from tests.support.ssh_world import SSH, Person, askpass, run_program, ssh_world

from tidegate.events.kinds import Connected, Disconnected, LoggedIn, LoginFailed

needs_ssh = pytest.mark.needs("ssh")

KEY_TYPES = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "ssh-rsa"]


def make_key(directory: Path, kind: str, name: str = "key") -> tuple[Path, bytes]:
    key = asyncssh.generate_private_key(kind, **({"key_size": 2048} if kind == "ssh-rsa" else {}))
    path = directory / name
    path.touch(0o600)
    key.write_private_key(path)
    return path, key.public_data


async def test_password_with_asyncssh_and_its_record(tmp_path):
    async with ssh_world(tmp_path) as world:
        async with world.connect(username="ada", password="secret", preferred_auth="password") as client:
            assert client.get_extra_info("server_version").startswith("SSH-2.0-Tidegate_")
            assert client.get_extra_info("recv_cipher") == "chacha20-poly1305@openssh.com"
            login = await world.recorder.wait(LoggedIn)
            assert (login.origin.username, login.method, login.origin.protocol, login.origin.ip) == (
                "ada",
                "password",
                "SSH",
                "127.0.0.1",
            )
            assert login.client_version.startswith("SSH-2.0-AsyncSSH")
        gone = await world.recorder.wait(Disconnected)
        assert gone.by == ""
        assert gone.origin.connection_id == login.origin.connection_id
        assert gone.origin.connection_id == world.recorder.of(Connected)[0].origin.connection_id
        assert not world.recorder.of(LoginFailed)


async def test_extensions_that_come_after_the_login_are_skipped(tmp_path):
    """EXT_INFO once more, as asyncssh 2.5 sends it (RFC 8308 section 2.4 has no room for it there)."""
    async with ssh_world(tmp_path) as world, world.connect(username="ada", password="secret") as client:
        client._send_ext_info()
        async with client.start_sftp_client() as files:
            assert await files.realpath(".") == "/start"


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
async def test_passwords_are_judged_as_typed(tmp_path, method):
    word = "x² 😀\u00a0ﬁn"

    def client(port: int) -> None:
        transport = paramiko.Transport(("127.0.0.1", port))
        try:
            transport.start_client(timeout=10)
            if method == "password":
                transport.auth_password("ada", word, fallback=False)
            else:
                transport.auth_interactive("ada", lambda *_: [word])
        finally:
            transport.close()

    async with ssh_world(tmp_path, {"ada": Person(word)}) as world:
        await asyncio.to_thread(client, world.port)
        assert (await world.recorder.wait(LoggedIn)).method == method


async def test_wrong_password_and_unknown_user_look_alike_and_are_recorded(tmp_path):
    async with ssh_world(tmp_path) as world:
        texts = []
        for name in ("ada", "nobody"):
            with pytest.raises(asyncssh.PermissionDenied) as denied:
                await world.connect(username=name, password="wrong", preferred_auth="password")
            texts.append(str(denied.value).replace(name, "X"))
        assert texts[0] == texts[1]
        await world.recorder.wait(Disconnected, count=2)
        failed = world.recorder.of(LoginFailed)
        assert [(f.origin.username, f.reason, f.login_type) for f in failed] == [
            ("ada", "bad_credential", "password"),
            ("nobody", "unknown_user", "password"),
        ]
        assert "wrong" not in repr(world.recorder.events)


async def test_who_tries_nothing_is_recorded_as_no_auth_tried(tmp_path):
    async with ssh_world(tmp_path) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        assert (await reader.readline()).startswith(b"SSH-2.0-Tidegate_")
        writer.close()
        await writer.wait_closed()
        failed = await world.recorder.wait(LoginFailed)
        assert failed.login_type == "no_auth_tried"


@pytest.mark.parametrize("kind", KEY_TYPES)
async def test_public_keys_with_asyncssh(tmp_path, kind):
    path, blob = make_key(tmp_path, kind)
    async with ssh_world(tmp_path, {"ada": Person(keys={blob})}) as world:
        async with world.connect(username="ada", client_keys=[str(path)]):
            assert (await world.recorder.wait(LoggedIn)).method == "publickey"
        with pytest.raises(asyncssh.PermissionDenied):
            await world.connect(username="bob", client_keys=[str(path)])
        failed = await world.recorder.wait(LoginFailed)
        assert (failed.login_type, failed.reason) == ("publickey", "unknown_key")


@needs_ssh
@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa"])
async def test_public_keys_with_openssh(tmp_path, kind):
    path, blob = make_key(tmp_path, kind)
    async with ssh_world(tmp_path, {"ada": Person(keys={blob})}, enabled_ssh_commands=("*",)) as world:
        status, out, err = await run_program(
            "ssh",
            *SSH,
            "-o",
            "IdentitiesOnly=yes",
            "-i",
            str(path),
            "-p",
            str(world.port),
            "ada@127.0.0.1",
            "pwd",
        )
        assert (status, out) == (0, b"/start\n"), err
        assert (await world.recorder.wait(LoggedIn)).method == "publickey"


@needs_ssh
@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
async def test_passwords_with_openssh(tmp_path, method):
    async with ssh_world(tmp_path) as world:
        argv = [
            "ssh",
            *SSH,
            "-o",
            f"PreferredAuthentications={method}",
            "-p",
            str(world.port),
            "ada@127.0.0.1",
            "pwd",
        ]
        status, out, err = await run_program(*argv, env=askpass(tmp_path, "secret"))
        assert (status, out) == (0, b"/start\n"), err
        assert (await world.recorder.wait(LoggedIn)).method == method
        status, out, err = await run_program(*argv, env=askpass(tmp_path, "wrong"))
        assert status == 255
        assert b"Permission denied" in err


@needs_ssh
async def test_key_and_password_with_openssh(tmp_path):
    path, blob = make_key(tmp_path, "ssh-ed25519")
    async with ssh_world(tmp_path, {"ada": Person("secret", {blob}, both=True)}) as world:
        argv = ["ssh", "-v", *SSH, "-o", "IdentitiesOnly=yes", "-i", str(path), "-p", str(world.port)]
        status, out, err = await run_program(*argv, "ada@127.0.0.1", "pwd", env=askpass(tmp_path, "secret"))
        assert (status, out) == (0, b"/start\n"), err
        assert b'Authenticated using "publickey" with partial success' in err
        assert b"Authentications that can continue: password\r\n" in err
        assert (await world.recorder.wait(LoggedIn)).method == "publickey+password"
        # the password alone is not enough, and neither is the key
        assert world.logins.asked == [("ada", "publickey"), ("ada", "password")]
        for method, word in (("password", "secret"), ("publickey", "")):
            status, out, err = await run_program(
                *argv,
                "-o",
                f"PreferredAuthentications={method}",
                "ada@127.0.0.1",
                "pwd",
                env=askpass(tmp_path, word),
            )
            assert status == 255, err
        assert len(world.recorder.of(LoggedIn)) == 1


async def test_key_and_password_with_paramiko(tmp_path):
    path, blob = make_key(tmp_path, "ssh-ed25519")
    async with ssh_world(tmp_path, {"ada": Person("secret", {blob}, both=True)}) as world:

        def client() -> list[list[str]]:
            steps = []
            transport = paramiko.Transport(("127.0.0.1", world.port))
            try:
                transport.start_client(timeout=10)
                steps.append(
                    transport.auth_publickey("ada", paramiko.Ed25519Key.from_private_key_file(str(path)))
                )
                assert not transport.is_authenticated()
                steps.append(transport.auth_password("ada", "secret"))
                assert transport.is_authenticated()
            finally:
                transport.close()
            return steps

        assert await asyncio.to_thread(client) == [["password"], []]


async def test_partial_success_of_one_user_is_worth_nothing_to_another(tmp_path):
    path, blob = make_key(tmp_path, "ssh-ed25519")
    people = {"ada": Person("secret", {blob}, both=True), "eve": Person("hers", both=True)}
    async with ssh_world(tmp_path, people) as world:

        def client() -> None:
            transport = paramiko.Transport(("127.0.0.1", world.port))
            try:
                transport.start_client(timeout=10)
                transport.auth_publickey("ada", paramiko.Ed25519Key.from_private_key_file(str(path)))
                with pytest.raises(paramiko.AuthenticationException):
                    transport.auth_password("eve", "hers")
                assert not transport.is_authenticated()
            finally:
                transport.close()

        await asyncio.to_thread(client)
        await world.recorder.wait(Disconnected)
        assert not world.recorder.of(LoggedIn)


class _ForgingKey(paramiko.Ed25519Key):
    """Names somebody's key and signs with another."""

    def __init__(self, named: bytes, signing: paramiko.Ed25519Key) -> None:
        self.named, self.signing = named, signing
        self.public_blob = None

    def asbytes(self) -> bytes:
        return self.named

    def get_name(self) -> str:
        return "ssh-ed25519"

    def sign_ssh_data(self, data, algorithm=None):
        return self.signing.sign_ssh_data(data)


async def test_naming_a_key_is_not_enough(tmp_path):
    _, blob = make_key(tmp_path, "ssh-ed25519", "hers")
    path, _ = make_key(tmp_path, "ssh-ed25519", "mine")
    async with ssh_world(tmp_path, {"ada": Person(keys={blob})}) as world:

        def client() -> None:
            transport = paramiko.Transport(("127.0.0.1", world.port))
            try:
                transport.start_client(timeout=10)
                mine = paramiko.Ed25519Key.from_private_key_file(str(path))
                with pytest.raises(paramiko.AuthenticationException):
                    transport.auth_publickey("ada", _ForgingKey(blob, mine))
                assert not transport.is_authenticated()
            finally:
                transport.close()

        await asyncio.to_thread(client)
        failed = await world.recorder.wait(LoginFailed)
        assert (failed.login_type, failed.reason) == ("publickey", "bad_signature")
        assert world.logins.asked == []  # identity never heard of it, so no last_login either
        assert not world.recorder.of(LoggedIn)


async def test_rsa_with_sha1_is_refused(tmp_path):
    path, blob = make_key(tmp_path, "ssh-rsa")
    async with ssh_world(tmp_path, {"ada": Person(keys={blob})}) as world:
        with pytest.raises(asyncssh.PermissionDenied):
            await world.connect(username="ada", client_keys=[Sha1Pair(str(path))])
        failed = await world.recorder.wait(LoginFailed)
        assert failed.reason == "bad_signature"


def Sha1Pair(path):
    from asyncssh.public_key import SSHLocalKeyPair

    class Pair(SSHLocalKeyPair):
        def set_sig_algorithm(self, sig_algorithm):
            super().set_sig_algorithm(b"ssh-rsa")

    key = asyncssh.read_private_key(path)
    return Pair(key, key.convert_to_public(), None, None)


async def test_after_six_wrong_passwords_the_connection_ends(tmp_path):
    async with ssh_world(tmp_path) as world:

        def client() -> int:
            transport = paramiko.Transport(("127.0.0.1", world.port))
            tries = 0
            try:
                transport.start_client(timeout=10)
                while transport.is_active():
                    tries += 1
                    with pytest.raises(paramiko.SSHException):
                        transport.auth_password("ada", f"guess {tries}", fallback=False)
            finally:
                transport.close()
            return tries

        assert await asyncio.to_thread(client) == 6
        assert (await world.recorder.wait(Disconnected)).by == "max_auth_tries"
        assert len(world.recorder.of(LoginFailed)) == 6


async def test_attempts_are_unlimited_below_zero(tmp_path):
    async with ssh_world(tmp_path, max_auth_tries=-1) as world:

        def client() -> None:
            transport = paramiko.Transport(("127.0.0.1", world.port))
            try:
                transport.start_client(timeout=10)
                for number in range(12):
                    with pytest.raises(paramiko.AuthenticationException):
                        transport.auth_password("ada", f"guess {number}", fallback=False)
                transport.auth_password("ada", "secret", fallback=False)
            finally:
                transport.close()

        await asyncio.to_thread(client)
        await world.recorder.wait(LoggedIn)


@needs_ssh
async def test_login_banner_comes_before_the_password(tmp_path):
    (tmp_path / "banner.txt").write_text("Authorised partners only.\n")
    async with ssh_world(tmp_path, login_banner_file="banner.txt", banner="Harbour_1.0") as world:
        status, _, err = await run_program(
            "ssh", "-v", *SSH, "-o", "BatchMode=yes", "-p", str(world.port), "ada@127.0.0.1"
        )
        assert status == 255
        assert b"Authorised partners only." in err
        assert b"remote software version Harbour_1.0" in err


async def test_the_whole_login_has_one_deadline(tmp_path):
    async with ssh_world(tmp_path, login_seconds=0.3) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"SSH-2.0-half")  # and never the end of the line
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
        gone = await world.recorder.wait(Disconnected)
        assert gone.by == "login deadline"
        assert (await world.recorder.wait(LoginFailed)).login_type == "no_auth_tried"


async def test_a_slow_judgement_falls_under_the_deadline_too(tmp_path):
    async with ssh_world(tmp_path, login_seconds=0.3) as world:
        world.logins.gate = asyncio.Event()
        with pytest.raises((asyncssh.Error, OSError)):
            await world.connect(username="ada", password="secret")
        assert (await world.recorder.wait(Disconnected)).by == "login deadline"
        assert (await world.recorder.wait(LoginFailed)).reason == "incomplete"
        world.logins.gate.set()


async def test_switched_off_methods_are_not_offered(tmp_path):
    async with ssh_world(
        tmp_path, password_authentication=False, keyboard_interactive_authentication=False
    ) as world:
        with pytest.raises(asyncssh.PermissionDenied):
            await world.connect(username="ada", password="secret")
        await world.recorder.wait(Disconnected)
        assert world.logins.asked == []


async def test_paramiko_client_tries_its_keys_and_then_the_password(tmp_path):
    wrong = [make_key(tmp_path, "ssh-ed25519", name)[0] for name in ("one", "two")]
    async with ssh_world(tmp_path) as world:

        def client() -> bytes:
            with paramiko.SSHClient() as ssh:
                ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
                ssh.connect(
                    "127.0.0.1", world.port, "ada", "secret", key_filename=[str(path) for path in wrong],
                    allow_agent=False, look_for_keys=False,
                )  # fmt: skip
                _, stdout, _ = ssh.exec_command("pwd")
                with ssh.open_sftp() as sftp:
                    assert sftp.listdir("/start") == []
                return stdout.read()

        assert await asyncio.to_thread(client) == b"/start\n"
        assert (await world.recorder.wait(LoggedIn)).method == "password"
        # it signs without asking first, so these were attempts
        assert [failed.login_type for failed in world.recorder.of(LoginFailed)] == ["publickey", "publickey"]


@pytest.mark.needs("plink", "psftp")
async def test_putty(tmp_path):
    async with ssh_world(tmp_path) as world:
        fingerprint = world.door.setup.fingerprints[0].split()[1]
        argv = [
            "-batch",
            "-P",
            str(world.port),
            "-l",
            "ada",
            "-pw",
            "secret",
            "-hostkey",
            fingerprint,
            "127.0.0.1",
        ]
        status, out, err = await run_program("plink", *argv, "pwd", env={"HOME": str(tmp_path)})
        assert (status, out) == (0, b"/start\n"), err
        world.sessions.files["/start/x"] = b"x"
        status, out, err = await run_program(
            "psftp", "-b", "/dev/stdin", *argv, stdin=b"ls /start\nquit\n", env={"HOME": str(tmp_path)}
        )
        assert status == 0, err
        assert b" x\n" in out


NAMES = ["a😀", "zo\u00eb", "\ufb01le", "\u05d0b", "x\u00ady", "\U0001fae0"]


@pytest.mark.parametrize("method", ["password", "publickey", "keyboard-interactive"])
async def test_names_are_as_typed(tmp_path, method):
    """Whatever can be stored can log in: SASLprep would refuse, or change, each of these."""
    key = paramiko.RSAKey.generate(2048)
    people = {name: Person("word", {key.asbytes()}) for name in NAMES}

    def client(port: int, name: str) -> None:
        transport = paramiko.Transport(("127.0.0.1", port))
        try:
            transport.start_client(timeout=10)
            match method:
                case "password":
                    transport.auth_password(name, "word", fallback=False)
                case "publickey":
                    transport.auth_publickey(name, key)
                case _:
                    transport.auth_interactive(name, lambda *_: ["word"])
        finally:
            transport.close()

    async with ssh_world(tmp_path, people) as world:
        for name in NAMES:
            await asyncio.to_thread(client, world.port, name)
            assert world.logins.asked[-1] == (name, method)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a" * 2000, b"a" * 9000, b"", b"\0"])
async def test_names_that_nobody_has_are_refused_and_not_cut(tmp_path, name):
    def client(port: int) -> None:
        transport = paramiko.Transport(("127.0.0.1", port))
        try:
            transport.start_client(timeout=10)
            with pytest.raises(paramiko.AuthenticationException):
                transport.auth_password(name, "word", fallback=False)
            assert transport.is_active()
            transport.auth_password("ada", "secret", fallback=False)
        finally:
            transport.close()

    async with ssh_world(tmp_path) as world:
        await asyncio.to_thread(client, world.port)
