# SPDX-License-Identifier: Apache-2.0
"""Packets of the SSH door that are sent or not sent, as a client sees them."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import statistics
import sys
import termios
import time

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


DELAYED_SECONDS = 0.04
"""Linux acknowledges at least so late what a service that has spoken does not answer."""
CONNECTIONS = 9


def acknowledged_after(port: int) -> float:
    """Seconds until the beginning of a packet, which nothing answers, has been acknowledged."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"SSH-2.0-client\r\n")
        heard = b""
        while b"ssh-ed25519" not in heard:
            heard += client.recv(65536)
        begun = time.monotonic()
        client.sendall(b"\0\0\x10\0" + bytes(12))
        while fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)) != bytes(4):
            if time.monotonic() > begun + 5:
                raise AssertionError("nothing was acknowledged")
        return time.monotonic() - begun


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has TCP_QUICKACK and tells what is on its way"
)
async def test_what_is_not_answered_before_the_login_is_acknowledged_at_once(tmp_path):
    """OpenSSH's client holds its next packet back until then: twice 40 ms for a login."""
    async with ssh_world(tmp_path) as world:
        waits = [await asyncio.to_thread(acknowledged_after, world.port) for _ in range(CONNECTIONS)]
    assert statistics.median(waits) < DELAYED_SECONDS / 2
