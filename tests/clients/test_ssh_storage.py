# SPDX-License-Identifier: Apache-2.0
"""Real clients over the whole stack: door, dialogue, vfs, local disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil

import pytest
from tests.support.ssh_world import SSH, Person, askpass, run_program, ssh_world
from tests.support.vfs_world import vfs_world

from tidegate.events.kinds import Disconnected, Operated, Transferred
from tidegate.identity.api import PartialLogin
from tidegate.model import Peer, Principal

DATA = bytes(range(256)) * 9001
ODD_NAMES = ["with space", "ünïcode", "quote'\"s", "-dash", "semi;colon", "$(id)"]


@pytest.fixture(params=[True, False], ids=["lane", "plain"], autouse=True)
def lane(request, monkeypatch):
    monkeypatch.setattr("tests.support.ssh_world.FAST_LANE", request.param)


@contextlib.asynccontextmanager
async def storage(tmp_path, **account):
    """An SSH door over local disk; ada's home is ``world.home``."""
    async with vfs_world(tmp_path / "disk") as disk:
        disk.account("ada", **account)
        async with ssh_world(
            tmp_path, {"ada": Person("secret")}, sessions=disk.vfs, enabled_ssh_commands=("*",)
        ) as world:
            judge = world.logins.authenticate

            async def authenticate(peer: Peer, *rest, **more) -> Principal | PartialLogin:
                found = await judge(peer, *rest, **more)
                return Principal(disk.store.accounts["ada"], found.method, found.login_ip)

            world.logins.authenticate = authenticate
            world.home, world.disk = disk.home("ada"), disk
            disk.home("ada").mkdir(parents=True, exist_ok=True)
            yield world


@pytest.mark.needs("sftp")
async def test_openssh_sftp_round_trip_with_odd_names(tmp_path):
    async with storage(tmp_path) as world:
        up, down = tmp_path / "up", tmp_path / "down"
        up.mkdir()
        down.mkdir()
        for name in ODD_NAMES:
            (up / name).write_bytes(DATA + name.encode())
        (up / "sub").mkdir()
        (up / "sub" / "empty").touch()
        batch = tmp_path / "batch"
        batch.write_text(
            f"put -r {up} /up\nrename /up/sub/empty /up/sub/renamed\nget -r /up {down}\nls -la /up\nbye\n"
        )
        status, _, err = await run_program(
            "sftp", *SSH, "-o", "BatchMode=no", "-P", str(world.port), "-b", str(batch), "ada@127.0.0.1",
            env=askpass(tmp_path, "secret"),
        )  # fmt: skip
        assert status == 0, err
        for name in ODD_NAMES:
            assert (
                (world.home / "up" / name).read_bytes()
                == (down / "up" / name).read_bytes()
                == DATA + name.encode()
            )
        assert (down / "up" / "sub" / "renamed").read_bytes() == b""


@pytest.mark.needs("scp")
async def test_openssh_scp(tmp_path):
    async with storage(tmp_path) as world:
        (tmp_path / "a").write_bytes(DATA)
        argv = ["scp", *SSH, "-s", "-P", str(world.port)]
        env = askpass(tmp_path, "secret")
        status, _, err = await run_program(*argv, f"{tmp_path}/a", "ada@127.0.0.1:/a", env=env)
        assert status == 0, err
        status, _, err = await run_program(*argv, "ada@127.0.0.1:/a", f"{tmp_path}/b", env=env)
        assert status == 0, err
        assert (tmp_path / "b").read_bytes() == DATA


@pytest.mark.needs("lftp")
async def test_lftp(tmp_path):
    async with storage(tmp_path) as world:
        (tmp_path / "a").write_bytes(DATA)
        script = (
            f'set sftp:connect-program "ssh {" ".join(SSH)} -a -x"; set net:max-retries 1; '
            f"open -u ada,secret -p {world.port} sftp://127.0.0.1; put {tmp_path}/a; get a -o {tmp_path}/b; ls; mkdir d; "
            "mv a d/a; cat d/a | wc -c; bye"
        )
        status, out, err = await run_program(
            "lftp", "-c", script, env={"HOME": str(tmp_path), "SSH_ASKPASS": ""}
        )
        assert status == 0, err
        assert (tmp_path / "b").read_bytes() == (world.home / "d" / "a").read_bytes() == DATA
        assert str(len(DATA)).encode() in out


