# SPDX-License-Identifier: Apache-2.0
"""The door as a whole: algorithms, limits, hostile peers, time, reload, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys

import asyncssh
import pytest
from tests.support.ssh_world import SSH, askpass, run_program, ssh_world

from tidegate.doors.ssh.algorithms import Algorithms
from tidegate.doors.ssh.hostkeys import DEFAULT_HOST_KEYS
from tidegate.doors.ssh.options import Binding
from tidegate.errors import ConfigError
from tidegate.events.kinds import ConnectionRefused, Disconnected, LoggedIn, LoginFailed
from tidegate.resources import StartupLimits

needs_ssh = pytest.mark.needs("ssh")

ADA = {"username": "ada", "password": "secret"}


@needs_ssh
@pytest.mark.parametrize(
    "cipher",
    ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"],
)
async def test_openssh_agrees_on_every_default_cipher_and_strict_kex(tmp_path, cipher):
    async with ssh_world(tmp_path) as world:
        status, out, err = await run_program(
            "ssh",
            "-vvv",
            *SSH,
            "-c",
            cipher,
            "-p",
            str(world.port),
            "ada@127.0.0.1",
            "pwd",
            env=askpass(tmp_path, "secret"),
        )
        assert (status, out) == (0, b"/start\n"), err
        assert f"cipher: {cipher}".encode() in err
        offered = err.split(b"peer server KEXINIT proposal")[1].split(b"\n")
        kex = next(line for line in offered if b"KEX algorithms" in line)
        assert b"mlkem768x25519-sha256" in kex
        assert b"kex-strict-s-v00@openssh.com" in kex
        assert b"sha1" not in b"".join(offered[:10])
        assert b"cbc" not in b"".join(offered[:10])


async def test_legacy_algorithms_need_to_be_named(tmp_path):
    old = {**ADA, "encryption_algs": ["aes128-cbc"], "mac_algs": ["hmac-sha1"]}
    async with ssh_world(tmp_path) as world:
        with pytest.raises(asyncssh.KeyExchangeFailed):
            await world.connect(**old)
    named = Algorithms(ciphers=("aes128-cbc",), macs=("hmac-sha1",))
    async with ssh_world(tmp_path, algorithms=named) as world, world.connect(**old) as client:
        assert (await client.run("pwd")).stdout == "/start\n"


CHOSEN = [[]] + [
    ["-o", f"Ciphers=aes{bits}-ctr", "-o", f"MACs={mac}"]
    for bits in (128, 256)
    for mac in (
        "hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com",
    )
]  # fmt: skip
"""Options of OpenSSH's clients: its own choice, and each pair that other clients choose."""


@needs_ssh
async def test_rekeying_in_mid_transfer(tmp_path):
    data = bytes(range(256)) * 8192
    async with ssh_world(tmp_path, rekey_bytes=100_000) as world:
        world.sessions.files["/start/a.bin"] = data
        async with world.connect(**ADA, rekey_bytes=150_000) as client:
            sftp = await client.start_sftp_client()
            async with sftp.open("/start/a.bin", "rb") as file:
                assert await file.read() == data
            async with sftp.open("/start/b.bin", "wb") as file:
                await file.write(data)
        await world.recorder.wait(Disconnected)
        assert world.sessions.files["/start/b.bin"] == data
        batch = tmp_path / "batch"
        for index, chosen in enumerate(CHOSEN):
            target = tmp_path / f"down{index}"
            batch.write_text(f"get /start/a.bin {target}\nput {target} /start/up{index}\n")
            status, _, err = await run_program(
                "sftp", *SSH, *chosen, "-o", "BatchMode=no", "-o", "RekeyLimit=100K", "-P", str(world.port),
                "-b", str(batch), "ada@127.0.0.1", env=askpass(tmp_path, "secret"),
            )  # fmt: skip
            assert status == 0, err
            assert target.read_bytes() == data
            await world.recorder.wait(Disconnected, count=2 + index)
            assert world.sessions.files[f"/start/up{index}"] == data


