# SPDX-License-Identifier: Apache-2.0
"""Host keys of ``portable``: one kind when it begins to listen, the others soon after."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest
from tests.support.doors import port_of

from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.doors.ssh.hostkeys import MADE_HOST_KEYS, make_host_key
from tidegate.doors.ssh.options import Binding
from tidegate.server.app import App
from tidegate.server.portable import add_keys
from tidegate.server.ssh import ssh_plan

OLD_CLIENT = ["rsa-sha2-256"]


async def test_clients_that_know_rsa_alone_are_served_once_that_key_is_made(tmp_path: Path) -> None:
    keys = [make_host_key(MADE_HOST_KEYS[0])]
    settings = Settings.model_validate(
        {"data_provider": {"driver": "memory", "name": "", "track_quota": 0}, "httpd": {"bindings": []}}
    )
    app = App(
        Loaded(settings, config_dir=tmp_path),
        log_events=False,
        doors=[ssh_plan(Binding("127.0.0.1", 0), keys)],
        keep_journal=False,
    )
    try:
        await app.start()
        host = ("127.0.0.1", port_of(app))
        first = await asyncssh.get_server_host_key(*host)
        assert first is not None and first.get_algorithm() == "ssh-ed25519"
        with pytest.raises(asyncssh.KeyExchangeFailed):
            await asyncssh.get_server_host_key(*host, server_host_key_algs=OLD_CLIENT)

        await add_keys(app, keys)

        again = await asyncssh.get_server_host_key(*host, server_host_key_algs=["ssh-ed25519"])
        assert again is not None and again.public_data == first.public_data
        added = await asyncssh.get_server_host_key(*host, server_host_key_algs=OLD_CLIENT)
        assert added is not None and added.get_algorithm() == "ssh-rsa"
        assert list(tmp_path.iterdir()) == []
    finally:
        await app.stop()
