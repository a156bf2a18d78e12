# SPDX-License-Identifier: Apache-2.0
"""diffie-hellman-group-exchange-sha256 (RFC 4419), and what follows NEWKEYS."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest
from asyncssh.connection import SSHConnection
from tests.support.running import running
from tests.support.ssh_world import ssh_world

from tidegate.doors.ssh import connection, group_exchange

GEX = "diffie-hellman-group-exchange-sha256"


@pytest.mark.parametrize(
    ("least", "preferred", "most", "bits"),
    [
        (1024, 1024, 8192, 2048),
        (2048, 2048, 2048, 2048),
        (2048, 3072, 8192, 3072),
        (2048, 8192, 8192, 4096),  # the largest there is, as RFC 4419 section 3 has it
        (3000, 3000, 4095, 3072),
        (512, 1024, 1024, None),
        (6144, 8192, 8192, None),
        (4096, 2048, 2048, None),
        (0, 0, 2**32 - 1, 2048),
    ],
)
def test_which_group(least: int, preferred: int, most: int, bits: int | None):
    found = group_exchange.choose(least, preferred, most)
    assert (None if found is None else found[0]) == bits


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
@pytest.mark.parametrize("old", [False, True], ids=["request", "old request"])
async def test_clients_that_have_nothing_else_come_in(
    tmp_path: Path, old: bool, monkeypatch: pytest.MonkeyPatch
):
    from asyncssh import kex_dh

    if old:  # as clients before RFC 4419 ask
        monkeypatch.setattr(kex_dh._KexDHGex, "_send_request", _old_request)
    with running(tmp_path / "config") as server:
        person = server.account()
        async with person.connect(kex_algs=[GEX]) as client:
            assert client.get_extra_info("server_version")


def _old_request(self):
    from asyncssh.packet import UInt32

    self._gex_data = UInt32(2048)
    self.send_packet(30, self._gex_data)


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
async def test_a_client_that_allows_1024_bits_at_most_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from asyncssh import kex_dh

    monkeypatch.setattr(kex_dh, "KEX_DH_GEX_PREFERRED_SIZE", 1024)
    monkeypatch.setattr(kex_dh, "KEX_DH_GEX_MAX_SIZE", 1024)
    with running(tmp_path / "config") as server:
        person = server.account()
        with pytest.raises(asyncssh.DisconnectError, match="no group of"):
            async with person.connect(kex_algs=[GEX]):
                pass


def test_the_library_is_as_expected():
    connection.self_check()
    group_exchange.install()
    assert [bits for bits, _, _ in group_exchange.GROUPS] == [2048, 3072, 4096]


async def test_newkeys_and_ext_info_leave_in_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """NEWKEYS (RFC 4253 section 7.3) is never the last of a write: a client looks behind it for EXT_INFO."""
    writes: list[bytes] = []
    send = SSHConnection._send

    def recorded(self: SSHConnection, data: bytes) -> None:
        if isinstance(self, connection.DoorConnection):
            writes.append(data)
        send(self, data)

    monkeypatch.setattr(SSHConnection, "_send", recorded)
    async with ssh_world(tmp_path) as world, world.connect(username="ada", password="secret"):
        pass

    behind = [left for data in writes if (left := _behind_newkeys(data)) is not None]
    assert len(behind) == 1
    assert behind[0] > 0
    assert b"" not in writes


def _behind_newkeys(data: bytes) -> int | None:
    """Bytes behind NEWKEYS in a write of packets that are not encrypted yet; None if it has none."""
    if data.startswith(b"SSH-"):
        return None
    while len(data) > 5:
        length = int.from_bytes(data[:4], "big")
        kind, data = data[5], data[4 + length :]
        if kind == 21:
            return len(data)
        if length > 35_000:  # encrypted: no length
            return None
    return None