@pytest.mark.needs("rclone")
async def test_rclone_sync_and_check(tmp_path):
    async with storage(tmp_path) as world:
        source = tmp_path / "source"
        source.mkdir()
        for number in range(20):
            (source / f"f{number}").write_bytes(DATA[: number * 1000])
        obscured = (await run_program("rclone", "obscure", "secret"))[1].decode().strip()
        remote = f":sftp,host=127.0.0.1,port={world.port},user=ada,pass={obscured}:/copy"
        rclone = ["rclone", "--config", "", "--retries", "1"]
        status, _, err = await run_program(*rclone, "sync", str(source), remote)
        assert status == 0, err
        status, _, err = await run_program(*rclone, "check", str(source), remote)
        assert status == 0, err
        assert b"20 matching files" in err
        assert b"hashes could not be checked" not in err  # it used md5sum or sha1sum
        assert sorted(os.listdir(world.home / "copy")) == sorted(os.listdir(source))


@pytest.mark.needs("sshfs")
@pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="FUSE is not available")
async def test_sshfs(tmp_path):
    async with storage(tmp_path) as world:
        mount = tmp_path / "mount"
        mount.mkdir()
        status, _, err = await run_program(
            "sshfs", "ada@127.0.0.1:/", str(mount), "-p", str(world.port), *SSH[2:], "-F", "none", "-o", "password_stdin",
            stdin=b"secret\n",
        )  # fmt: skip
        if status and b"fuse" in err.lower():
            pytest.skip("FUSE refuses to mount here")
        assert status == 0, err
        try:

            def use() -> None:
                (mount / "a").write_bytes(DATA)
                assert (mount / "a").read_bytes() == DATA
                (mount / "d").mkdir()
                (mount / "a").rename(mount / "d" / "b")
                assert os.listdir(mount / "d") == ["b"]
                assert os.statvfs(mount).f_bsize > 0

            await asyncio.to_thread(use)
        finally:
            await run_program("fusermount" if shutil.which("fusermount") else "fusermount3", "-u", str(mount))
        assert (world.home / "d" / "b").read_bytes() == DATA


async def test_live_transfers_are_shown_and_a_cut_upload_is_on_record(tmp_path):
    async with storage(tmp_path) as world:
        client = await world.connect(username="ada", password="secret")
        sftp = await client.start_sftp_client()
        file = await sftp.open("/a", "wb")
        await file.write(DATA)
        (live,) = world.registry.all()
        (transfer,) = live.transfers
        assert (transfer.virtual_path, transfer.size) == ("/a", len(DATA))
        assert world.door._logins and all(login.busy for login in world.door._logins)
        client.abort()
        await world.recorder.wait(Disconnected)
        await asyncio.wait_for(world.door.stop(), 5)
        (transferred,) = [event for event in world.disk.events if isinstance(event, Transferred)]
        assert (transferred.status, transferred.action) == ("failed", "upload")


async def test_a_digest_needs_permission(tmp_path):
    async with storage(tmp_path, permissions={"/": ("*",), "/secret": ("upload",)}) as world:
        (world.home / "secret").mkdir()
        (world.home / "secret" / "a").write_bytes(DATA)
        (world.home / "a").write_bytes(DATA)
        async with world.connect(username="ada", password="secret") as client:
            done = await client.run("sha256sum /a /secret/a /../../etc/passwd")
            assert done.exit_status == 1
            assert done.stdout == f"{hashlib.sha256(DATA).hexdigest()}  /a\n"
            lines = done.stderr.splitlines()
            assert lines[0].startswith("sha256sum: /secret/a permission")
            assert lines[1] == "sha256sum: /../../etc/passwd no such file or directory"
        assert (await world.recorder.wait(Operated)).exit_status == 1