async def test_one_host_has_a_limit_and_a_refusal_is_on_record(tmp_path):
    async with ssh_world(tmp_path, max_per_host=3) as world:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(world.connect(**ADA))
            for _ in range(50):
                with pytest.raises((OSError, asyncssh.Error)):
                    await world.connect(**ADA)
            refused = await world.recorder.wait(ConnectionRefused)
            assert (refused.rule, refused.origin.ip) == ("max_per_host", "127.0.0.1")
            assert len(world.recorder.of(ConnectionRefused)) == 1  # a flood makes no flood of lines
            assert world.door.connections == 3
        await world.recorder.wait(Disconnected, count=3)
        async with world.connect(**ADA):
            pass


async def test_connections_before_login_are_bounded_apart(tmp_path):
    async with (
        ssh_world(tmp_path, max_startups=StartupLimits(2, 100, 2), max_per_host=0) as world,
        world.connect(**ADA),
        world.connect(**ADA),
        world.connect(**ADA),
    ):
        silent = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(2)]
        for reader, _ in silent:
            await reader.readline()
        with pytest.raises((OSError, asyncssh.Error)):
            await world.connect(**ADA)
        assert (await world.recorder.wait(ConnectionRefused)).rule == "max_startups"
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()
        await world.recorder.wait(Disconnected, count=2)
        async with world.connect(**ADA):
            pass


GARBAGE = [
    b"\0" * 10000,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"SSH-1.5-old\r\n",
    b"SSH-2.0-\xff\xfe\r\n",
    b"SSH-2.0-" + b"x" * 9000,
    b"SSH-2.0-ok\r\n" + b"\xff" * 100,
    b"SSH-2.0-ok\r\n" + b"\0\0\0\x0c\x0a\x14" + b"\0" * 10,
    b"SSH-2.0-ok\r\n\0\0\0\x1c\x0a\x32" + b"\0" * 26,
    b"\n" * 3000,
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_answered_by_closing(tmp_path, garbage):
    async with ssh_world(tmp_path) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(garbage)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert (await world.recorder.wait(LoginFailed)).login_type == "no_auth_tried"
        async with world.connect(**ADA) as client:
            assert (await client.run("pwd")).stdout == "/start\n"


async def test_a_flood_of_attempts_sent_at_once_is_cut_off(tmp_path):
    from asyncssh.packet import Boolean, String

    async with ssh_world(tmp_path) as world:
        world.logins.gate = asyncio.Event()  # each judgement would take for ever

        class Flood(asyncssh.SSHClient):
            def connection_made(self, conn):
                self.conn = conn

            def password_auth_requested(self):
                packet = (
                    String("ada")
                    + String("ssh-connection")
                    + String("password")
                    + Boolean(False)
                    + String("guess")
                )
                for _ in range(1000):
                    self.conn.send_packet(50, packet)
                return "guess"

        with pytest.raises((asyncssh.Error, OSError)):
            await world.connect(
                client_factory=Flood, username="ada", preferred_auth="password", password=None
            )
        gone = await world.recorder.wait(Disconnected)
        assert gone.by == "max_auth_tries"
        assert len(world.logins.asked) <= 6
        assert not world.recorder.of(LoggedIn)


async def test_a_client_that_asks_and_never_reads_is_held_back(tmp_path):
    """Requests that want answers must not pile the answers up in memory."""
    from asyncssh.packet import Boolean, String

    async with ssh_world(tmp_path) as world:
        sock = socket.socket()
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
        )  # the kernel would hold megabytes of answers
        sock.connect(("127.0.0.1", world.port))
        client = await world.connect(**ADA, sock=sock)
        await world.recorder.wait(LoggedIn)
        (login,) = world.door._logins
        transport = login._conn.door_transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transport.set_write_buffer_limits(high=16 * 1024, low=1024)
        client._transport.pause_reading()
        packet = String("keepalive@openssh.com") + Boolean(True)
        for turn in range(5000):
            if turn < 200:
                for _ in range(100):
                    client._global_request_waiters.append(asyncio.get_running_loop().create_future())
                    client.send_packet(80, packet)
            await asyncio.sleep(0)
            if not transport.is_reading():
                break
        else:
            pytest.fail("the server went on reading")
        assert transport.get_write_buffer_size() < 1024 * 1024
        client._transport.resume_reading()
        assert (await client.run("pwd")).stdout == "/start\n"  # and it goes on when the client reads
        client.close()
        await client.wait_closed()


async def test_idle_connections_end(tmp_path):
    async with ssh_world(tmp_path, idle_seconds=0.2) as world, world.connect(**ADA) as client:
        await client.start_sftp_client()
        await asyncio.wait_for(client.wait_closed(), 5)
        assert (await world.recorder.wait(Disconnected)).by == "idle_timeout"


