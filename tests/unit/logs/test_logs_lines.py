# SPDX-License-Identifier: Apache-2.0
"""The log: what each event looks like, rotation, no loss, no death."""

import asyncio
import gzip
import json
import logging
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tools.reference_inside import event_kinds

from tidegate.errors import ConfigError
from tidegate.events import kinds
from tidegate.events.bus import Bus
from tidegate.events.sinks.lines import FIELDS, OPERATIONS, SENDERS, line_of
from tidegate.events.sinks.log import LogSink
from tidegate.logs import Log, LogOptions, open_log
from tidegate.logs.rotation import LogFile
from tidegate.model import Action, Attrs, Origin

ALICE = Origin("c1", "alice", "SFTP", "192.0.2.7")
COMMON: dict[str, Any] = {"origin": ALICE}

EVENTS: list[tuple[kinds.Event, str, str, dict[str, Any]]] = [
    (
        kinds.Transferred(
            replace(ALICE, local_address="127.0.0.1:2022", remote_address="192.0.2.7:5000"), 0.0, Action.UPLOAD,
            virtual_path="/in/x", file_path="/srv/a/in/x", size=3, elapsed=0.0126,
        ),
        "Upload",
        "info",
        {
            "local_addr": "127.0.0.1:2022", "remote_addr": "192.0.2.7:5000", "elapsed_ms": 13, "size_bytes": 3,
            "username": "alice", "file_path": "/srv/a/in/x", "virtual_path": "/in/x", "connection_id": "c1",
            "protocol": "SFTP", "status": "ok", "error": "",
        },
    ),
    (
        kinds.Transferred(
            ALICE, 0.0, Action.DOWNLOAD, "failed", "/x", error="connection lost", command="RETR", reply=426
        ),
        "Download",
        "warn",
        {
            "local_addr": "", "remote_addr": "", "elapsed_ms": 0, "size_bytes": 0, "username": "alice",
            "file_path": "", "virtual_path": "/x", "connection_id": "c1", "protocol": "SFTP", "status": "failed",
            "error": "connection lost", "command": "RETR", "reply": 426,
        },
    ),
    (
        kinds.Operated(**COMMON, action=Action.RENAME, virtual_path="/a", virtual_target_path="/b", elapsed=0.002),
        "Rename",
        "info",
        {
            "local_addr": "", "remote_addr": "", "username": "alice", "file_path": "", "target_path": "",
            "virtual_path": "/a",
            "virtual_target_path": "/b", "filemode": "", "uid": -1, "gid": -1, "access_time": "",
            "modification_time": "", "size": -1, "elapsed": 2, "ssh_command": "", "connection_id": "c1",
            "protocol": "SFTP",
        },
    ),
    (
        kinds.Operated(**COMMON, action=Action.CHMOD, virtual_path="/a", attrs=Attrs(mode=0o640)),
        "Chmod",
        "info",
        {
            "local_addr": "", "remote_addr": "", "username": "alice", "file_path": "", "target_path": "",
            "virtual_path": "/a",
            "virtual_target_path": "", "filemode": "-rw-r-----", "uid": -1, "gid": -1, "access_time": "",
            "modification_time": "", "size": -1, "elapsed": 0, "ssh_command": "", "connection_id": "c1",
            "protocol": "SFTP",
        },
    ),
    (
        kinds.LoginFailed(**COMMON, login_type="password", reason="bad_credential", rule=""),
        "connection_failed",
        "debug",
        {
            "client_ip": "192.0.2.7", "username": "alice", "login_type": "password", "protocol": "SFTP",
            "error": "bad_credential", "rule": "", "connection_id": "c1",
        },
    ),
    (
        kinds.LoggedIn(encrypted=True, cipher="aes256-gcm", origin=replace(ALICE, local_address="a:1"), method="publickey", client_version="SSH-2.0-OpenSSH_9"),
        "login",
        "info",
        {
            "ip": "192.0.2.7", "username": "alice", "method": "publickey", "protocol": "SFTP",
            "client": "SSH-2.0-OpenSSH_9", "encrypted": True, "cipher": "aes256-gcm",
            "local_addr": "a:1", "connection_id": "c1",
        },
    ),
    (
        kinds.Connected(origin=Origin("c1", "", "SSH", "192.0.2.7", remote_address="192.0.2.7:5")),
        "connected",
        "debug",
        {
            "ip": "192.0.2.7", "remote_addr": "192.0.2.7:5", "local_addr": "", "protocol": "SSH",
            "connection_id": "c1",
        },
    ),
    (
        kinds.Disconnected(**COMMON, duration=1.5, by="admin root"),
        "disconnected",
        "info",
        {
            "ip": "192.0.2.7", "username": "alice", "protocol": "SFTP", "duration_ms": 1500, "client": "",
            "by": "admin root", "error": "", "connection_id": "c1",
        },
    ),
    (
        kinds.Banned(origin=Origin(ip="192.0.2.7"), source="192.0.2.7", until=9.0, reason="score_invalid"),
        "refused",
        "info",
        {
            "username": "", "intent": "banned", "virtual_path": "", "rule": "common.defender",
            "text": "score_invalid", "ip": "192.0.2.7", "protocol": "", "connection_id": "",
        },
    ),
    (
        kinds.ConnectionRefused(origin=Origin(protocol="SSH", ip="192.0.2.7"), rule="max_startups", text="too many"),
        "refused",
        "info",
        {
            "username": "", "intent": "connect", "virtual_path": "", "rule": "max_startups", "text": "too many",
            "ip": "192.0.2.7", "protocol": "SSH", "connection_id": "",
        },
    ),
    (
        kinds.Refused(**COMMON, intent="upload", virtual_path="/x.exe", rule="file_patterns[/]", text="no"),
        "refused",
        "info",
        {
            "username": "alice", "intent": "upload", "virtual_path": "/x.exe", "rule": "file_patterns[/]",
            "text": "no", "ip": "192.0.2.7", "protocol": "SFTP", "connection_id": "c1",
        },
    ),
    (
        kinds.Quarantined(
            **COMMON, name="20260101T000000-000000000000", virtual_path="/x.exe", rule="inspector[clamd]",
            text="Eicar", size=68,
        ),
        "quarantined",
        "warn",
        {
            "username": "alice", "virtual_path": "/x.exe", "name": "20260101T000000-000000000000",
            "rule": "inspector[clamd]", "text": "Eicar", "size_bytes": 68, "ip": "192.0.2.7", "protocol": "SFTP",
            "connection_id": "c1",
        },
    ),
    (
        kinds.Failed(
            **COMMON, intent="rename", virtual_path="/a", virtual_target_path="/ro/a", file_path="/srv/a",
            target_path="/srv/ro/a", rule="storage", errno="EACCES", text="permission denied", muted=3,
        ),
        "failed",
        "info",
        {
            "username": "alice", "intent": "rename", "virtual_path": "/a", "virtual_target_path": "/ro/a",
            "file_path": "/srv/a", "target_path": "/srv/ro/a", "rule": "storage", "errno": "EACCES",
            "text": "permission denied", "muted": 3, "ip": "192.0.2.7", "protocol": "SFTP", "connection_id": "c1",
        },
    ),
    (
        kinds.QuotaWarning(**COMMON, limit="quota_size", percent=80, used=8, allowed=10),
        "quota_warning",
        "warn",
        {
            "username": "alice", "limit": "quota_size", "percent": 80, "used": 8, "allowed": 10,
            "protocol": "SFTP", "connection_id": "c1",
        },
    ),
    (
        kinds.Administered(
            origin=Origin(username="boss", ip="192.0.2.7"), channel="rest", action="change", kind="user", name="alice",
            fields=("home_dir", "password"),
        ),
        "administered",
        "info",
        {
            "admin": "boss", "action": "change", "kind": "user", "name": "alice", "fields": "home_dir,password",
            "channel": "rest", "ip": "192.0.2.7",
        },
    ),
]  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> Iterator[tuple[Log, Path]]:
    path = tmp_path / "tidegate.log"
    log = open_log(LogOptions(file_path=str(path)))
    yield log, path
    log.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("event", "sender", "level", "fields"), EVENTS, ids=lambda v: getattr(v, "sender", None)
)
async def test_each_event_is_one_line(
    record: tuple[Log, Path], event: kinds.Event, sender: str, level: str, fields: dict[str, Any]
) -> None:
    log, path = record

    await LogSink().handle(event)
    await asyncio.to_thread(log.wait_written)

    (line,) = lines(path)
    moment = line.pop("time")
    assert line == {"level": level, "sender": sender, **fields}
    assert len(moment) == len("2026-11-22T01:47:06.123Z")
    assert moment.endswith("Z")
    assert list(json.loads(path.read_bytes()))[:3] == ["time", "level", "sender"]


