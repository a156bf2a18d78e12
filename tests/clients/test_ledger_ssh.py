# SPDX-License-Identifier: Apache-2.0
"""The SSH door under peers that use up what others need: half-open connections, questions, keys, channels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import asyncssh
import pytest
from asyncssh.constants import MSG_USERAUTH_REQUEST
from asyncssh.packet import String
from tests.support.ssh_world import MemoryFile, World, ssh_world

from tidegate.doors.ssh.server import EARNED_BYTES
from tidegate.doors.ssh.session import SshSession
from tidegate.events.kinds import ConnectionRefused, Disconnected, LoginFailed
from tidegate.resources import Ledger, Limits, LimitSettings, StartupLimits
from tidegate.resources.arrivals import GRACE_SECONDS

ADA = {"username": "ada", "password": "secret"}


def ledger(**settings: int) -> Ledger:
    return Ledger(Limits.derive(LimitSettings(**settings), descriptors=4096, memory=1 << 30))


class Hours:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def half_open(world: World, source: str, *, version: bool = False) -> asyncio.StreamWriter:
    """A connection that never logs in, from any address of the loopback network."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port, local_addr=(source, 0))
    await reader.readline()
    if version:
        writer.write(b"SSH-2.0-slow\r\n")
        await reader.read(1)
    return writer


async def test_half_open_connections_make_room_for_logins(tmp_path: Path):
    clock = Hours()
    usage = Ledger(clock=clock)
    limits = StartupLimits(20, 100, 30, 0)
    async with ssh_world(tmp_path, ledger=usage, max_startups=limits, max_per_host=0) as world:
        talking = await half_open(world, "127.0.0.2", version=True)
        silent = [await half_open(world, f"127.0.0.{3 + n % 5}") for n in range(19)]
        with pytest.raises((OSError, asyncssh.Error)):  # nobody has been silent long enough yet
            await world.connect(**ADA)
        assert (await world.recorder.wait(ConnectionRefused)).rule == "max_startups"
        clock.now += GRACE_SECONDS
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(world.connect(**ADA))
            # each login took the place of a silent one; who had said something is still there
            await world.recorder.wait(Disconnected, lambda event: event.by == "max_startups")
            assert world.door.connections == 20 + 10 - len(world.recorder.of(Disconnected))
            assert {event.client_version for event in world.recorder.of(Disconnected)} == {""}
        for writer in (talking, *silent):
            writer.close()


async def test_a_login_under_way_makes_room_for_nobody(tmp_path: Path):
    clock = Hours()
    usage = Ledger(clock=clock)
    async with ssh_world(
        tmp_path, ledger=usage, max_startups=StartupLimits(1, 100, 2, 0), max_per_host=0
    ) as world:
        world.logins.gate = asyncio.Event()
        first = asyncio.create_task(_login(world))
        while not world.logins.asked:
            await asyncio.sleep(0.001)
        clock.now += 60
        with pytest.raises((OSError, asyncssh.Error)):
            await world.connect(**ADA)
        world.logins.gate.set()
        assert await first == "/start\n"


async def _login(world: World) -> str:
    async with world.connect(**ADA) as client:
        return str((await client.run("pwd")).stdout)


async def test_who_says_nothing_goes_early_and_who_is_typing_may_stay(tmp_path: Path):
    async with ssh_world(tmp_path, silent_seconds=0.2, login_seconds=30.0) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert (await world.recorder.wait(Disconnected)).by == "silent"
        assert (await world.recorder.wait(LoginFailed)).login_type == "no_auth_tried"

        silent = asyncio.Event()

        class Typing(asyncssh.SSHClient):
            def kbdint_auth_requested(self) -> str:
                return ""

            async def kbdint_challenge_received(self, *_: object) -> list[str]:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(silent.wait(), 0.6)
                return ["secret"]

        async with world.connect(
            username="ada", client_factory=Typing, preferred_auth="keyboard-interactive"
        ):
            assert len(world.recorder.of(Disconnected)) == 1


