# SPDX-License-Identifier: Apache-2.0
"""The log of the running product: one line for each thing done, with the fields that readers rely on."""

from __future__ import annotations

import json
import os

import asyncssh
import pytest
from tests.support import sftp_packets as p
from tests.support.raw_sftp import raw_channel, raw_sftp
from tests.support.running import Running, wait_for

from tidegate import built

TRANSFER = {
    "time", "level", "sender", "local_addr", "remote_addr", "elapsed_ms", "size_bytes", "username", "file_path",
    "virtual_path", "connection_id", "protocol", "status", "error",
}  # fmt: skip
OPERATION = {
    "time", "level", "sender", "username", "file_path", "target_path", "virtual_path", "virtual_target_path",
    "filemode", "uid", "gid", "access_time", "modification_time", "size", "elapsed", "ssh_command", "connection_id",
    "protocol",
}  # fmt: skip
ABSENT = {
    "target_path": "", "virtual_target_path": "", "filemode": "", "uid": -1, "gid": -1, "access_time": "",
    "modification_time": "", "size": -1, "ssh_command": "",
}  # fmt: skip


def test_the_first_line_tells_what_was_built(server: Running):
    assert server.lines()[0]["message"] == built.described()


async def test_one_line_for_each_operation(server: Running):
    person = server.account()
    home = person.home
    uid, gid = os.geteuid(), os.getegid()
    async with person.connect() as client:
        raw = await raw_channel(client)
        handle = (await raw.ask(p.open_, "/up", "w")).handle
        await raw.ask(p.write, handle, 0, b"x" * 1000)
        await raw.ask(p.write, handle, 1000, b"x" * 500)
        await raw.ask(p.close, handle)
        handle = (await raw.ask(p.open_, "/up", "r")).handle
        await raw.ask(p.read, handle, 0, 700)
        await raw.ask(p.close, handle)
        for build, *args in (
            (p.mkdir, "/dir"),
            (p.rename, "/up", "/dir/f"),
            (p.symlink, "dir/f", "/link"),
            (p.extended, "hardlink@openssh.com", p.s("/dir/f") + p.s("/hard")),
            (p.setstat, "/hard", p.attrs(mode=0o100640)),
            (p.setstat, "/hard", p.attrs(owner=(uid, gid))),
            (p.setstat, "/hard", p.attrs(times=(1_000_000_000, 1_234_567_890))),
            (p.setstat, "/hard", p.attrs(size=10)),
            (p.extended, "copy-file", p.s("/hard") + p.s("/copy") + b"\0"),
            (p.remove, "/link"),
            (p.remove, "/dir/f"),
            (p.rmdir, "/dir"),
        ):
            reply = await raw.ask(build, *args)
            assert reply.code == 0, (args, reply)
        assert (await client.run("md5sum /hard")).exit_status == 0
        connection = server.wait_line("login", username=person.name)
    server.wait_line("disconnected", username=person.name)

    expected = {
        "Mkdir": {"virtual_path": "/dir", "file_path": f"{home}/dir"},
        "Rename": {
            "virtual_path": "/up", "file_path": f"{home}/up", "virtual_target_path": "/dir/f", "target_path": f"{home}/dir/f",
        },
        "Symlink": {
            "virtual_path": "/dir/f", "file_path": f"{home}/dir/f", "virtual_target_path": "/link", "target_path": f"{home}/link",
        },
        "Link": {
            "virtual_path": "/dir/f", "file_path": f"{home}/dir/f", "virtual_target_path": "/hard", "target_path": f"{home}/hard",
        },
        "Chmod": {"virtual_path": "/hard", "file_path": f"{home}/hard", "filemode": "-rw-r-----"},
        "Chown": {"virtual_path": "/hard", "file_path": f"{home}/hard", "uid": uid, "gid": gid},
        "Chtimes": {
            "virtual_path": "/hard", "file_path": f"{home}/hard",
            "access_time": "2001-09-09T01:46:40Z", "modification_time": "2009-02-13T23:31:30Z",
        },
        "Truncate": {"virtual_path": "/hard", "file_path": f"{home}/hard", "size": 10},
        "Copy": {
            "virtual_path": "/hard", "file_path": f"{home}/hard", "virtual_target_path": "/copy", "target_path": f"{home}/copy",
            "size": 10,
        },
        "Rmdir": {"virtual_path": "/dir", "file_path": f"{home}/dir"},
        "SSHCommand": {"ssh_command": "md5sum /hard"},
    }  # fmt: skip
    for sender, fields in expected.items():
        (line,) = server.lines(sender, username=person.name)
        assert set(line) >= OPERATION, sender
        assert {name: line[name] for name in ABSENT} == {
            **ABSENT,
            **{k: v for k, v in fields.items() if k in ABSENT},
        }
        for name, value in fields.items():
            assert line[name] == value, (sender, name)
        assert line["elapsed"] >= -1
        assert line["protocol"] in {"SFTP", "SSH"}
        assert line["connection_id"].startswith(connection["connection_id"])
    removed = server.lines("Remove", username=person.name)
    assert [line["virtual_path"] for line in removed] == ["/link", "/dir/f"]
    assert all(set(line) >= OPERATION for line in removed)

    (upload,) = server.lines("Upload", username=person.name)
    (download,) = server.lines("Download", username=person.name)
    for line, size in ((upload, 1500), (download, 700)):
        assert set(line) == TRANSFER
        assert (line["size_bytes"], line["virtual_path"], line["file_path"]) == (size, "/up", f"{home}/up")
        assert (line["status"], line["error"], line["level"], line["protocol"]) == ("ok", "", "info", "SFTP")
        assert line["local_addr"] == f"127.0.0.1:{server.port}"
        assert line["remote_addr"].startswith("127.0.0.1:")
        assert line["elapsed_ms"] >= 0
    one_channel = {upload["connection_id"], download["connection_id"], removed[0]["connection_id"]}
    assert len(one_channel) == 1


