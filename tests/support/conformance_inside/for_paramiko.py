# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: paramiko's SFTP tests talk to Tidegate. Replaces the fixtures of their conftest (which is not read).

The tests make and look at some files beside the server, so they run in the home of the account.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from gateway import Gateway
from selection import suite

from tidegate.identity.passwords import HashOptions, hash_password

FOLDER = "paramiko-test-target"
"""The place of each test, relative to the home."""


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("home")
    key = Path(os.environ["CONFORMANCE_SOURCE"], "tests", "_support", "ed25519.key")
    cheap = HashOptions(argon2_memory_kib=64, argon2_iterations=1, argon2_parallelism=1)
    account = {"username": "slowdive", "password": hash_password("pygmalion", cheap)}
    before = Path.cwd()
    os.chdir(home)
    server = Gateway(home, key, account, **suite()["sftpd"]).start()
    yield server
    server.stop()
    os.chdir(before)


@pytest.fixture
def sftp_server(gateway: Gateway) -> Iterator[paramiko.Transport]:
    transport = paramiko.Transport(("127.0.0.1", gateway.port))
    transport.connect(username="slowdive", password="pygmalion")
    yield transport
    transport.close()


@pytest.fixture
def sftp(sftp_server: paramiko.Transport) -> Iterator[paramiko.SFTPClient]:
    client = paramiko.SFTPClient.from_transport(sftp_server)
    assert client is not None
    client.FOLDER = FOLDER  # type: ignore[attr-defined]
    shutil.rmtree(FOLDER, ignore_errors=True)
    Path(FOLDER).mkdir()
    yield client
    client.close()
