# SPDX-License-Identifier: Apache-2.0
"""Actions of the configuration in the running product: what programs and URLs get, and what refuses."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.receiver import Answer, Receiver
from tests.support.running import Person, Running, wait_for

SCRIPT = """#!/bin/sh
{ for word in "$@"; do printf '%s\\0' "$word"; done; printf '\\1'; env -0 | grep -z ^SFTPGO_; printf '\\2'; } > "$0.new.$$"
cat "$0.new.$$" >> "$0.out"; rm "$0.new.$$"
"""


def script(path: Path, text: str = SCRIPT) -> Path:
    path.write_text(text)
    path.chmod(stat.S_IRWXU)
    return path


def runs(path: Path) -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and variables of each run of `SCRIPT`."""
    out = path.with_name(f"{path.name}.out")
    found = []
    for block in out.read_text().split("\2")[:-1] if out.exists() else []:
        words, _, variables = block.partition("\1")
        env = dict(line.split("=", 1) for line in variables.split("\0") if line)
        found.append((words.split("\0")[:-1], env))
    return found


def serve(directory: Path, **sections: Any) -> Running:
    return Running(directory, settings=sections)


async def put(person: Person, path: str, content: bytes = b"hello\n") -> None:
    async with person.connect() as client, client.start_sftp_client() as sftp, sftp.open(path, "wb") as file:
        await file.write(content)


async def test_programs_and_urls_of_the_old_line(tmp_path: Path) -> None:
    """Arguments, variables and queries are those that 0.9.6 was recorded with."""
    act = script(tmp_path / "o_act")
    with Receiver() as receiver:
        server = serve(
            tmp_path / "config",
            sftpd={
                "actions": {
                    "execute_on": ["upload", "download", "delete", "rename", "ssh_cmd"],
                    "command": str(act),
                    "http_notification_url": f"{receiver.url}/o_act",
                },
                "enabled_ssh_commands": ["*"],
            },
        )
        try:
            person = server.account()
            await asyncio.to_thread(server.start)
            home, name = person.home, person.name
            await put(person, "/a b%c.txt")
            async with person.connect() as client, client.start_sftp_client() as sftp:
                async with sftp.open("/a b%c.txt", "rb") as file:
                    await file.read()
                await sftp.rename("/a b%c.txt", "/b.txt")
                await client.run("md5sum /b.txt", check=True)
                await sftp.remove("/b.txt")
                await sftp.mkdir("/d")
            await asyncio.to_thread(
                wait_for, lambda: len(runs(act)) >= 5 and len(receiver.received) >= 5, "told"
            )
        finally:
            await asyncio.to_thread(server.stop)

    def told(event: str, path: str, target: str = "", command: str = "", size: str = "") -> Any:
        return (
            [event, name, path, target, command],
            {
                "SFTPGO_ACTION": event,
                "SFTPGO_ACTION_USERNAME": name,
                "SFTPGO_ACTION_PATH": path,
                "SFTPGO_ACTION_TARGET": target,
                "SFTPGO_ACTION_SSH_CMD": command,
                "SFTPGO_ACTION_FILE_SIZE": size,
                "SFTPGO_ACTION_LOCAL_FILE": "true",
            },
        )

    first, second = str(home / "a b%c.txt"), str(home / "b.txt")
    wanted = [
        told("upload", first, size="6"),
        told("download", first, size="6"),
        told("rename", first, second),
        told("ssh_cmd", second, command="md5sum"),
        told("delete", second, size="6"),
    ]
    assert sorted(runs(act), key=str) == sorted(wanted, key=str)
    assert {request.method for request in receiver.received} == {"GET"}
    upload = next(one for one in receiver.received if one.query["action"] == "upload")
    home_text = str(home).replace("/", "%2F")
    assert upload.path == (
        f"/o_act?action=upload&file_size=6&local_file=true&path={home_text}%2Fa+b%25c.txt&username={name}"
    )
    rename = next(one for one in receiver.received if one.query["action"] == "rename")
    assert list(rename.query) == ["action", "local_file", "path", "target_path", "username"]
    ids = [request.id for request in receiver.received]
    assert all(ids) and len(set(ids)) == len(ids)


async def test_a_hook_of_the_new_line_gets_json(tmp_path: Path) -> None:
    with Receiver() as receiver:
        server = serve(
            tmp_path / "config",
            common={
                "actions": {
                    "execute_on": ["upload", "first-upload", "rename", "mkdir", "rmdir"],
                    "hook": f"{receiver.url}/act",
                }
            },
        )
        try:
            person = server.account()
            await asyncio.to_thread(server.start)
            await put(person, "/a.txt")
            await put(person, "/a.txt")
            async with person.connect() as client, client.start_sftp_client() as sftp:
                await sftp.mkdir("/d")
                await sftp.rename("/d", "/d2")
                await sftp.rmdir("/d2")
            await asyncio.to_thread(wait_for, lambda: len(receiver.accepted) == 6, "told")
        finally:
            await asyncio.to_thread(server.stop)
    told = [request.json for request in receiver.accepted]
    assert sorted(one["action"] for one in told) == [
        "first-upload", "mkdir", "rename", "rmdir", "upload", "upload",
    ]  # fmt: skip
    upload = next(one for one in told if one["action"] == "upload")
    session, at = upload.pop("session_id"), upload.pop("timestamp")
    assert session
    assert len(str(at)) == 19
    upload.pop("elapsed", None)
    assert upload == {
        "action": "upload", "username": person.name, "path": str(person.home / "a.txt"),
        "virtual_path": "/a.txt", "file_size": 6, "fs_provider": 0, "status": 1, "protocol": "SFTP",
        "ip": "127.0.0.1",
    }  # fmt: skip
    rename = next(one for one in told if one["action"] == "rename")
    assert rename["virtual_target_path"] == "/d2"
    assert rename["target_path"] == str(person.home / "d2")