def test_every_event_kind_has_a_line_and_every_field_a_word() -> None:
    seen = {type(event).__name__ for event, *_ in EVENTS}
    every = {kind.__name__ for kind in event_kinds()}

    assert seen == every
    for event, *_ in EVENTS:
        line = line_of(event)
        assert line is not None
        assert line.sender in SENDERS
        assert set(line.fields) <= set(FIELDS)
    assert set(FIELDS) == {name for event, *_ in EVENTS for name in line_of(event).fields}  # type: ignore[union-attr]
    assert set(OPERATIONS) <= set(SENDERS)
    assert line_of(object()) is None


def test_what_is_absent_and_times() -> None:
    line = line_of(kinds.Operated(action=Action.CHTIMES, attrs=Attrs(mtime_ns=1_700_000_000_999_999_999)))
    beyond = line_of(kinds.Operated(action=Action.CHTIMES, attrs=Attrs(mtime_ns=10**30)))

    assert line is not None
    assert beyond is not None
    assert (line.fields["uid"], line.fields["gid"], line.fields["size"]) == (-1, -1, -1)
    assert (line.fields["access_time"], line.fields["modification_time"]) == ("", "2023-11-14T22:13:20Z")
    assert beyond.fields["modification_time"] == str(10**30)


async def test_logins_are_recorded_at_level_info_and_not_at_warn(tmp_path: Path) -> None:
    event = kinds.LoginFailed(**COMMON, login_type="password", reason="bad_credential")
    for level, expected in (("info", 1), ("warn", 0)):
        path = tmp_path / f"{level}.log"
        log = open_log(LogOptions(file_path=str(path), level=level))  # type: ignore[arg-type]
        try:
            await LogSink().handle(event)
            await LogSink().handle(kinds.QuotaWarning(**COMMON, limit="quota_size"))
            logging.getLogger("tidegate.x").debug("developer detail")
        finally:
            log.close()
        senders = [line["sender"] for line in lines(path)]
        assert senders == ["connection_failed"] * expected + ["quota_warning"]


