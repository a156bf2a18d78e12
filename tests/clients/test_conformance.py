# SPDX-License-Identifier: Apache-2.0
"""The SFTP tests that asyncssh and paramiko wrote for themselves pass with Tidegate as the server.

What is left out, and why, is in `tests/data/conformance.toml` and docs/adr/0012-conformance-suites.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest
from tests.support import conformance
from tests.support.conformance_inside.gateway import Gateway

ROOT = os.geteuid() == 0


@pytest.mark.timeout(conformance.FETCH_SECONDS + conformance.RUN_SECONDS + 20)
@pytest.mark.needs(*(["setpriv"] if ROOT else []))
@pytest.mark.parametrize("name", ["asyncssh", "paramiko"])
def test_their_suite_passes(name: str, tmp_path: Path) -> None:
    outcome = conformance.run(name, tmp_path)

    assert outcome.failed == {}
    entry = conformance.suite(name)
    groups = [group for group in entry["left_out"] if not (ROOT and group.get("root_can"))]
    assert outcome.unused == []
    assert outcome.left_out == {group["name"]: group["count"] for group in groups}
    for_root = sum(group["count"] for group in groups if group.get("root_can"))
    assert len(outcome.passed) >= entry["passed"] - for_root, outcome.skipped


@contextlib.contextmanager
def serving(directory: Path, banner: str = "") -> Iterator[tuple[Gateway, Path, Path]]:
    """A server, the home of its account ``ada``, and her private key."""
    home = directory / "home"
    home.mkdir()
    key = directory / "key"
    made = asyncssh.generate_private_key("ssh-ed25519")
    made.write_private_key(key)
    key.chmod(0o600)
    account = {"username": "ada", "public_keys": (made.export_public_key().decode().strip(),)}
    server = Gateway(home, key, account, banner=banner).start()
    try:
        yield server, home, key
    finally:
        server.stop()


def test_links_over_paramiko(tmp_path: Path) -> None:
    """The part of paramiko's own test of links that does not ask for an absolute text back."""
    with (
        serving(tmp_path) as (server, home, key),
        paramiko.Transport(("127.0.0.1", server.port)) as transport,
    ):
        (home / "sub").mkdir()
        (home / "sub/original").write_text("original\n")
        transport.connect(username="ada", pkey=paramiko.Ed25519Key.from_private_key_file(str(key)))
        with paramiko.SFTPClient.from_transport(transport) as sftp:
            sftp.symlink("original", "/sub/link")
            sftp.symlink("/sub/original", "/sub/link2")

            assert sftp.readlink("/sub/link") == "original"
            assert sftp.readlink("/sub/link2") == "/sub/original"
            for name in ("/sub/link", "/sub/link2"):
                assert sftp.lstat(name).st_size == len(sftp.readlink(name))
                assert sftp.stat(name).st_size == 9
                with sftp.open(name) as file:
                    assert file.read() == b"original\n"
            with pytest.raises(FileNotFoundError, match="No such file"):
                sftp.stat("/sub/nothing")
