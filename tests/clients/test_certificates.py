# SPDX-License-Identifier: Apache-2.0
"""Certificates that ssh-keygen makes, of users and of the host, with real clients against the product."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest
from tests.support.running import Person, Running, wait_for
from tests.support.ssh_world import SSH, run_program

from tidegate.model import Filters

pytestmark = pytest.mark.needs("ssh", "ssh-keygen")

KINDS = ("ed25519", "rsa", "ecdsa")


def keygen(*argv: object, cwd: Path | None = None) -> str:
    """Run ssh-keygen; returns what it prints."""
    command = ["ssh-keygen", "-q", *map(str, argv)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd=cwd)
    return done.stdout


def new_key(path: Path, kind: str = "ed25519") -> Path:
    keygen("-t", kind, "-N", "", "-C", path.name, "-f", path)
    return path


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory: Path, name: str = "ca", kind: str = "ed25519") -> None:
        self.directory = directory
        self.key = new_key(directory / name, kind)
        self._made = 0

    def sign(self, principal: str, *more: object, kind: str = "ed25519", key: Path | None = None) -> Path:
        """A new key (or a given one) with a certificate; returns the private key file."""
        self._made += 1
        if key is None:
            key = new_key(self.directory / f"{self.key.name}-user{self._made}", kind)
        names = ["-n", principal] if principal else []
        validity = [] if "-V" in more else ["-V", "-5m:+10m"]
        keygen("-s", self.key, "-I", f"id-{self._made}", *names, *validity, *more, key.with_suffix(".pub"))
        return key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    revoked = authority.directory / "revoked"
    revoked.write_text("")
    host = tmp_path_factory.mktemp("certs") / "config"
    made = Running(
        host,
        settings={
            "sftpd": {
                "trusted_user_ca_keys": [str(authority.key.with_suffix(".pub"))],
                "revoked_user_certs_file": str(revoked),
                "host_certificates": ["id_ed25519-cert.pub"],
            }
        },
    )
    keygen("-s", authority.key, "-h", "-I", "host", "-n", "127.0.0.1", host / "id_ed25519.pub")
    try:
        made.start()
        yield made
        made.stop()
    finally:
        made.kill()


@pytest.fixture
def revoked(authority: Authority, server: Running) -> Iterator[Path]:
    path = authority.directory / "revoked"
    yield path
    path.write_text("")


def person_without_key(server: Running, **more: object) -> Person:
    return server.account(public_keys=(), **more)


async def ssh(person: Person, key: Path, *more: str, command: str = "pwd") -> tuple[int, bytes, bytes]:
    certificate = key.with_name(f"{key.name}-cert.pub")
    argv = ["ssh", "-v", *SSH, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i", str(key)]
    argv += ["-o", f"CertificateFile={certificate}", *more, "-p", str(person.port)]
    return await run_program(*argv, f"{person.name}@127.0.0.1", command)


async def assert_refused(person: Person, key: Path, rule: str, *more: str) -> None:
    """A login by this certificate is refused, and the log says by which rule."""
    status, out, err = await ssh(person, key, *more)
    assert (status, out) == (255, b""), err
    server = person.server
    server.wait_line("connection_failed", username=person.name, rule=f"certificate[{rule}]")
    assert not server.lines("login", username=person.name)


# -- users -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_openssh(server: Running, authority: Authority, kind: str) -> None:
    person = person_without_key(server)
    status, out, err = await ssh(person, authority.sign(person.name, kind=kind))
    assert (status, out) == (0, b"/\n"), err
    server.wait_line("login", username=person.name, method="publickey")


@pytest.mark.parametrize("kind", KINDS)
async def test_other_authorities_of_every_kind(
    server: Running, authority: Authority, tmp_path: Path, kind: str
) -> None:
    """Authorities that are added and taken away by SIGHUP; several stand in one file."""
    other = Authority(tmp_path, "other", kind)
    person = person_without_key(server)
    key = other.sign(person.name)
    await assert_refused(person, key, "authority")
    file = authority.key.with_suffix(".pub")
    before = file.read_text()
    file.write_text(f"# both\n{before}\n{other.key.with_suffix('.pub').read_text()}")
    try:
        reload(server)
        status, out, err = await ssh(person, key)
        assert (status, out) == (0, b"/\n"), err
    finally:
        file.write_text(before)
        reload(server)
    assert (await ssh(person, key))[0] == 255


async def test_a_reload_with_a_mistake_changes_nothing(server: Running, authority: Authority) -> None:
    person = person_without_key(server)
    key = authority.sign(person.name)
    file = authority.key.with_suffix(".pub")
    before = file.read_text()
    server.expected_errors.append("not reloaded: sftpd.trusted_user_ca_keys[0]")
    file.write_text(key.with_name(f"{key.name}-cert.pub").read_text())
    try:
        seen = len(server.lines(level="error"))
        server.send(signal.SIGHUP)
        wait_for(lambda: len(server.lines(level="error")) > seen, "nothing was said")
        assert "this is a certificate" in server.lines(level="error")[-1]["message"]
        assert (await ssh(person, key))[0] == 0
    finally:
        file.write_text(before)
        reload(server)


def reload(server: Running) -> None:
    """SIGHUP, and wait until it has been taken."""
    before = len(server.lines(message="configuration reloaded"))
    server.send(signal.SIGHUP)
    wait_for(lambda: len(server.lines(message="configuration reloaded")) > before, "not reloaded")


def paramiko_lists(person: Person, key: Path) -> list[str]:
    """The names in the home, by paramiko, which signs without asking first."""
    loaded = paramiko.Ed25519Key.from_private_key_file(str(key))
    loaded.load_certificate(f"{key}-cert.pub")
    transport = paramiko.Transport(("127.0.0.1", person.port))
    try:
        transport.start_client(timeout=10)
        transport.auth_publickey(person.name, loaded)
        files = paramiko.SFTPClient.from_transport(transport)
        assert files is not None
        return files.listdir("/")
    finally:
        transport.close()


async def test_asyncssh_and_paramiko(server: Running, authority: Authority) -> None:
    person = person_without_key(server)
    key = authority.sign(person.name)
    async with person.connect(client_keys=[(str(key), f"{key}-cert.pub")]) as client:
        assert (await client.run("pwd")).stdout == "/\n"
    assert await asyncio.to_thread(paramiko_lists, person, key) == []


async def test_a_certificate_of_a_host_is_none_of_a_user(server: Running, authority: Authority) -> None:
    """OpenSSH does not offer one; paramiko does."""
    person = person_without_key(server)
    key = authority.sign(person.name, "-h")
    with pytest.raises(paramiko.AuthenticationException):
        await asyncio.to_thread(paramiko_lists, person, key)
    server.wait_line("connection_failed", username=person.name, rule="certificate[kind]")


async def test_what_is_refused(server: Running, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    for rule, who, principal, more in (
        ("principal", authority, "somebody", ()),
        ("principal", authority, "", ()),
        ("validity", authority, None, ("-V", "-2h:-1h")),
        ("validity", authority, None, ("-V", "+1h:+2h")),
        ("authority", stranger, None, ()),
        ("source-address", authority, None, ("-O", "source-address=192.0.2.0/24")),
        ("force-command", authority, None, ("-O", "force-command=/bin/sh")),
        ("force-command", authority, None, ("-O", "force-command=internal-sftp -R")),
        ("option", authority, None, ("-O", "critical:tidegate@example.org=1")),
        ("option", authority, None, ("-O", "verify-required")),
    ):
        person = person_without_key(server)
        key = who.sign(person.name if principal is None else principal, *more)
        await assert_refused(person, key, rule)


async def test_a_certificate_in_place_of_an_authority_is_refused(
    server: Running, authority: Authority, tmp_path: Path
) -> None:
    """The holder of a certificate cannot sign others: their key is no authority."""
    person = person_without_key(server)
    holder = Authority(tmp_path, "holder")
    keygen("-s", authority.key, "-I", "x", "-n", person.name, holder.key.with_suffix(".pub"))
    await assert_refused(person, holder.sign(person.name), "authority")


async def test_options_that_are_honoured(server: Running, authority: Authority) -> None:
    person = person_without_key(server)
    key = authority.sign(
        person.name, "-O", "source-address=192.0.2.0/24,127.0.0.0/8", "-O", "force-command=internal-sftp",
        "-O", "extension:anything@example.org=x",
    )  # fmt: skip
    status, out, err = await ssh(person, key)
    assert (status, out) == (1, b""), err
    server.wait_line("refused", username=person.name, intent="ssh_command")
    connected = person.connect(client_keys=[(str(key), f"{key}-cert.pub")])
    async with connected as client, client.start_sftp_client() as files:
        assert await files.realpath(".") == "/"


async def test_rules_of_the_account_go_on_applying(server: Running, authority: Authority) -> None:
    for reason, more in (
        ("disabled", {"status": 0}),
        ("method", {"filters": Filters(denied_login_methods=("publickey",))}),
        ("address", {"filters": Filters(denied_ip=("127.0.0.0/8",))}),
    ):
        person = person_without_key(server, **more)
        assert (await ssh(person, authority.sign(person.name)))[0] == 255
        server.wait_line("connection_failed", username=person.name, error=reason)
    nobody = Person(server, "nobody-at-all", "", server.key, server.homes)
    assert (await ssh(nobody, authority.sign("nobody-at-all")))[0] == 255


async def test_a_certificate_is_the_first_of_two_steps(server: Running, authority: Authority) -> None:
    single = ("publickey", "password", "keyboard-interactive")
    person = person_without_key(server, filters=Filters(denied_login_methods=single))
    key = authority.sign(person.name, "-O", "force-command=internal-sftp")
    assert (await ssh(person, key))[0] == 255
    async with person.connect(
        client_keys=[(str(key), f"{key}-cert.pub")],
        password=person.password,
        preferred_auth="publickey,password",
    ) as client:
        assert (await client.run("pwd")).exit_status == 1  # the certificate still forbids commands
    server.wait_line("login", username=person.name, method="publickey+password")


async def test_a_stolen_certificate_without_its_key_is_nothing(server: Running, authority: Authority) -> None:
    person = person_without_key(server)
    key = authority.sign(person.name)
    other = new_key(key.with_name(f"{key.name}-thief"))
    blob = asyncssh.read_certificate(f"{key}-cert.pub").public_data

    class Forger(paramiko.Ed25519Key):
        def asbytes(self) -> bytes:
            return blob

        def get_name(self) -> str:
            return "ssh-ed25519-cert-v01@openssh.com"

    def client() -> None:
        transport = paramiko.Transport(("127.0.0.1", person.port))
        try:
            transport.start_client(timeout=10)
            with pytest.raises(paramiko.AuthenticationException):
                transport.auth_publickey(person.name, Forger.from_private_key_file(str(other)))
        finally:
            transport.close()

    await asyncio.to_thread(client)
    server.wait_line("connection_failed", username=person.name, error="bad_signature")


# -- revocation ------------------------------------------------------------------------------------------


def fingerprint(path: Path) -> str:
    return keygen("-l", "-f", path).split()[1]


async def test_revoked_by_each_form(server: Running, authority: Authority, revoked: Path) -> None:
    person = person_without_key(server)
    key = authority.sign(person.name, "-z", "77")
    certificate = key.with_name(f"{key.name}-cert.pub")
    spec = authority.directory / "spec"
    key_id = next(line for line in keygen("-L", "-f", certificate).splitlines() if "Key ID" in line).split(
        '"'
    )[1]
    public, ca = key.with_suffix(".pub"), authority.key.with_suffix(".pub")
    for text in (
        json.dumps([fingerprint(key.with_suffix(".pub"))]),
        json.dumps([fingerprint(ca)]),
        "# left us\nserial: 77\n",
        "serial: 70-80",
        f"id: {key_id}",
        f"key: {public.read_text()}",
        certificate.read_text(),
        f"sha256: {public.read_text()}",
        f"hash: {fingerprint(public)}",
    ):
        revoked.write_text(text)
        assert (await ssh(person, key))[0] == 255, text
    for text in ("serial: 77", "serial: 60-90", "serial: 71\nserial: 77\nserial: 79", f"id: {key_id}",
                 f"key: {public.read_text()}", f"sha1: {public.read_text()}", f"sha256: {public.read_text()}"):  # fmt: skip
        spec.write_text(text)
        keygen("-k", "-f", revoked, "-s", ca, spec)
        assert (await ssh(person, key))[0] == 255, text
    spec.write_text("serial: 78\nid: other")
    keygen("-k", "-f", revoked, "-s", ca, spec)
    assert (await ssh(person, key))[0] == 0
    server.wait_line("connection_failed", username=person.name, rule="certificate[revoked]")


async def test_a_broken_list_refuses_certificates_and_nothing_else(
    server: Running, authority: Authority, revoked: Path
) -> None:
    person = server.account()
    key = authority.sign(person.name)
    server.expected_errors.append("certificates are refused: sftpd.revoked_user_certs_file")
    revoked.write_text('["SHA256:short"]')
    await assert_refused(person, key, "revocations")
    async with person.connect():
        pass
    revoked.write_text("")
    assert (await ssh(person, key))[0] == 0


# -- the host ----------------------------------------------------------------------------------------------


async def test_a_client_that_trusts_the_authority_needs_no_key_of_the_host(
    server: Running, authority: Authority, tmp_path: Path
) -> None:
    person = server.account()
    known = tmp_path / "known"
    known.write_text(f"@cert-authority * {authority.key.with_suffix('.pub').read_text()}")
    argv = ["ssh", "-v", "-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
    argv += ["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i", str(person.key), "-p", str(person.port)]
    status, out, err = await run_program(*argv, f"{person.name}@127.0.0.1", "pwd")
    assert (status, out) == (0, b"/\n"), err
    assert b"Server host certificate: ssh-ed25519-cert-v01@openssh.com" in err
    # A client that knows the key and no authority goes on as before.
    host = (server.directory / "id_ed25519.pub").read_text()
    known.write_text(f"[127.0.0.1]:{person.port} {host}")
    status, out, err = await run_program(*argv, f"{person.name}@127.0.0.1", "pwd")
    assert (status, out) == (0, b"/\n"), err
    # The certificate of another authority is none.
    known.write_text(f"@cert-authority * {(server.directory / 'client_key.pub').read_text()}")
    assert (await run_program(*argv, f"{person.name}@127.0.0.1", "pwd"))[0] == 255


async def test_host_certificates_of_every_kind(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    names = ["id_ed25519", "id_ecdsa", "id_rsa"]
    section = {"host_keys": names, "host_certificates": [f"{name}-cert.pub" for name in names]}
    server = Running(tmp_path / "config", settings={"sftpd": section})
    for name, kind in (("id_ecdsa", "ecdsa"), ("id_rsa", "rsa")):
        new_key(server.directory / name, kind)
    for name in names:
        public = server.directory / f"{name}.pub"
        keygen("-s", authority.key, "-h", "-I", name, "-n", "127.0.0.1", public)
    try:
        server.start()
        person = server.account()
        known = tmp_path / "known"
        known.write_text(f"@cert-authority * {authority.key.with_suffix('.pub').read_text()}")
        for algorithm in (
            "ssh-ed25519-cert-v01@openssh.com",
            "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            "rsa-sha2-512-cert-v01@openssh.com",
            "rsa-sha2-256-cert-v01@openssh.com",
        ):
            argv = ["ssh", "-v", "-F", "none", "-o", f"UserKnownHostsFile={known}"]
            argv += ["-o", "StrictHostKeyChecking=yes", "-o", f"HostKeyAlgorithms={algorithm}"]
            argv += ["-o", "IdentitiesOnly=yes", "-i", str(person.key), "-p", str(person.port)]
            status, out, err = await run_program(*argv, f"{person.name}@127.0.0.1", "pwd")
            assert (status, out) == (0, b"/\n"), err
        server.stop()
    finally:
        server.kill()