def test_other_libraries_and_ours_share_the_file(record: tuple[Log, Path]) -> None:
    log, path = record
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)  # the HTTP door quiets it, once started

    logging.getLogger("asyncssh").info("chatter")
    logging.getLogger("asyncssh").warning("key exchange with %s failed", "192.0.2.1")
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("tidegate.server.app").info("ready", extra={"fields": {"port": 2022}})
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("tidegate.y").exception("it failed")
    log.wait_written()

    found = lines(path)
    assert [(line["sender"], line["level"], line["message"]) for line in found] == [
        ("asyncssh", "warn", "key exchange with 192.0.2.1 failed"),
        ("uvicorn.error", "info", "started"),
        ("tidegate.server.app", "info", "ready"),
        ("tidegate.y", "error", "it failed"),
    ]
    assert found[2]["port"] == 2022
    assert "ValueError: broken" in found[3]["error"]


@pytest.mark.parametrize(
    "name", ["a\nb\r{}", 'q"uote\\', "\x1b[2J\x9b\u2028\u202e", "a\u2067gpj\u2069\u200f\u061c", "caf\u00e9 \U0001f30a", os.fsdecode(b"raw\xff\xfe")]
)  # fmt: skip
async def test_a_name_cannot_break_its_line(record: tuple[Log, Path], name: str) -> None:
    log, path = record

    await LogSink().handle(kinds.Transferred(ALICE, 0.0, Action.UPLOAD, virtual_path=f"/{name}"))
    await asyncio.to_thread(log.wait_written)

    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    assert not any(byte < 0x20 for byte in raw[:-1])
    text = raw.decode("utf-8")
    assert not any(char in text for char in "\x7f\x9b\u2028\u202e\u2067\u2069\u200f\u061c")
    assert json.loads(text)["virtual_path"] == f"/{name}"


