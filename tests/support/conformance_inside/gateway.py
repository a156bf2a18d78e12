# SPDX-License-Identifier: Apache-2.0
"""A whole Tidegate in a thread of its own, for test-suites of others that bring their own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.doors.ssh.options import Binding
from tidegate.model import Account
from tidegate.server.app import App
from tidegate.server.ssh import ssh_plan

T = TypeVar("T")

START_SECONDS = 20.0
"""Seconds that starting, stopping or a change of an account may take."""


class Gateway:
    """One server on a free port of loopback that serves one directory to one account.

    Args:
        home: what the account sees as ``/``.
        host_key: an OpenSSH private key that the client side already trusts.
        account: fields of the account: `username`, and `password` (hashed) or `public_keys`.
        sftpd: more settings of the `sftpd` section.
    """

    def __init__(self, home: Path, host_key: Path, account: dict[str, Any], **sftpd: Any) -> None:
        self._scratch = contextlib.ExitStack()
        config_dir = Path(self._scratch.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-suite-")))
        key = config_dir / "id_host"
        key.write_bytes(host_key.read_bytes())
        key.chmod(0o600)
        settings = Settings.model_validate(
            {
                "sftpd": {"bindings": [], "host_keys": [key.name], **sftpd},
                "data_provider": {"driver": "memory", "name": "", "track_quota": 0},
                "httpd": {"bindings": []},
            }
        )
        self._loaded = Loaded(settings, config_dir=config_dir)
        self._account = Account(home_dir=str(home), permissions={"/": ("*",)}, **account)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tidegate", daemon=True)
        self.app: App | None = None
        self.port = 0

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(START_SECONDS)

    def start(self) -> Gateway:
        """Listen; `port` tells where."""
        self._thread.start()
        self._run(self._start)
        return self

    async def _start(self) -> None:
        self.app = App(self._loaded, doors=(ssh_plan(Binding("", 0)),))
        await self.app.start()
        await self.app.provider.add_user(self._account)
        door = self.app.door("ssh")
        assert door is not None
        self.port = door.status().endpoints[0].port

    def stop(self) -> None:
        """End every connection and the thread."""
        try:
            if self.app is not None:
                self._run(self.app.stop)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(START_SECONDS)
            self._loop.close()
            self._scratch.close()
