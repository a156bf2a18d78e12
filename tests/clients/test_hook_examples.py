# SPDX-License-Identifier: Apache-2.0
"""The examples of login hooks, as they are, and those that SFTPGo's own documents showed, completed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.hook_world import ask, hook_world
from tests.support.ports import free_port

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "login-hooks"


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """The examples, where nobody else may write."""
    place = tmp_path / "examples"
    shutil.copytree(EXAMPLES, place)
    place.chmod(0o755)
    return place


async def test_office_hours(tmp_path: Path, examples: Path) -> None:
    clock = tmp_path / "date"
    clock.write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/now\n")
    clock.chmod(0o755)
    sections = {
        "data_provider": {"pre_login_program": str(examples / "office-hours.sh")},
        "command": {"env": [f"PATH={tmp_path}:/usr/bin:/bin"]},
    }
    async with hook_world(tmp_path, **sections) as world:
        await world.add("test_user", password="pw")
        await world.add("other", password="pw")
        for now, let_in in (
            ("09:59", False),
            ("10:00", True),
            ("17:30", True),
            ("18:01", False),
            ("12:00", True),
        ):
            (tmp_path / "now").write_text(now)
            assert await world.sftp("test_user", "pw") == let_in, now
            assert await world.sftp("other", "pw")


async def test_two_stages(tmp_path: Path, examples: Path) -> None:
    hook = str(examples / "two-stages.sh")
    async with hook_world(tmp_path, sftpd={"keyboard_interactive_auth_program": hook}) as world:
        await world.add("i1")
        let_in, person = await ask(world, "i1", "one", "two", "answer3")
        assert let_in
        assert person.seen == [
            (
                "This is a sample for keyboard interactive authentication",
                [("Question1: ", True), ("Question2: ", False)],
            ),
            ("", [("Question3: ", True)]),
        ]
        assert not (await ask(world, "i1", "one", "two", "answer4"))[0]


async def test_password_and_token(tmp_path: Path, examples: Path) -> None:
    (tmp_path / "tokens").write_text("i1:12.4\n")
    sections = {
        "sftpd": {"keyboard_interactive_auth_hook": str(examples / "password-and-token.sh")},
        "command": {"env": [f"TOKENS={tmp_path}/tokens", "PATH=/usr/bin:/bin"]},
    }
    async with hook_world(tmp_path, **sections) as world:
        await world.add("i1", password="pw-i1")
        assert (await ask(world, "i1", "pw-i1", "12.4"))[0]
        assert not (await ask(world, "i1", "pw-i1", "1234"))[0]
        assert not (await ask(world, "i1", "other", "12.4"))[0]


async def test_python(tmp_path: Path, examples: Path) -> None:
    salt = os.urandom(16)
    made = hashlib.scrypt(b"pw-acme", salt=salt, n=2**14, r=8, p=1).hex()
    partners = {"acme": {"salt": salt.hex(), "scrypt": made, "home": str(tmp_path / "homes" / "acme")}}
    (tmp_path / "partners.json").write_text(json.dumps(partners))
    hook = str(examples / "external_auth.py")
    sections = {
        "data_provider": {"external_auth_hook": hook, "external_auth_scope": 1},
        "command": {"commands": [{"path": hook, "env": [f"PARTNERS={tmp_path}/partners.json"]}]},
    }
    async with hook_world(tmp_path, **sections) as world:
        assert await world.sftp("acme", "pw-acme")
        assert await world.ftp("acme", "pw-acme")
        assert not await world.sftp("acme", "wrong")
        assert not await world.sftp("nobody", "pw-acme")


@contextlib.contextmanager
def directory_server(place: Path) -> Iterator[str]:
    """A real slapd with one person, on loopback."""
    place.mkdir()
    (place / "data").mkdir()
    port = free_port()
    (place / "slapd.conf").write_text(
        f"include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n"
        f"include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        f"pidfile {place}/pid\ndatabase mdb\nmaxsize 1048576\nsuffix dc=example,dc=org\n"
        f"rootdn cn=root,dc=example,dc=org\nrootpw root\ndirectory {place}/data\n"
    )
    (place / "people.ldif").write_text(
        "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\n"
        "dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n"
        "dn: uid=ana,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: ana\ncn: Ana\nsn: A\n"
        "userPassword: pw of ana\n"
    )
    tools = ["/usr/sbin/slapadd", "-f", str(place / "slapd.conf"), "-l", str(place / "people.ldif")]
    subprocess.run(tools, check=True, capture_output=True)
    url = f"ldap://127.0.0.1:{port}"
    slapd = subprocess.Popen(
        ["/usr/sbin/slapd", "-d", "0", "-f", str(place / "slapd.conf"), "-h", url],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "slapd does not listen"
            assert slapd.poll() is None, "slapd ended"
            time.sleep(0.02)
        yield url
    finally:
        slapd.send_signal(signal.SIGTERM)
        slapd.wait(20)


@pytest.mark.needs("/usr/sbin/slapd", "ldapwhoami")
async def test_a_directory(tmp_path: Path, examples: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = str(examples / "ldap.sh")
    with directory_server(tmp_path / "slapd") as url:
        environment = [
            "PATH=/usr/bin:/bin", f"LDAP_URL={url}", "LDAP_BASE=ou=people,dc=example,dc=org",
            f"HOMES={tmp_path}/homes",
        ]  # fmt: skip
        sections = {
            "data_provider": {"external_auth_hook": hook, "external_auth_scope": 1},
            "command": {"commands": [{"path": hook, "env": environment}]},
        }
        async with hook_world(tmp_path, **sections) as world:
            assert await world.sftp("ana", "pw of ana")
            assert await world.ftp("ana", "pw of ana")
            assert await world.http("ana", "pw of ana")
            stored = await world.stored("ana")
            assert stored is not None
            assert stored["home_dir"] == f"{tmp_path}/homes/ana"
            for name, password in (
                ("ana", "wrong"), ("bob", "pw of ana"), ("ana,ou=people", "pw of ana"), ("*", "pw of ana"),
                ("ana)(uid=*", "pw of ana"), ('ana"', "pw of ana"),
            ):  # fmt: skip
                assert not await world.sftp(name, password), name
            assert not await world.http("ana", "")
    assert "pw of ana" not in caplog.text