async def test_questions_that_are_never_answered_count(tmp_path: Path):
    class Asking(asyncssh.SSHClient):
        asked = 0

        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.conn = conn

        def kbdint_auth_requested(self) -> str:
            return ""

        async def kbdint_challenge_received(self, *_: object) -> list[str]:
            for _ in range(50):
                self.asked += 1
                self.conn.send_packet(
                    MSG_USERAUTH_REQUEST,
                    String(b"ada"), String(b"ssh-connection"), String(b"keyboard-interactive"), String(b""), String(b""),
                )  # fmt: skip
            await asyncio.Event().wait()
            return []

    async with ssh_world(tmp_path) as world:
        with pytest.raises(asyncssh.DisconnectError, match="too many authentication failures"):
            await asyncio.wait_for(asyncio.ensure_future(_connect(world, Asking)), 5)
        assert (await world.recorder.wait(Disconnected)).by == "max_auth_tries"


async def _connect(world: World, factory: type[asyncssh.SSHClient]) -> None:
    async with world.connect(username="ada", client_factory=factory, preferred_auth="keyboard-interactive"):
        raise AssertionError("logged in")


@pytest.mark.parametrize("fast_lane", [True, False], ids=["lane", "plain"])
async def test_rekeying_without_end_closes_the_connection(tmp_path: Path, fast_lane: bool):
    async with ssh_world(
        tmp_path, ledger=ledger(key_exchanges_per_connection=10), fast_lane=fast_lane
    ) as world:
        done = 0
        with pytest.raises((asyncssh.Error, OSError)):
            async with world.connect(**ADA, rekey_bytes=1) as client, client.start_sftp_client() as files:
                for _ in range(200):
                    await files.stat("/start")
                    done += 1
        assert 2 <= done <= 12
        gone = await world.recorder.wait(Disconnected)
        assert gone.by == "limits.key_exchanges_per_connection"


async def test_new_keys_after_data_cost_nothing_of_the_budget(tmp_path: Path):
    data = bytes(EARNED_BYTES + 1)
    async with (
        ssh_world(tmp_path, ledger=ledger(key_exchanges_per_connection=6)) as world,
        world.connect(**ADA, rekey_bytes=EARNED_BYTES) as client,
        client.start_sftp_client() as files,
        files.open("/start/up", "wb") as file,
    ):
        for _ in range(20):
            await file.write(data)
        assert world.door.ledger.key_exchanges.amount
        assert await files.stat("/start")


async def test_key_exchanges_of_one_source_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    clock = Hours()
    usage = Ledger(Limits.derive(LimitSettings(key_exchanges_per_source=3), descriptors=4096), clock=clock)
    async with ssh_world(tmp_path, ledger=usage) as world:
        for _ in range(3):
            async with world.connect(**ADA):
                pass
        with pytest.raises((OSError, asyncssh.Error)):
            await world.connect(**ADA)
        assert (await world.recorder.wait(ConnectionRefused)).rule == "limits.key_exchanges_per_source"
        async with world.connect(**ADA, local_addr=("127.0.0.9", 0)):
            pass
        clock.now += 60
        async with world.connect(**ADA):
            pass
    told = [line for line in caplog.messages if line.startswith("limit reached")]
    assert told == [
        "limit reached: limits.key_exchanges_per_source (127.0.0.1): more than 3 key exchanges a minute"
    ]


async def test_channels_of_the_process_are_counted(tmp_path: Path):
    async with (
        ssh_world(tmp_path, ledger=ledger(channels=3)) as world,
        world.connect(**ADA) as first,
        world.connect(**ADA) as second,
        first.start_sftp_client(),
        first.start_sftp_client(),
    ):
        async with second.start_sftp_client():
            with pytest.raises(asyncssh.ChannelOpenError):
                await second.start_sftp_client()
        await second.run("pwd")


@pytest.mark.parametrize("fast_lane", [True, False], ids=["lane", "plain"])
async def test_handles_of_an_account_are_counted_over_its_connections(
    tmp_path: Path, fast_lane: bool, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "tidegate.resources")
    async with (
        ssh_world(tmp_path, ledger=ledger(handles_per_account=5), fast_lane=fast_lane) as world,
        world.connect(**ADA) as first,
        world.connect(**ADA) as second,
        first.start_sftp_client() as one,
        second.start_sftp_client() as two,
    ):
        held = [await one.open(f"/start/{n}", "wb") for n in range(3)]
        held += [await two.open(f"/start/{n}", "wb") for n in range(3, 5)]
        for files in (one, two):
            with pytest.raises(asyncssh.SFTPError, match="too many open handles"):
                await files.open("/start/6", "wb")
        assert world.door.ledger.handles.of("ada") == 5
        await held[0].close()
        await held[1].close()
        assert world.door.ledger.handles.of("ada") == 3
        await two.open("/start/7", "wb")
    assert caplog.messages == [
        "limit reached: limits.handles_per_account (ada): 5 open handles, 5 are allowed",
        "limit no longer reached: limits.handles_per_account (ada): refused 2 times",
    ]


