# SPDX-License-Identifier: Apache-2.0
"""Host certificates at start and in `check`: which belong to which key, and what is wrong with the others."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.command_line import tidegate

from tidegate.doors.ssh.hostcertificates import load_host_certificates
from tidegate.doors.ssh.options import SshOptions
from tidegate.doors.ssh.setup import prepare
from tidegate.errors import ConfigError

CA = asyncssh.generate_private_key("ssh-ed25519")
KEYS = [asyncssh.generate_private_key(kind) for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256")]


def written(path: Path, key: asyncssh.SSHKey = KEYS[0], *, user: bool = False, **more: Any) -> str:
    """A certificate in a file; returns its name."""
    make = CA.generate_user_certificate if user else CA.generate_host_certificate
    make(key, "id", **{"principals": ["host.example.org"], **more}).write_certificate(path)
    return path.name


def problems(directory: Path, *names: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_host_certificates(directory, names, KEYS)
    return [str(problem) for problem in caught.value.problems]


async def test_each_algorithm_has_its_certificate_and_keys_without_one_stay(tmp_path: Path) -> None:
    name = written(tmp_path / "one")
    setup = await prepare(
        SshOptions(config_dir=tmp_path, memory_keys=tuple(KEYS), host_certificates=(name,)), lambda: None
    )
    assert [algorithm.decode() for algorithm in setup.connection.server_host_keys] == [
        "ssh-ed25519-cert-v01@openssh.com",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
    ]


def test_every_mistake_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate")
    KEYS[0].write_public_key(tmp_path / "key")
    names = [
        written(tmp_path / "user", user=True),
        written(tmp_path / "nobody", principals=[]),
        written(tmp_path / "other", asyncssh.generate_private_key("ssh-ed25519")),
        written(tmp_path / "good"),
        written(tmp_path / "again"),
        "text",
        "key",
        "missing",
    ]
    found = problems(tmp_path, *names)
    assert [text.split(":")[0] for text in found] == [
        f"sftpd.host_certificates[{index}]" for index in (0, 1, 2, 4, 5, 6, 7)
    ]
    for text, what in zip(
        found,
        (
            "it is a user's certificate",
            "it names no hosts",
            "it belongs to none of the host keys",
            "another one in the list",
            "it is no OpenSSH certificate",
            "it is no OpenSSH certificate",
            "No such file",
        ),
        strict=True,
    ):
        assert what in text


def test_times_that_are_over_are_told_and_do_not_stop_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [
        written(tmp_path / "old", valid_after=1, valid_before=2),
        written(tmp_path / "new", KEYS[1], valid_after=2**40, valid_before=2**41),
    ]
    with caplog.at_level(logging.WARNING):
        assert len(load_host_certificates(tmp_path, names, KEYS)) == 2
    assert "old has expired" in caplog.text
    assert "new is not valid yet" in caplog.text


def test_check_reads_all_files(tmp_path: Path) -> None:
    KEYS[0].write_private_key(tmp_path / "id_ed25519")
    (tmp_path / "id_ed25519").chmod(0o600)
    CA.write_public_key(tmp_path / "ca.pub")
    (tmp_path / "revoked").write_text("serial: 5")
    section: dict[str, Any] = {
        "host_keys": ["id_ed25519"],
        "host_certificates": [written(tmp_path / "good")],
        "trusted_user_ca_keys": ["ca.pub"],
        "revoked_user_certs_file": "revoked",
    }

    def checked(**more: Any) -> Any:
        config = {"sftpd": {**section, **more}, "httpd": {"bindings": []}}
        (tmp_path / "tidegate.json").write_text(json.dumps(config))
        return tidegate("check", "-c", tmp_path)

    good = checked()
    assert "host certificates: 1" in good.out
    assert "user certificates: 1 trusted authorities, 1 revocations" in good.out
    for more, said in (
        ({"host_certificates": [written(tmp_path / "user", user=True)]}, "it is a user's certificate"),
        ({"trusted_user_ca_keys": ["good"]}, "this is a certificate"),
        ({"trusted_user_ca_keys": ["none"]}, "sftpd.trusted_user_ca_keys[0]"),
        ({"trusted_user_ca_keys": []}, "revokes nothing while"),
        ({"revoked_user_certs_file": "ca.pub2"}, "sftpd.revoked_user_certs_file"),
    ):
        done = checked(**more)
        assert done.code == 1
        assert said in done.out + done.err, (more, done.out, done.err)
    (tmp_path / "revoked").write_text("serial: five")
    assert "revoked:1" in checked().err + checked().out
