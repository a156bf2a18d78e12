# SPDX-License-Identifier: Apache-2.0
"""Parts of the SSH door by themselves."""

from __future__ import annotations

import asyncio
import os
import stat

import asyncssh
import pytest
from asyncssh.encryption import get_encryption_algs
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from tidegate.doors.common import command_line
from tidegate.doors.ssh import command, commands, connection
from tidegate.doors.ssh.algorithms import Algorithms, key_types, resolve
from tidegate.doors.ssh.hostkeys import MADE_HOST_KEYS, load_host_keys
from tidegate.doors.ssh.options import SshOptions
from tidegate.doors.ssh.server import SshLogin
from tidegate.doors.ssh.setup import prepare
from tidegate.errors import ConfigError, OperatorError
from tidegate.model import Peer, Protocol


def test_defaults_hold_nothing_weak():
    chosen = resolve(Algorithms())
    everything = [
        name
        for names in (
            chosen.kex_algorithms, chosen.ciphers, chosen.macs, chosen.host_key_algorithms, chosen.public_key_algorithms,
        )
        for name in names
    ]  # fmt: skip
    for weak in ("sha1", "cbc", "arcfour", "3des", "md5", "-96", "ssh-dss", "umac-64"):
        assert not [name for name in everything if weak in name]
    assert "ssh-rsa" not in everything
    assert chosen.ciphers[:3] == (
        "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com",
    )  # fmt: skip
    assert chosen.kex_algorithms[0] == "mlkem768x25519-sha256"
    assert all(name.endswith("-etm@openssh.com") for name in chosen.macs[:2])


def test_an_unknown_algorithm_is_named_with_its_nearest():
    with pytest.raises(ConfigError) as error:
        resolve(Algorithms(ciphers=("aes128-gmc@openssh.com", "aes256-ctr"), macs=("hmac-sha2_256",)))
    assert [str(problem) for problem in error.value.problems] == [
        "sftpd.ciphers[0]: unknown algorithm 'aes128-gmc@openssh.com'; the nearest valid one is 'aes128-gcm@openssh.com'",
        "sftpd.macs[0]: unknown algorithm 'hmac-sha2_256'; the nearest valid one is 'hmac-sha2-256'",
    ]