class Asked:
    """Counts the times that channels are asked for what they hold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        real = SshSession.buffered_bytes.fget

        def asked(session: SshSession) -> int:
            self.times += 1
            size: int = real(session)  # type: ignore[misc]
            return size

        monkeypatch.setattr(SshSession, "buffered_bytes", property(asked))


@pytest.mark.parametrize("fast_lane", [True, False], ids=["lane", "plain"])
async def test_a_quiet_connection_is_not_asked_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast_lane: bool
):
    asked, gate = Asked(monkeypatch), asyncio.Event()

    async def slow(*_: object) -> None:
        await gate.wait()

    monkeypatch.setattr("tidegate.doors.ssh.listener.LOOK_SECONDS", 3600)
    monkeypatch.setattr(MemoryFile, "write_nowait", lambda *_: False)
    monkeypatch.setattr(MemoryFile, "write", slow)
    async with (
        ssh_world(tmp_path, ledger=ledger(), fast_lane=fast_lane) as world,
        world.connect(**ADA) as connection,
        connection.start_sftp_client() as sftp,
    ):
        file = await sftp.open("/f", "wb")
        buffers = world.door.ledger.buffers
        buffers.look()
        first = asked.times
        assert first
        for _ in range(3):
            buffers.look()
        assert (asked.times, buffers.total) == (first, 0)
        writing = asyncio.create_task(file.write(bytes(10_000)))
        async with asyncio.timeout(20):
            while buffers.total < 10_000:
                await asyncio.sleep(0.005)
                buffers.look()
        for _ in range(3):  # nothing comes, and it is still there
            buffers.look()
            assert buffers.total >= 10_000
        gate.set()
        await writing
        await file.close()
        buffers.look()
        assert buffers.total == 0


@pytest.mark.parametrize("fast_lane", [True, False], ids=["lane", "plain"])
async def test_a_packet_whose_end_does_not_come_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast_lane: bool
):
    """AES-GCM does not hide the length of a packet: anybody can announce a long one and send half of it."""
    monkeypatch.setattr("tidegate.doors.ssh.listener.LOOK_SECONDS", 3600)
    async with (
        ssh_world(tmp_path, ledger=ledger(), fast_lane=fast_lane) as world,
        world.connect(**ADA, encryption_algs=["aes128-gcm@openssh.com"]) as connection,
        connection.start_sftp_client() as sftp,
    ):
        await sftp.listdir("/")
        buffers = world.door.ledger.buffers
        buffers.look()
        assert buffers.total == 0
        connection._transport.write((200_000).to_bytes(4, "big") + bytes(100_000))
        async with asyncio.timeout(20):
            while buffers.total < 99_900:
                await asyncio.sleep(0.005)
                buffers.look()
        for _ in range(3):
            buffers.look()
            assert 99_900 <= buffers.total <= 110_000
        connection.abort()
        async with asyncio.timeout(20):
            while buffers.total:
                await asyncio.sleep(0.005)
                buffers.look()


async def test_a_channel_that_may_speak_of_itself_is_always_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = Asked(monkeypatch)
    monkeypatch.setattr("tidegate.doors.ssh.listener.LOOK_SECONDS", 3600)
    async with (
        ssh_world(tmp_path, ledger=ledger()) as world,
        world.connect(**ADA) as connection,
        connection.create_process("md5sum", encoding=None) as process,  # waits for its input
    ):
        buffers = world.door.ledger.buffers
        async with asyncio.timeout(20):
            while not asked.times:
                await asyncio.sleep(0.005)
                buffers.look()
        for _ in range(3):
            before = asked.times
            buffers.look()
            assert asked.times == before + 1
        process.stdin.write_eof()