async def test_logins_that_fail_are_lines_for_fail2ban(server: Running):
    person = server.account()
    other = asyncssh.generate_private_key("ssh-ed25519")
    wrong = "Wr0ng-pass-" + person.password[::-1]
    server.secrets.add(wrong)
    for options in (
        {"client_keys": None, "password": wrong, "preferred_auth": "password"},
        {"client_keys": [other], "preferred_auth": "publickey"},
        {
            "client_keys": None,
            "username": f"{person.name}-nobody",
            "password": wrong,
            "preferred_auth": "password",
        },
        {"client_keys": None, "preferred_auth": "none"},
    ):
        with pytest.raises(asyncssh.PermissionDenied):
            await person.connect(**options)
    fields = {"client_ip", "username", "login_type", "protocol", "error", "connection_id"}
    line = server.wait_line("connection_failed", username=person.name, login_type="password")
    assert fields <= set(line)
    assert (line["client_ip"], line["level"], line["protocol"]) == ("127.0.0.1", "debug", "SSH")
    server.wait_line("connection_failed", username=person.name, login_type="publickey")
    server.wait_line("connection_failed", username=f"{person.name}-nobody", login_type="password")
    server.wait_line("connection_failed", username=person.name, login_type="no_auth_tried")


async def test_no_secret_reaches_the_log(server: Running):
    """Passwords right, wrong and typed into the wrong place, keys, hashes: at level debug. `Running.stop` looks
    for the secrets of all accounts again."""
    person = server.account()
    for method in ("password", "keyboard-interactive"):
        async with person.connect(
            client_keys=None, password=person.password, preferred_auth=method
        ) as client:
            await client.run(f"md5sum --password={person.password}")
    private = person.key.read_text()
    async with raw_sftp(person) as raw:
        # a broken client that sends its key as anything but a path
        await raw.ask(p.extended, "unknown@example.org", p.s(private))
    server.wait_line("disconnected", username=person.name)
    wait_for(lambda: len(server.lines("disconnected", username=person.name)) == 3, "not all ended")
    stored = server.stored(person.name)
    text = server.log_file.read_text()
    commands = [line["ssh_command"] for line in server.lines("SSHCommand", username=person.name)]
    assert all(person.password not in command for command in commands)
    for secret in (
        person.password,
        stored.password,
        private.splitlines()[2],
        stored.public_keys[0].split()[1],
    ):
        assert secret
        assert secret not in text


def test_every_line_is_one_json_object_with_time_level_and_sender(server: Running):
    person = server.account()
    (person.home / "new\nline \x1b[31m \u2028").write_bytes(b"x")
    with open(os.fsencode(person.home) + b"/raw\xff", "wb"):
        pass

    async def touch_them() -> None:
        async with raw_sftp(person) as raw:
            for name in (b"/new\nline \x1b[31m \xe2\x80\xa8", b"/raw\xff"):
                assert (await raw.ask(p.remove, name)).code == 0

    from tests.support.running import in_thread

    in_thread(touch_them)
    wait_for(lambda: len(server.lines("Remove", username=person.name)) == 2, "not logged")
    names = [line["virtual_path"] for line in server.lines("Remove", username=person.name)]
    assert names == ["/new\nline \x1b[31m \u2028", "/raw\udcff"]
    for text in server.log_file.read_bytes().splitlines():
        line = json.loads(text)
        assert {"time", "level", "sender"} <= set(line)
        assert line["level"] in {"debug", "info", "warn", "error"}
        assert all(byte >= 32 for byte in text)
