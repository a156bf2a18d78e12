# SPDX-License-Identifier: Apache-2.0
"""Packets of the SSH door that are sent or not sent, as a client sees them."""

from __future__ import annotations

import logging

import asyncssh
import pytest
from tests.support.ssh_world import ssh_world

from tidegate.doors.ssh.algorithms import Algorithms


@pytest.fixture
def packets(caplog):
    """Messages of asyncssh's client on the packets that it receives."""
    asyncssh.set_debug_level(3)
    caplog.set_level(logging.DEBUG, logger="asyncssh")
    yield lambda: [record.getMessage() for record in caplog.records if "Received MSG_" in record.getMessage()]
    asyncssh.set_debug_level(1)
    asyncssh.set_log_level("NOTSET")


@pytest.mark.parametrize(
    ("cipher", "ignored"), [("aes128-gcm@openssh.com", False), ("aes128-ctr", False), ("aes128-cbc", True)]
)
async def test_empty_packets_are_sent_where_the_cipher_needs_them(tmp_path, packets, cipher, ignored):
    async with ssh_world(tmp_path, algorithms=Algorithms(ciphers=(cipher,))) as world:
        asyncssh.set_log_level("DEBUG")  # the door sets it when it starts
        async with world.connect(username="ada", password="secret", encryption_algs=[cipher]) as client:
            assert client.get_extra_info("recv_cipher") == cipher
            sftp = await client.start_sftp_client()
            await sftp.stat(".")
        found = packets()
    assert any("MSG_USERAUTH_SUCCESS" in text for text in found)
    assert any("MSG_IGNORE" in text for text in found) == ignored


async def test_the_door_lays_out_no_debug_messages_of_asyncssh(tmp_path, caplog):
    async with ssh_world(tmp_path) as world, world.connect(username="ada", password="secret") as client:
        await client.start_sftp_client()
        (login,) = world.door._logins
        made = login._conn.logger
        caplog.set_level(logging.DEBUG, logger="asyncssh")
        caplog.clear()
        for say in (made.debug1, made.debug2, made.info, made.get_child(context="chan=0").info):
            say("text %s", b"bytes")
        made.packet(1, b"bytes", "text")
        assert not caplog.records
        made.warning("text %s", b"bytes")
        assert [record.getMessage() for record in caplog.records if "text" in record.getMessage()]
