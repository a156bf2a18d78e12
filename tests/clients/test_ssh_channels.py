# SPDX-License-Identifier: Apache-2.0
"""Channels as clients use them: sftp, commands, and requests that are refused."""

from __future__ import annotations

import asyncio
import hashlib
import socket

import asyncssh
import paramiko
import pytest
from blake3 import blake3
from tests.support.ssh_world import SSH, Person, askpass, run_program, ssh_world

from tidegate.errors import StorageFailed
from tidegate.events.kinds import Disconnected, LoggedIn, Operated, Refused

needs_ssh = pytest.mark.needs("ssh")
needs_rclone = pytest.mark.needs("rclone")

ADA = {"username": "ada", "password": "secret"}
DATA = bytes(range(256)) * 5000
OFFERED = "this server offers file transfer only: sftp; commands: cd, md5sum, pwd, scp, sha1sum, sha256sum\n"


@pytest.fixture(params=[True, False], ids=["lane", "plain"], autouse=True)
def lane(request, monkeypatch):
    """Everything here runs with and without the fast lane."""
    monkeypatch.setattr("tests.support.ssh_world.FAST_LANE", request.param)


async def names(sftp):
    return sorted(name for name in await sftp.listdir("/start") if name not in (".", ".."))


async def test_two_sftp_channels_and_a_command_on_one_connection(tmp_path):
    async with ssh_world(tmp_path) as world:
        world.sessions.files["/start/a.bin"] = DATA
        async with world.connect(**ADA) as client:
            first, second = await client.start_sftp_client(), await client.start_sftp_client()
            assert await (await first.open("/start/a.bin", "rb")).read() == DATA
            assert await names(second) == ["a.bin"]
            done = await client.run("md5sum a.bin")
            assert (done.exit_status, done.stdout) == (0, f"{hashlib.md5(DATA).hexdigest()}  /start/a.bin\n")
            async with first.open("/start/b.bin", "wb") as file:
                await file.write(DATA)
            ids = [live.peer.connection_id for live in world.registry.all()]
            connection_id = (await world.recorder.wait(LoggedIn)).origin.connection_id
            assert ids == [f"{connection_id}_0", f"{connection_id}_1"]
            first.exit()
            await first.wait_closed()
            assert await names(second) == ["a.bin", "b.bin"]
        assert world.sessions.files["/start/b.bin"] == DATA
        await world.recorder.wait(Disconnected)


@needs_ssh
async def test_openssh_sftp_ends_cleanly(tmp_path):
    async with ssh_world(tmp_path) as world:
        (tmp_path / "up").write_bytes(DATA)
        batch = tmp_path / "batch"
        batch.write_text(f"put {tmp_path}/up /start/up\nls -l /start\nget /start/up {tmp_path}/down\nbye\n")
        status, _, err = await run_program(
            "sftp", *SSH, "-o", "BatchMode=no", "-P", str(world.port), "-b", str(batch), "ada@127.0.0.1",
            env=askpass(tmp_path, "secret"),
        )  # fmt: skip
        assert status == 0, err
        assert (tmp_path / "down").read_bytes() == DATA


DIGESTS = [
    ("md5sum", "md5"),
    ("sha1sum", "sha1"),
    ("sha256sum", "sha256"),
    ("sha384sum", "sha384"),
    ("sha512sum", "sha512"),
]


@pytest.mark.parametrize(("command", "algorithm"), [*DIGESTS, ("b3sum", "blake3")])
async def test_digest_of_a_file_and_of_all_of_stdin(tmp_path, command, algorithm):
    expected = blake3(DATA).hexdigest() if algorithm == "blake3" else hashlib.new(algorithm, DATA).hexdigest()
    async with ssh_world(tmp_path, enabled_ssh_commands=("*",)) as world:
        world.sessions.files["/start/a file"] = DATA
        async with world.connect(**ADA) as client:
            done = await client.run(f"{command} 'a file'")
            assert (done.exit_status, done.stdout, done.stderr) == (0, f"{expected}  /start/a file\n", "")
            done = await client.run(command, input=DATA, encoding=None)
            assert (done.exit_status, done.stdout) == (0, f"{expected}  -\n".encode())
        operated = await world.recorder.wait(Operated)
        assert (operated.action, operated.origin.username) == ("ssh_command", "ada")
        assert (operated.ssh_command, operated.exit_status) == (f"{command} 'a file'", 0)


async def test_a_missing_file_is_told_on_standard_error(tmp_path):
    async with ssh_world(tmp_path) as world:
        world.sessions.files["/start/there"] = b"x"
        async with world.connect(**ADA) as client:
            done = await client.run("sha1sum missing there")
            assert done.exit_status == 1
            assert done.stderr == "sha1sum: missing no such file or directory\n"
            assert done.stdout == f"{hashlib.sha1(b'x').hexdigest()}  /start/there\n"
        assert (await world.recorder.wait(Operated)).exit_status == 1