def test_nothing_is_lost_on_a_normal_stop(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    log = open_log(LogOptions(file_path=str(path)))
    logger = logging.getLogger("tidegate.z")

    def work(thread: int) -> None:
        for number in range(500):
            logger.info("%d-%d", thread, number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    log.close()

    assert {line["message"] for line in lines(path)} == {f"{t}-{n}" for t in range(4) for n in range(500)}
    assert logging.getLogger().handlers.count(log._handler) == 0


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    before = os.umask(0)
    try:
        open_log(LogOptions(file_path=str(path), compress=True)).close()
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.log"

    with pytest.raises(ConfigError) as caught:
        open_log(LogOptions(file_path=str(path)))

    assert str(caught.value) == f"--log-file-path: {path} cannot be written: No such file or directory"


def test_no_log_at_all_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log = open_log(LogOptions())
    logging.getLogger("tidegate.q").error("nobody hears")
    log.rotate()
    log.close()

    assert capfd.readouterr() == ("", "")


def test_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    log = open_log(LogOptions(file_path="-"))
    logging.getLogger("tidegate.q").error("heard")
    log.close()

    assert json.loads(capfd.readouterr().err)["message"] == "heard"


# -- rotation ------------------------------------------------------------------------------------------------


def test_rotation_by_size_keeps_every_line(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "t.log", max_bytes=100)
    file.open()
    for number in range(30):
        file.write(b"%029d\n" % number)
    file.close()

    pieces = [*file.backups(), file.path]
    assert all(piece.stat().st_size <= 100 for piece in pieces)
    assert b"".join(p.read_bytes() for p in pieces) == b"".join(b"%029d\n" % n for n in range(30))
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in pieces)


def test_a_batch_fills_the_file_before_it_is_set_aside(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "t.log", max_bytes=100)
    file.open()
    file.write(b"a" * 39 + b"\n")
    file.write(b"".join(b"%029d\n" % number for number in range(4)))
    file.close()
    assert [piece.stat().st_size for piece in (*file.backups(), file.path)] == [100, 60]


def test_backups_are_counted_aged_and_compressed(tmp_path: Path) -> None:
    now = [1_000_000_000.0]
    file = LogFile(
        tmp_path / "t.log", max_bytes=10, max_backups=2, max_age_days=28, compress=True, clock=lambda: now[0]
    )
    other = tmp_path / "t-notes.log"
    other.write_text("not ours")
    file.open()
    for number in range(5):
        now[0] += 1
        file.write(b"line %d..\n" % number)
    assert [gzip.decompress(p.read_bytes()) for p in file.backups()] == [b"line 2..\n", b"line 3..\n"]
    assert all(p.name.endswith(".log.gz") for p in file.backups())
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in file.backups())

    os.utime(file.backups()[0], (now[0] - 29 * 86400,) * 2)
    os.utime(file.backups()[1], (now[0] - 27 * 86400,) * 2)
    now[0] += 1
    file.rotate()
    file.close()

    assert [gzip.decompress(p.read_bytes()) for p in file.backups()] == [b"line 3..\n", b"line 4..\n"]
    assert other.read_text() == "not ours"


