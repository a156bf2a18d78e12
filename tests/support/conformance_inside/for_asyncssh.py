# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: asyncssh's SFTP tests talk to Tidegate wherever they would start a server of asyncssh.

Each of their test classes works in a temporary directory that is its home, with keys of its own; the class
then starts a server. What they start is replaced by a Tidegate that serves that directory (or, for the class
about a changed root, the directory `chroot` in it) to the same keys.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway
from selection import suite


class Listening:
    """As much of asyncssh's acceptor as the tests use."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.sockets = [self]

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._gateway.port

    def close(self) -> None:
        self._gateway.stop()

    async def wait_closed(self) -> None:
        pass


async def create_server(cls: Any, server_factory: Any = (), **options: Any) -> Listening:
    """In place of `ServerTestCase.create_server`."""
    home = Path.cwd()
    if "Chroot" in cls.__name__:
        home /= "chroot"
        home.mkdir()
    keys = tuple(Path(name).read_text().strip() for name in ("ckey.pub", "ckey_ecdsa.pub"))
    account = {"username": os.environ["LOGNAME"], "public_keys": keys}
    return Listening(Gateway(home, Path("skey"), account, **suite()["sftpd"]).start())


def no_agent(command: str) -> bytes:
    """In place of `run`, which would start an ssh-agent that outlives a run that is killed; keys lie in files too."""
    raise subprocess.CalledProcessError(1, command)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from tests import server  # theirs: the suite's own directory is the root of this run

    server.run = no_agent
    server.ServerTestCase.create_server = classmethod(create_server)