async def test_a_file_name_cannot_forge_a_second_line(tmp_path):
    async with ssh_world(tmp_path) as world:
        world.sessions.files["/start/a\nb"] = b"x"
        async with world.connect(**ADA) as client:
            done = await client.run("md5sum 'a\nb'")
            assert done.stdout == f"\\{hashlib.md5(b'x').hexdigest()}  /start/a\\nb\n"


async def test_cd_and_pwd(tmp_path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        done = await client.run("cd /elsewhere")
        assert (done.exit_status, done.stdout) == (0, "")
        done = await client.run("pwd")
        assert (done.exit_status, done.stdout) == (0, "/start\n")


@pytest.mark.parametrize(
    "command",
    ["sha512sum x", "id", "echo $HOME", "md5sum 'open quote", "md5sum;id", "$(id)", "", "/usr/bin/md5sum x",
     "rcp -t x", "rsync --server .", "git-upload-pack x", "md5sum " + "a " * 2000],
)  # fmt: skip
async def test_other_commands_are_refused_and_sftp_lives_on(tmp_path, command):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        sftp = await client.start_sftp_client()
        if command:
            done = await client.run(command)
            assert (done.exit_status, done.stdout) == (1, "")
            assert done.stderr == OFFERED
            refused = await world.recorder.wait(Refused)
            assert refused.rule == "enabled_ssh_commands"
        else:
            assert (await client.run(command)).exit_status == 1
        assert await names(sftp) == []


@pytest.mark.parametrize("kind", ["exec", "subsystem", "shell"])
async def test_what_is_refused_ends_the_channel_of_clients_that_want_no_reply(tmp_path, kind):
    """As Apache Commons VFS asks ``id -u``: nothing but the end of the channel tells it."""
    async with ssh_world(tmp_path) as world:

        def ask() -> tuple[int, bytes]:
            with paramiko.Transport(("127.0.0.1", world.port)) as transport:
                transport.connect(username="ada", password="secret")
                channel = transport.open_session()
                channel.settimeout(20)
                request = paramiko.Message()
                request.add_byte(bytes([98]))  # SSH_MSG_CHANNEL_REQUEST
                request.add_int(channel.remote_chanid)
                request.add_string(kind)
                request.add_boolean(False)
                if kind != "shell":
                    request.add_string("id -u")
                transport._send_user_message(request)
                assert channel.recv(100) == b""
                return channel.recv_exit_status(), channel.recv_stderr(1000)

        assert await asyncio.to_thread(ask) == (1, OFFERED.encode())


async def test_a_server_without_commands_offers_none(tmp_path):
    async with ssh_world(tmp_path, enabled_ssh_commands=()) as world, world.connect(**ADA) as client:
        assert (await client.run("pwd")).stderr == "this server offers file transfer only: sftp\n"


@needs_ssh
async def test_a_shell_is_refused_politely(tmp_path):
    async with ssh_world(tmp_path) as world:
        argv = [*SSH, "-p", str(world.port), "ada@127.0.0.1"]
        status, out, err = await run_program("ssh", *argv, env=askpass(tmp_path, "secret"))
        assert (status, out) == (1, b"")
        assert err.endswith(OFFERED.encode())
        _, _, err = await run_program("ssh", "-tt", *argv, env=askpass(tmp_path, "secret"))
        assert b"PTY allocation request failed" in err


@needs_ssh
async def test_no_forwarding_no_agent_no_x11_no_environment(tmp_path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await client.open_connection("127.0.0.1", 22)
        assert refused.value.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.open_unix_connection("/tmp/x")
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 1)
        # env, agent and pty are refused without harm to the command
        done = await client.run("pwd", env={"LD_PRELOAD": "x"}, term_type="xterm", request_pty=False)
        assert done.stdout == "/start\n"
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.run("pwd", term_type="xterm", request_pty="force")
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.run("pwd", x11_forwarding=True, x11_display="127.0.0.1:0")
        _, out, err = await client.open_session(subsystem="shell")
        assert (await out.read(), await err.read()) == ("", OFFERED)
        assert (await client.run("pwd")).stdout == "/start\n"


async def test_client_keepalives_are_answered(tmp_path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        kind, _ = await asyncio.wait_for(client._make_global_request(b"keepalive@openssh.com"), 5)
        assert kind == 81  # SSH_MSG_REQUEST_SUCCESS
        kind, _ = await asyncio.wait_for(client._make_global_request(b"unheard@of"), 5)
        assert kind == 82
        stdin, _, _ = await client.open_session(subsystem="sftp", encoding=None)
        assert await asyncio.wait_for(stdin.channel._make_request(b"keepalive@openssh.com"), 5) is False


async def test_a_silent_client_is_found_by_the_server_keepalive(tmp_path):
    async with (
        ssh_world(tmp_path, keepalive_seconds=0.1, keepalive_max=1) as world,
        world.connect(**ADA) as client,
    ):
        client._transport.pause_reading()
        gone = await world.recorder.wait(Disconnected)
        assert "keepalive" in gone.error
        client.abort()


async def test_channels_are_bounded(tmp_path):
    async with ssh_world(tmp_path, max_channels=3) as world, world.connect(**ADA) as client:
        opened = [await client.start_sftp_client() for _ in range(3)]
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await client.start_sftp_client()
        assert refused.value.code == asyncssh.OPEN_RESOURCE_SHORTAGE
        opened[0].exit()
        await opened[0].wait_closed()
        assert await names(await client.start_sftp_client()) == []


async def test_a_flood_of_channels_leaves_the_rest_alive(tmp_path):
    async with (
        ssh_world(tmp_path) as world,
        world.connect(**ADA) as client,
        world.connect(**ADA) as other,
    ):
        tries = await asyncio.gather(
            *(client.open_session(subsystem="sftp", encoding=None) for _ in range(300)),
            return_exceptions=True,
        )
        assert (
            sum(not isinstance(result, Exception) for result in tries)
            == world.door.setup.options.max_channels
        )
        assert all(isinstance(r, asyncssh.ChannelOpenError) for r in tries if isinstance(r, Exception))
        assert (await other.run("pwd")).stdout == "/start\n"


async def test_max_sessions_counts_channels_of_all_connections(tmp_path):
    async with (
        ssh_world(tmp_path, {"ada": Person("secret", max_sessions=1)}) as world,
        world.connect(**ADA) as one,
        world.connect(**ADA) as two,
    ):
        sftp = await one.start_sftp_client()
        for client in (one, two):
            _, out, err = await client.open_session(subsystem="sftp")
            assert (await out.read(), await err.read()) == ("", "too many sessions (max_sessions)\n")
        assert (await world.recorder.wait(Refused)).text == "SFTP: max_sessions"
        sftp.exit()
        await sftp.wait_closed()
        assert await names(await two.start_sftp_client()) == []


async def test_storage_that_fails_ends_the_channel_with_one_sentence(tmp_path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        world.sessions.failure = StorageFailed()
        _, stdout, stderr = await client.open_session(subsystem="sftp", encoding=None)
        assert await stderr.read() == b"storage failure\n"
        assert await stdout.read() == b""
        done = await client.run("pwd")
        assert (done.exit_status, done.stderr) == (1, "storage failure\n")


async def test_an_administrator_ends_a_connection_and_is_named(tmp_path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        await client.start_sftp_client()
        (live,) = world.registry.all()
        assert world.registry.close(live.peer.connection_id, by="admin root")
        await asyncio.wait_for(client.wait_closed(), 5)
        assert (await world.recorder.wait(Disconnected)).by == "admin root"


async def test_a_user_without_channels_can_be_ended_too(tmp_path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        await world.recorder.wait(LoggedIn)
        assert world.door.close_user("ada", by="admin") == 1
        assert world.door.close_user("bob", by="admin") == 0
        await asyncio.wait_for(client.wait_closed(), 5)


@needs_rclone
async def test_rclone_probes_the_shell_and_goes_on(tmp_path):
    async with ssh_world(tmp_path) as world:
        world.sessions.files["/start/a.bin"] = DATA
        obscured = (await run_program("rclone", "obscure", "secret"))[1].decode().strip()
        remote = f":sftp,host=127.0.0.1,port={world.port},user=ada,pass={obscured}:/start"
        status, out, err = await run_program("rclone", "--config", "", "lsl", remote, "--retries", "1")
        assert status == 0, err
        assert b"a.bin" in out
        status, out, err = await run_program("rclone", "--config", "", "md5sum", remote, "--retries", "1")
        assert status == 0, err
        assert out == f"{hashlib.md5(DATA).hexdigest()}  a.bin\n".encode()


async def test_an_upload_that_breaks_off_is_aborted(tmp_path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        sftp = await client.start_sftp_client()
        file = await sftp.open("/start/half", "wb")
        await file.write(b"half")
        client.abort()
        await world.recorder.wait(Disconnected)
    assert [handle.outcome for handle in world.sessions.opened[0].handles] == ["aborted"]
    assert "/start/half" not in world.sessions.files


async def test_a_download_that_nobody_reads_waits_on_storage_not_in_memory(tmp_path):
    async with ssh_world(tmp_path) as world:
        world.sessions.files["/start/big"] = bytes(64 * 1024 * 1024)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        sock.connect(("127.0.0.1", world.port))
        client = await world.connect(**ADA, sock=sock, window=2**28)
        sftp = await client.start_sftp_client()
        file = await sftp.open("/start/big", "rb")
        (login,) = world.door._logins
        transport = login._conn.door_transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        handle = world.sessions.opened[0].handles[0]
        pulls = [asyncio.ensure_future(file.read(1024 * 1024, offset)) for offset in range(0, 2**25, 2**20)]
        while not handle.size:
            await asyncio.sleep(0)
        client._transport.pause_reading()
        before = -1
        while handle.size != before:  # until the server has stopped by itself
            before = handle.size
            for _ in range(50):
                await asyncio.sleep(0)
        assert transport.get_write_buffer_size() < 4 * 1024 * 1024
        assert handle.size < 16 * 1024 * 1024
        client._transport.resume_reading()
        for pull in pulls:
            assert len(await pull) == 1024 * 1024
        client.close()
        await client.wait_closed()