REFUSE = """#!/bin/sh
echo "no $SFTPGO_ACTION today"
exit 1
"""


async def test_who_refuses_before_an_act_is_believed(tmp_path: Path) -> None:
    """Refused means refused with the hook's text; the old file stays whole and nothing is charged."""
    act = script(tmp_path / "act", "#!/bin/sh\nexit 0\n")
    server = serve(
        tmp_path / "config",
        common={
            "actions": {
                "execute_on": ["upload", "pre-upload", "pre-download", "pre-delete"],
                "execute_sync": ["upload"],
                "hook": str(act),
            }
        },
    )
    try:
        person = server.account(quota_files=100, quota_size=10_000)
        await asyncio.to_thread(server.start)
        await put(person, "/there", b"old content")
        act.write_text(REFUSE)
        async with person.connect() as client, client.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="no pre-upload today"):
                async with sftp.open("/there", "wb") as file:
                    await file.write(b"new")
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="no pre-download today"):
                await sftp.open("/there", "rb")
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="no pre-delete today"):
                await sftp.remove("/there")
            assert (person.home / "there").read_bytes() == b"old content"

            act.write_text('#!/bin/sh\n[ "$SFTPGO_ACTION" != upload ] || { echo "not this"; exit 1; }\n')
            for path in ("/there", "/new"):
                file = await sftp.open(path, "wb")
                await file.write(b"other bytes")
                with pytest.raises(asyncssh.SFTPError, match="not this"):
                    await file.close()
            assert (person.home / "there").read_bytes() == b"old content"
            assert not (person.home / "new").exists()
        assert person.leftovers() == []
    finally:
        await asyncio.to_thread(server.stop)
    stored = server.stored(person.name)
    assert (stored.used_quota_files, stored.used_quota_size) == (1, 11)


async def test_a_file_has_its_name_when_a_program_is_asked_about_it(tmp_path: Path) -> None:
    """A program finds it there, as with SFTPGo; what it replaced is back after a refusal."""
    act = script(
        tmp_path / "act",
        "#!/bin/sh\n"
        '{ echo "$SFTPGO_ACTION_PATH"; cat "$SFTPGO_ACTION_PATH" "$(dirname "$0")/there"; } >> "$0.out" 2>&1\n'
        '[ ! -e "$0.no" ]\n',
    )
    actions = {"execute_on": ["upload"], "execute_sync": ["upload"], "hook": str(act)}
    server = serve(tmp_path / "config", common={"actions": actions})
    told = act.with_name("act.out")
    try:
        person = server.account(quota_files=100)
        await asyncio.to_thread(server.start)
        (tmp_path / "there").symlink_to(person.home / "new.txt")
        await put(person, "/new.txt", b"first\n")
        assert told.read_text() == f"{person.home}/new.txt\nfirst\nfirst\n"
        told.unlink()
        await put(person, "/new.txt", b"second\n")
        assert told.read_text() == f"{person.home}/new.txt\nsecond\nsecond\n"
        assert (person.home / "new.txt").read_bytes() == b"second\n"
        act.with_name("act.no").touch()
        with pytest.raises(asyncssh.SFTPError):
            await put(person, "/other.txt")
        with pytest.raises(asyncssh.SFTPError):
            await put(person, "/new.txt", b"third\n")
        assert {one.name: one.read_bytes() for one in person.home.iterdir()} == {"new.txt": b"second\n"}
    finally:
        await asyncio.to_thread(server.stop)
    assert server.stored(person.name).used_quota_files == 1


async def test_a_receiver_that_fails_is_asked_again_with_the_same_id(tmp_path: Path) -> None:
    answers = iter([Answer(500), Answer(cut=True)])
    with Receiver(lambda _: next(answers, Answer())) as receiver:
        server = serve(
            tmp_path / "config",
            common={"actions": {"execute_on": ["upload"], "http_notification_url": receiver.url}},
        )
        try:
            person = server.account()
            await asyncio.to_thread(server.start)
            await put(person, "/f")
            await asyncio.to_thread(wait_for, lambda: receiver.accepted, "told in the end")
        finally:
            await asyncio.to_thread(server.stop)
    assert len(receiver.received) == 3
    assert len({request.id for request in receiver.received}) == 1


async def test_what_is_not_delivered_comes_after_kill_9(tmp_path: Path) -> None:
    with Receiver(lambda _: Answer(503)) as receiver:
        server = serve(
            tmp_path / "config",
            common={"actions": {"execute_on": ["upload"], "hook": receiver.url}},
        )
        try:
            person = server.account()
            await asyncio.to_thread(server.start)
            await put(person, "/f")
            server.kill()
            receiver.answer = lambda _: Answer()
            await asyncio.to_thread(server.start)
            await asyncio.to_thread(wait_for, lambda: receiver.accepted, "told in the end")
        finally:
            await asyncio.to_thread(server.stop)
    assert len({request.id for request in receiver.received}) == 1
    assert {json.loads(request.body)["virtual_path"] for request in receiver.received} == {"/f"}