async def test_a_transfer_that_moves_is_not_idle(tmp_path):
    async with ssh_world(tmp_path, idle_seconds=0.2) as world, world.connect(**ADA) as client:
        sftp = await client.start_sftp_client()
        await sftp.open("/start/up", "wb")
        (login,) = world.door._logins
        for step in range(1, 4):
            world.sessions.opened[0].handles[
                0
            ].size += 1  # bytes move without a request, as in a long download
            login.activity.at -= 10  # nobody spoke for long
            login.idle.cancel()
            login.idle._look()
            assert not world.recorder.of(Disconnected), step
        login.activity.at -= 10
        login.idle.cancel()
        login.idle._look()  # the handle is open, and nothing moves
        assert (await world.recorder.wait(Disconnected)).by == "idle_timeout"


async def test_reload_changes_what_new_connections_get(tmp_path):
    async with ssh_world(tmp_path) as world:
        options = world.door.setup.options
        (tmp_path / "banner.txt").write_text("new rules\n")

        class Client(asyncssh.SSHClient):
            seen = ""

            def auth_banner_received(self, msg, lang):
                Client.seen = msg

        import dataclasses

        async with world.connect(**ADA) as old:
            changed = dataclasses.replace(
                options,
                banner="Other",
                login_banner_file="banner.txt",
                algorithms=Algorithms(ciphers=("aes256-ctr",)),
            )
            (await world.door.reload(changed))()
            assert (await old.run("pwd")).stdout == "/start\n"
            async with world.connect(**ADA, client_factory=Client) as new:
                assert new.get_extra_info("server_version") == "SSH-2.0-Other"
                assert new.get_extra_info("recv_cipher") == "aes256-ctr"
            assert Client.seen == "new rules\n"
            with pytest.raises(ConfigError):
                await world.door.reload(
                    dataclasses.replace(options, algorithms=Algorithms(ciphers=("none-such",)))
                )
            async with world.connect(**ADA) as new:
                assert new.get_extra_info("server_version") == "SSH-2.0-Other"


async def test_drain_lets_transfers_end_and_nobody_in(tmp_path):
    async with ssh_world(tmp_path) as world:
        async with world.connect(**ADA) as idle, world.connect(**ADA) as busy:
            await idle.start_sftp_client()
            sftp = await busy.start_sftp_client()
            file = await sftp.open("/start/up", "wb")
            port = world.port
            draining = asyncio.create_task(world.door.drain(30))
            await asyncio.wait_for(idle.wait_closed(), 5)
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(asyncssh.ChannelOpenError):
                await busy.start_sftp_client()
            await file.write(b"all of it")
            await file.close()
            await asyncio.wait_for(draining, 5)
            await asyncio.wait_for(busy.wait_closed(), 5)
        assert world.sessions.files["/start/up"] == b"all of it"
        assert {event.by for event in world.recorder.of(Disconnected)} == {"shutdown"}