def test_defaults_are_those_that_the_library_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIPS module of OpenSSL takes ChaCha20 away; a name that somebody wrote down stays an error."""
    there = [name for name in get_encryption_algs() if b"chacha20" not in name]
    monkeypatch.setattr("tidegate.doors.ssh.algorithms.get_encryption_algs", lambda: there)

    assert resolve(Algorithms()).ciphers[:3] == (
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-ctr",
    )
    with pytest.raises(ConfigError, match="chacha20"):
        resolve(Algorithms(ciphers=("chacha20-poly1305@openssh.com",)))


def test_legacy_names_are_kept_in_the_given_order_once():
    chosen = resolve(Algorithms(ciphers=("3des-cbc", "aes128-ctr", "3des-cbc")))
    assert chosen.ciphers == ("3des-cbc", "aes128-ctr")


def test_key_types():
    assert key_types(("rsa-sha2-256", "rsa-sha2-512")) == {b"ssh-rsa"}
    assert key_types(("sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256")) == {
        b"sk-ssh-ed25519@openssh.com",
        b"ecdsa-sha2-nistp256",
    }


def test_host_keys_are_made_once_and_private(tmp_path):
    os.umask(os.umask(0o077) | 0o022)
    first = load_host_keys(tmp_path)
    assert [key.get_algorithm() for key in first] == ["ssh-ed25519", "ssh-rsa"]
    for name in MADE_HOST_KEYS:
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert asyncssh.read_public_key(tmp_path / f"{name}.pub")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*MADE_HOST_KEYS, *(f"{name}.pub" for name in MADE_HOST_KEYS)]
    )
    assert [key.public_data for key in load_host_keys(tmp_path)] == [key.public_data for key in first]


def test_an_ecdsa_host_key_that_is_there_or_named_is_offered(tmp_path):
    assert load_host_keys(tmp_path, ["id_ecdsa"])[0].get_algorithm() == "ecdsa-sha2-nistp256"
    found = [key.get_algorithm() for key in load_host_keys(tmp_path)]
    assert found == ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_host_keys_that_others_can_use_are_refused(tmp_path, mode):
    load_host_keys(tmp_path, ["id_ed25519"])
    (tmp_path / "id_ed25519").chmod(mode)
    with pytest.raises(
        ConfigError, match=rf"id_ed25519 can be used by group or others \(mode {mode:04o}\); run: chmod"
    ):
        load_host_keys(tmp_path, ["id_ed25519"])


def test_bad_host_keys_are_named(tmp_path):
    with pytest.raises(ConfigError, match="mykey does not exist"):
        load_host_keys(tmp_path, ["mykey"])
    (tmp_path / "mykey").touch(0o600)
    with pytest.raises(ConfigError, match="mykey is not a private key"):
        load_host_keys(tmp_path, ["mykey"])
    locked = asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem", passphrase="x")
    (tmp_path / "mykey").write_bytes(locked)
    with pytest.raises(ConfigError, match="mykey is protected by a passphrase"):
        load_host_keys(tmp_path, ["mykey"])
    (tmp_path / "mykey").write_bytes(b"x" * 100_000)
    with pytest.raises(ConfigError, match="longer than"):
        load_host_keys(tmp_path, ["mykey"])


def test_a_host_key_whose_halves_do_not_fit_is_refused(tmp_path):
    whole = rsa.generate_private_key(65537, 2048).private_numbers()
    public = rsa.RSAPublicNumbers(3, whole.public_numbers.n)
    other = rsa.RSAPrivateNumbers(
        whole.p, whole.q, whole.d, whole.dmp1, whole.dmq1, whole.iqmp, public
    ).private_key(unsafe_skip_rsa_key_validation=True)
    text = other.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (tmp_path / "mykey").touch(0o600)
    (tmp_path / "mykey").write_bytes(text)
    with pytest.raises(ConfigError, match=r"host key .*mykey is damaged: what it signs does not fit"):
        load_host_keys(tmp_path, ["mykey"])


async def test_options_are_checked(tmp_path):
    keys = {"config_dir": tmp_path, "host_keys": ("id_ed25519",)}
    setup = await prepare(SshOptions(**keys), asyncssh.SSHServer)
    assert list(setup.connection.server_host_keys) == [b"ssh-ed25519"]
    for bad, text in (
        ({"banner": "new\nline"}, "sftpd.banner"),
        ({"banner": "x" * 300}, "sftpd.banner"),
        ({"login_banner_file": "none.txt"}, "none.txt cannot be read: No such file"),
        ({"algorithms": Algorithms(host_key_algorithms=("rsa-sha2-256",))}, "none fits the host keys"),
    ):
        with pytest.raises(ConfigError, match=text):
            await prepare(SshOptions(**keys, **bad), asyncssh.SSHServer)
    (tmp_path / "banner").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        await prepare(SshOptions(**keys, login_banner_file="banner"), asyncssh.SSHServer)


ALL = ("*",)


@pytest.mark.parametrize(
    ("line", "enabled", "expected"),
    [
        ("md5sum a", ("md5sum",), ("md5sum", ("a",))),
        ("md5sum 'a b' \"c\" d\\ e", ALL, ("md5sum", ("a b", "c", "d e"))),
        ("md5sum $(id) `id` *", ALL, ("md5sum", ("$(id)", "`id`", "*"))),
        ("md5sum a", ("sha1sum",), None),
        ("md5sum 'a", ALL, None),
        ("sftpgo-copy a b", ("tidegate-copy",), ("sftpgo-copy", ("a", "b"))),
        ("tidegate-remove a", ("sftpgo-remove",), ("tidegate-remove", ("a",))),
        ("ls -1 'a b'", ("scp",), ("ls", ("-1", "a b"))),
        ("rm a", ("md5sum",), None),
        ("echo ${ShellId}%ComSpec%", ("b3sum",), ("echo", ("${ShellId}%ComSpec%",))),
        ("echo ${ShellId}%ComSpec%", ("scp",), None),
        ("echo hello", ALL, None),
        ("df -k", ("scp",), None),
        ("sh -c id", ALL, None),
        ("", ALL, None),
        ("  ", ALL, None),
        ("md5sum a\0b", ALL, None),
        ("md5sum " + "a" * command_line.MAX_COMMAND, ALL, None),
        ("md5sum" + " a" * command_line.MAX_ARGUMENTS, ALL, None),
    ],
)
def test_command_lines(line, enabled, expected):
    found = commands.parse(line, enabled)
    assert (found and (found.name, found.arguments)) == expected


@given(st.text(max_size=200))
def test_parsing_never_fails(line):
    commands.parse(line, ALL)


async def test_input_holds_the_client_back():
    calls: list[str] = []
    source = command.Input(lambda: calls.append("pause"), lambda: calls.append("resume"))
    source.put(bytes(command.STDIN_LIMIT))
    assert calls == []
    source.put(b"x")
    assert calls == ["pause"]
    reader = aiter(source)
    assert len(await anext(reader)) == command.STDIN_LIMIT
    assert calls == ["pause", "resume"]
    assert await anext(reader) == b"x"
    waiting = asyncio.ensure_future(anext(reader, None))
    await asyncio.sleep(0)
    assert not waiting.done()
    source.end()
    assert await waiting is None


def test_self_check_accepts_this_library_and_refuses_a_changed_one(monkeypatch):
    connection.self_check()
    with monkeypatch.context() as patch:
        patch.setattr(connection.SSHServerConnection, "validate_public_key", lambda self, username: True)
        with pytest.raises(
            OperatorError, match=r"asyncssh .* is not supported: SSHServerConnection\.validate_public_key"
        ):
            connection.self_check()
    with monkeypatch.context() as patch:
        patch.delattr(asyncssh.SSHServerChannel, "_process_env_request")
        with pytest.raises(OperatorError, match="_process_env_request"):
            connection.self_check()


def test_tiny_packets_for_a_paused_channel_are_held_in_one_piece():
    channel = connection.DoorChannel.__new__(connection.DoorChannel)
    channel._recv_paused, channel._recv_buf, channel._send_state, channel._recv_window = True, [], "open", 100
    for number in range(50):
        channel._accept_data(bytes([number]))
    assert len(channel._recv_buf) == 1
    assert bytes(channel._recv_buf[0][0]) == bytes(range(50))
    assert channel._recv_window == 50


def test_a_login_that_nobody_judged_is_cut_off():
    login = SshLogin.__new__(SshLogin)
    login.principal, login.peer = None, Peer("id", Protocol.SSH, "192.0.2.1")
    with pytest.raises(asyncssh.DisconnectError):
        login.auth_completed()