def test_rotation_on_request_and_after_somebody_moved_the_file(record: tuple[Log, Path]) -> None:
    log, path = record
    logger = logging.getLogger("tidegate.r")

    logger.info("one")
    log.rotate()
    logger.info("two")
    log.wait_written()
    backup = next(p for p in path.parent.iterdir() if p != path)
    assert [line["message"] for line in lines(backup)] == ["one"]
    assert [line["message"] for line in lines(path)] == ["two"]

    moved = path.with_name("moved")
    path.rename(moved)
    log.rotate()
    logger.info("three")
    log.wait_written()
    assert [line["message"] for line in lines(moved)] == ["two"]
    assert [line["message"] for line in lines(path)] == ["three"]


def test_a_full_disk_loses_lines_and_not_the_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.logs import rotation

    monkeypatch.setattr(rotation, "REOPEN_SECONDS", 0.0)
    file = LogFile(Path("/dev/full"))
    file.open()
    file.write(b"lost\n")
    file.write(b"lost too\n")
    assert file.lost == 2
    assert "No space left on device" in capfd.readouterr().err

    file.path = tmp_path / "x.log"
    file.write(b"kept\n")
    file.close()

    first, second = (tmp_path / "x.log").read_bytes().splitlines()
    assert json.loads(first)["message"] == "2 lines could not be written"
    assert second == b"kept"
    assert file.lost == 0


def test_a_special_file_is_never_rotated(tmp_path: Path) -> None:
    link = tmp_path / "x.log"
    link.symlink_to("/dev/null")
    file = LogFile(link, max_bytes=1)
    file.open()
    for _ in range(5):
        file.write(b"line\n")
    file.rotate()
    file.close()

    assert link.is_symlink()
    assert list(tmp_path.iterdir()) == [link]


def test_a_slow_disk_costs_lines_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidegate.logs import setup

    monkeypatch.setattr(setup, "QUEUE_LIMIT", 4)
    path = tmp_path / "x.log"
    log = Log(LogOptions(file_path=str(path)))
    gate = threading.Event()
    log.open()
    assert log._file is not None
    write = log._file.write

    def slow(line: bytes) -> None:
        gate.wait(30)
        write(line)

    log._file.write = slow  # type: ignore[method-assign]
    logger = logging.getLogger("tidegate.slow")
    for number in range(20):
        logger.info("%d", number)
    lost = log._handler.lost
    assert lost >= 15
    gate.set()
    log.close()

    found = [line["message"] for line in lines(path)]
    assert f"{lost} lines lost: the disk is too slow" in found
    assert len([text for text in found if text.isdigit()]) == 20 - lost


async def test_the_bus_feeds_the_log(record: tuple[Log, Path]) -> None:
    log, path = record
    bus = Bus([LogSink()])
    await bus.open()
    for event, *_ in EVENTS:
        bus.emit(event)
    await bus.close()
    await asyncio.to_thread(log.wait_written)

    assert [line["sender"] for line in lines(path)] == [sender for _, sender, *_ in EVENTS]


def test_a_record_that_cannot_be_shown_is_still_a_line(record: tuple[Log, Path]) -> None:
    log, path = record

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

    for message, argument in (("%s", Hostile()), ("%d", "not a number")):
        log._handler.emit(logging.makeLogRecord({"name": "tidegate.h", "msg": message, "args": (argument,)}))
    log.wait_written()

    assert [line["message"] for line in lines(path)] == [
        "unprintable record of tidegate.h: RuntimeError",
        "unprintable record of tidegate.h: TypeError",
    ]