async def test_drain_gives_up_after_the_grace_time(tmp_path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        sftp = await client.start_sftp_client()
        await sftp.open("/start/up", "wb")
        await asyncio.wait_for(world.door.drain(0.1), 5)
        await asyncio.wait_for(client.wait_closed(), 5)
        await asyncio.wait_for(world.door.stop(), 5)
        assert world.sessions.opened[0].handles[0].outcome == "aborted"


async def test_every_interface_has_one_port_and_plain_addresses(tmp_path):
    async with ssh_world(tmp_path, bindings=(Binding("", 0),), rekey_bytes=0, rekey_seconds=0) as world:
        for number, host in enumerate(["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]):
            async with world.connect(**ADA, host=host) as client:
                assert (await client.run("pwd")).stdout == "/start\n"
            assert (await world.recorder.wait(LoggedIn, count=number + 1)).origin.ip == host


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-256", "rsa-sha2-512"])
async def test_every_host_key_signs(tmp_path_factory, algorithm):
    directory = tmp_path_factory.getbasetemp() / "host_keys"  # RSA keys take their time
    directory.mkdir(exist_ok=True)
    async with ssh_world(directory, host_keys=DEFAULT_HOST_KEYS) as world:
        other = "rsa-sha2-512" if algorithm == "rsa-sha2-256" else "rsa-sha2-256"
        clients = await asyncio.gather(
            *(world.connect(**ADA, server_host_key_algs=[name]) for name in [algorithm, other] * 3)
        )
        for client in clients:
            client.close()
            await client.wait_closed()
        with pytest.raises(asyncssh.KeyExchangeFailed):
            await world.connect(**ADA, server_host_key_algs=["ssh-rsa"])


@needs_ssh
async def test_openssh_asks_for_everything_and_gets_its_command(tmp_path):
    async with ssh_world(tmp_path) as world:
        status, out, err = await run_program(
            "ssh", *SSH, "-A", "-X", "-C", "-R", "0:127.0.0.1:1", "-o", "SetEnv=LD_PRELOAD=x",
            "-o", "ServerAliveInterval=1", "-p", str(world.port), "ada@127.0.0.1", "pwd",
            env=askpass(tmp_path, "secret"),
        )  # fmt: skip
        assert (status, out) == (0, b"/start\n"), err
        assert b"remote port forwarding failed" in err


async def test_connections_leave_nothing_behind(tmp_path):
    import gc

    from tidegate.doors.ssh.connection import DoorChannel, DoorConnection
    from tidegate.doors.ssh.server import SshLogin
    from tidegate.doors.ssh.session import SshSession

    async with ssh_world(tmp_path) as world:
        for _ in range(5):
            async with world.connect(**ADA) as client:
                await client.start_sftp_client()
                await client.run("pwd")
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
            writer.write(b"SSH-2.0-x\r\nnonsense")
            await reader.readline()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await world.recorder.wait(Disconnected, count=10)
        del client, reader, writer
        for _ in range(10):
            await asyncio.sleep(0)
        gc.collect()
        kinds = (DoorConnection, DoorChannel, SshLogin, SshSession)
        assert [found for found in gc.get_objects() if isinstance(found, kinds)] == []
        assert world.door._tasks == set()


async def test_an_address_in_use_is_one_clear_line(tmp_path):
    async with ssh_world(tmp_path) as world:
        with pytest.raises(
            ConfigError, match=r"sftpd\.bindings(\[0\])?: cannot listen on 127\.0\.0\.1:\d+: "
        ):
            async with ssh_world(tmp_path, bindings=(Binding("127.0.0.1", world.port),)):
                pass


async def test_no_secret_reaches_a_log(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    async with ssh_world(tmp_path) as world:
        async with world.connect(**{**ADA, "preferred_auth": "password"}) as client:
            await client.run("pwd")
        with pytest.raises(asyncssh.PermissionDenied):
            await world.connect(username="ada", password="hunter2")
        await world.recorder.wait(LoginFailed)
    assert "secret" not in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop")
async def test_under_uvloop(tmp_path):
    """The server of production: a process of its own with uvloop."""
    program = f"""
import asyncio, sys, uvloop, pathlib
from tests.support.ssh_world import ssh_world
from tidegate.doors.ssh.options import Binding
async def main():
    async with ssh_world(pathlib.Path({str(tmp_path)!r}), max_per_host=2, bindings=(Binding("", 0),)) as world:
        print(world.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
uvloop.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        program,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 20))
        connect = {
            "known_hosts": None,
            "config": None,
            "client_keys": None,
            "agent_path": None,
            "gss_host": None,
            **ADA,
        }
        for _ in range(3):
            async with asyncssh.connect("127.0.0.1", port, **connect) as client:
                assert (await client.run("pwd")).stdout == "/start\n"
                sftp = await client.start_sftp_client()
                async with sftp.open("/start/x", "wb") as file:
                    await file.write(bytes(1_000_000))
                assert await sftp.getsize("/start/x") == 1_000_000
        with pytest.raises(asyncssh.DisconnectError, match="authentication failures"):
            for _ in range(2):
                client = await asyncssh.connect("127.0.0.1", port, **connect)
                client.close()
                await client.wait_closed()
            await many_guesses(port)
    finally:
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def many_guesses(port):
    class Guesser(asyncssh.SSHClient):
        def password_auth_requested(self):
            return "wrong"

    await asyncssh.connect(
        "127.0.0.1", port, client_factory=Guesser, username="ada", known_hosts=None, config=None, client_keys=None,
        agent_path=None, gss_host=None, preferred_auth="password",
    )  # fmt: skip
