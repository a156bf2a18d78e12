# SPDX-License-Identifier: Apache-2.0
"""Payloads for programs and URLs of the configuration: each argument, variable, query and body."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest

from tidegate.model.rule import Trigger
from tidegate.rules.facts import Facts
from tidegate.rules.hooks import HookCall, arguments, request, variables

RENAME = Facts(
    trigger=Trigger.FILE, event="rename", id="o-7", name="v1", status=2, virtual_path="/a b",
    virtual_target_path="/c", fs_path="/srv/v1/a b", fs_target_path="/srv/v1/c", size=6, elapsed=12,
    protocol="SFTP", ip="192.0.2.1", session_id="s1", role="rl", ssh_command="md5sum", open_flags=577,
    fs_provider=1, bucket="bk", endpoint="ep", at=1_767_379_669_557_030_685,
)  # fmt: skip
NOTHING = Facts(
    trigger=Trigger.FILE, event="upload", name="v1", protocol="FTP", ip="192.0.2.1", session_id="s1"
)
USER = {
    "id": 7, "status": 1, "username": "u1", "expiration_date": 5, "home_dir": "/srv/u1", "uid": 3, "gid": 4,
    "quota_files": 8, "quota_size": 9, "upload_bandwidth": 10, "download_bandwidth": 11, "max_sessions": 12,
    "password": "$2a$10$hash", "filesystem": {"provider": 2},
}  # fmt: skip
CHANGE = Facts(
    trigger=Trigger.PROVIDER, event="add", id="o-8", name="boss", ip="192.0.2.1", role="rl", object_type="user",
    object_name="u1", object_data=json.dumps(USER), at=1_767_379_669_557_030_685,
)  # fmt: skip


def short(hook: HookCall, facts: Facts) -> dict[str, str]:
    """Variables without the prefix, which are there with both; the id stands apart."""
    found = variables(hook, facts)
    assert found.pop("TIDEGATE_EVENT_ID") == facts.id
    ours = {
        name.removeprefix("TIDEGATE_"): text for name, text in found.items() if name.startswith("TIDEGATE_")
    }
    theirs = {
        name.removeprefix("SFTPGO_"): text for name, text in found.items() if name.startswith("SFTPGO_")
    }
    assert ours == theirs
    assert len(found) == 2 * len(ours)
    return ours


def query(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)


def test_files_of_the_old_line() -> None:
    hook = HookCall("/bin/x", "0.9")
    assert not hook.is_url
    assert arguments(hook, RENAME) == ("rename", "v1", "/srv/v1/a b", "/srv/v1/c", "md5sum")
    assert short(hook, RENAME) == {
        "ACTION": "rename", "ACTION_USERNAME": "v1", "ACTION_PATH": "/srv/v1/a b",
        "ACTION_TARGET": "/srv/v1/c", "ACTION_SSH_CMD": "md5sum", "ACTION_FILE_SIZE": "6",
        "ACTION_LOCAL_FILE": "false",
    }  # fmt: skip
    assert short(hook, NOTHING)["ACTION_FILE_SIZE"] == ""
    assert short(hook, replace(NOTHING, size=0))["ACTION_FILE_SIZE"] == ""
    assert short(hook, NOTHING)["ACTION_LOCAL_FILE"] == "true"
    url = HookCall("https://h.example/x?token=1", "0.9")
    assert url.is_url
    asked = request(url, RENAME)
    assert (asked.method, asked.body, asked.content_type) == ("GET", b"", "")
    assert asked.url.startswith("https://h.example/x?token=1&action=rename&")
    assert query(asked.url)[1:] == [
        ("action", "rename"), ("file_size", "6"), ("local_file", "false"), ("path", "/srv/v1/a b"),
        ("ssh_cmd", "md5sum"), ("target_path", "/srv/v1/c"), ("username", "v1"),
    ]  # fmt: skip
    least = request(HookCall("http://h.example/x", "0.9"), replace(NOTHING, name=""))
    assert least.url == "http://h.example/x?action=upload&local_file=true&path="


def test_files_of_the_new_line() -> None:
    hook = HookCall("/bin/x", "2")
    assert arguments(hook, RENAME) == ()
    assert short(hook, RENAME) == {
        "ACTION": "rename", "ACTION_USERNAME": "v1", "ACTION_PATH": "/srv/v1/a b",
        "ACTION_TARGET": "/srv/v1/c", "ACTION_VIRTUAL_PATH": "/a b", "ACTION_VIRTUAL_TARGET": "/c",
        "ACTION_SSH_CMD": "md5sum", "ACTION_FILE_SIZE": "6", "ACTION_ELAPSED": "12",
        "ACTION_FS_PROVIDER": "1", "ACTION_BUCKET": "bk", "ACTION_ENDPOINT": "ep", "ACTION_STATUS": "2",
        "ACTION_PROTOCOL": "SFTP", "ACTION_IP": "192.0.2.1", "ACTION_SESSION_ID": "s1",
        "ACTION_OPEN_FLAGS": "577", "ACTION_TIMESTAMP": "1767379669557030685", "ACTION_ROLE": "rl",
    }  # fmt: skip
    assert short(hook, NOTHING)["ACTION_FILE_SIZE"] == "0"
    asked = request(HookCall("http://h.example/x", "2"), RENAME)
    assert (asked.method, asked.url, asked.content_type) == ("POST", "http://h.example/x", "application/json")
    assert json.loads(asked.body) == {
        "action": "rename", "username": "v1", "path": "/srv/v1/a b", "target_path": "/srv/v1/c",
        "virtual_path": "/a b", "virtual_target_path": "/c", "ssh_cmd": "md5sum", "file_size": 6,
        "elapsed": 12, "fs_provider": 1, "bucket": "bk", "endpoint": "ep", "status": 2, "protocol": "SFTP",
        "ip": "192.0.2.1", "session_id": "s1", "open_flags": 577, "role": "rl",
        "timestamp": 1_767_379_669_557_030_685,
    }  # fmt: skip
    least = json.loads(request(HookCall("http://h.example/x", "2"), NOTHING).body)
    assert least == {
        "action": "upload", "username": "v1", "path": "", "fs_provider": 0, "status": 1, "protocol": "FTP",
        "ip": "192.0.2.1", "session_id": "s1", "timestamp": 0,
    }  # fmt: skip


def test_records_of_the_old_line() -> None:
    hook = HookCall("/bin/x", "0.9", "records")
    assert arguments(hook, CHANGE) == ("add", "u1", "7", "1", "5", "/srv/u1", "3", "4")
    assert short(hook, CHANGE) == {
        "USER_ACTION": "add", "USER_USERNAME": "u1", "USER_PASSWORD": "$2a$10$hash", "USER_ID": "7",
        "USER_STATUS": "1", "USER_EXPIRATION_DATE": "5", "USER_HOME_DIR": "/srv/u1", "USER_UID": "3",
        "USER_GID": "4", "USER_QUOTA_FILES": "8", "USER_QUOTA_SIZE": "9", "USER_UPLOAD_BANDWIDTH": "10",
        "USER_DOWNLOAD_BANDWIDTH": "11", "USER_MAX_SESSIONS": "12", "USER_FS_PROVIDER": "2",
    }  # fmt: skip
    gone = replace(CHANGE, object_data="")
    assert arguments(hook, gone) == ("add", "u1", "0", "0", "0", "", "0", "0")
    assert short(hook, gone)["USER_FS_PROVIDER"] == "0"
    asked = request(HookCall("http://h.example/x", "0.9", "records"), CHANGE)
    assert (asked.method, asked.url) == ("POST", "http://h.example/x?action=add")
    assert asked.content_type == "application/json"
    assert json.loads(asked.body) == {key: value for key, value in USER.items() if key != "password"}


def test_records_of_the_new_line() -> None:
    hook = HookCall("/bin/x", "2", "records")
    assert arguments(hook, CHANGE) == ()
    found = short(hook, CHANGE)
    shown = {key: value for key, value in USER.items() if key != "password"}
    assert json.loads(found.pop("PROVIDER_OBJECT")) == shown
    assert found == {
        "PROVIDER_ACTION": "add", "PROVIDER_OBJECT_TYPE": "user", "PROVIDER_OBJECT_NAME": "u1",
        "PROVIDER_USERNAME": "boss", "PROVIDER_IP": "192.0.2.1", "PROVIDER_ROLE": "rl",
        "PROVIDER_TIMESTAMP": "1767379669557",
    }  # fmt: skip
    asked = request(HookCall("http://h.example/x", "2", "records"), CHANGE)
    assert (asked.method, asked.content_type) == ("POST", "application/json")
    assert json.loads(asked.body) == shown
    assert query(asked.url) == [
        ("action", "add"), ("ip", "192.0.2.1"), ("object_name", "u1"), ("object_type", "user"), ("role", "rl"),
        ("timestamp", "1767379669557030685"), ("username", "boss"),
    ]  # fmt: skip
    assert "role" not in dict(
        query(request(HookCall("http://h.example/x", "2", "records"), replace(CHANGE, role="")).url)
    )


@pytest.mark.parametrize("data", ["", "[]", "nonsense", '"text"'])
def test_a_record_that_cannot_be_read_is_an_empty_one(data: str) -> None:
    hook = HookCall("/bin/x", "2", "records")
    assert short(hook, replace(CHANGE, object_data=data))["PROVIDER_OBJECT"] == "{}"


def test_names_of_any_bytes() -> None:
    odd = replace(RENAME, fs_path="/caf\udcff\0x", name="a&b=c")
    url = request(HookCall("http://h.example/x", "0.9"), odd).url
    assert "path=%2Fcaf%FF%00x" in url
    assert "username=a%26b%3Dc" in url
    assert short(HookCall("/bin/x", "0.9"), odd)["ACTION_PATH"] == "/caf\udcff\ufffdx"
