# SPDX-License-Identifier: Apache-2.0
"""Searching the log: rotated and compressed files, cut and huge lines, bounds, cursors, and who sees what."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tidegate.logs import LogOptions, backwards, log_files, open_log, search
from tidegate.logs.filters import LineFilter, connection_of, parse
from tidegate.logs.lines import event_line
from tidegate.logs.recent import RecentLines
from tidegate.logs.rotation import LogFile
from tidegate.logs.search import Found, LogReader

NOON = 1_796_040_000.0
"""2026-11-30T12:00:00Z"""
EVERYTHING = LineFilter()


def line(second: float, sender: str = "Upload", level: int = 20, **fields: Any) -> bytes:
    return event_line(NOON + second, level, sender, {"username": "alder", "connection_id": "c1", **fields})


def reader(path: Path | None, recent: RecentLines | None = None) -> LogReader:
    return LogReader(path, recent or RecentLines(), "somewhere")


def numbers(found: Found) -> list[int]:
    return [one.number("n") for one in found.lines]


def every(log: LogReader, wanted: LineFilter = EVERYTHING, limit: int = 7, **more: Any) -> list[int]:
    """All that is found, page by page."""
    got: list[int] = []
    cursor = ""
    for _ in range(10_000):
        found = log.search(wanted, cursor=cursor, limit=limit, **more)
        got += numbers(found)
        if not (cursor := found.cursor):
            return got
    raise AssertionError("no end")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backwards, "BLOCK", 512)
    monkeypatch.setattr(backwards, "MAX_LINE", 256)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("compress", [False, True])
def test_every_line_of_rotated_files_is_found_once_newest_first(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "tidegate.log"
    file = LogFile(path, max_bytes=4_000, compress=compress)
    file.open()
    for number in range(200):
        file.write(line(number, n=number))
    file.close()
    assert len(file.backups()) > 3
    assert every(reader(path)) == list(reversed(range(200)))
    assert every(reader(path), LineFilter(text="nothing has this")) == []


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("compress", [False, True])
def test_a_cursor_holds_over_rotation_compression_and_new_lines(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "tidegate.log"
    file = LogFile(path, compress=compress)
    file.open()
    file.write(b"".join(line(n, n=n) for n in range(20)))
    log, wanted = reader(path), LineFilter()
    first = log.search(wanted, limit=5)
    assert numbers(first) == [19, 18, 17, 16, 15]
    file.write(line(20, n=20))
    file.rotate()
    file.write(line(21, n=21))
    file.rotate()
    file.write(line(22, n=22))
    second = log.search(wanted, cursor=first.cursor, limit=5)
    assert numbers(second) == [14, 13, 12, 11, 10]
    for backup in file.backups():
        backup.unlink()
    gone = log.search(wanted, cursor=second.cursor, limit=5)
    assert (numbers(gone), gone.cursor) == ([], "")
    assert gone.notes == ("the lines before these were removed meanwhile",)
    file.close()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rotations", [1, 2])
def test_a_rotation_between_two_looks_neither_doubles_nor_loses_nor_mixes_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool, rotations: int
) -> None:
    path = tmp_path / "tidegate.log"
    file = LogFile(path, compress=compress)
    file.open()
    file.write(b"".join(line(n, n=n) for n in range(5)))
    opened, asked = log_files._opened, [0]

    def rotated_after(of: Path) -> Any:
        found = opened(of)
        if not asked[0]:
            asked[0] = 1
            for number in range(rotations):
                file.rotate()
                file.write(line(5 + number, n=5 + number))
        return found

    monkeypatch.setattr(log_files, "_opened", rotated_after)
    assert every(reader(path), limit=100) == list(reversed(range(5 + rotations)))
    file.close()


def test_reading_while_lines_are_written_and_rotated(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    file = LogFile(path, max_bytes=20_000, compress=True)
    file.open()
    ended = threading.Event()

    def write() -> None:
        for number in range(3_000):
            file.write(line(number, n=number))
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    log, looks = reader(path), 0
    while not ended.is_set() or not looks:
        got = every(log, LineFilter(username="alder"), limit=100)
        assert got == list(reversed(range(len(got)))), got
        looks += 1
    writer.join()
    file.close()
    assert every(log, limit=500) == list(reversed(range(3_000)))


@pytest.mark.usefixtures("small_blocks")
def test_cut_huge_and_foreign_lines_hide_no_others(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    huge = line(2, message="x" * 5_000, n=-5)
    whole = [
        line(0, n=0),
        b'{"time":"2026-11-30T12:00:01.000Z","level":"info","sender":"Upl\n',  # of a crash
        huge,
        b"Traceback of somebody else\n",
        b"[1, 2]\n",
        b"[" * 3_000 + b"\n",
        b"\xff\xfe\n",
        line(3, n=3),
    ]
    path.write_bytes(b"".join(whole) + line(4, n=4)[:50])  # the last is being written
    found = reader(path).search(LineFilter(), limit=100)
    assert len(found.lines) == len(whole)
    assert numbers(found) == [3, -1, -1, -1, -1, -1, -1, 0]
    cut = found.lines[5]
    assert (cut.text("sender"), cut.time, len(cut.raw)) == ("", "2026-11-30T12:00:02.000Z", 256)
    assert found.lines[6].time == "2026-11-30T12:00:01.000Z"
    assert found.lines[1].text("message") == "\\xff\\xfe"
    assert every(reader(path), LineFilter(username="alder")) == [3, 0]
    path.write_bytes(huge[:-1])
    assert reader(path).search(LineFilter()).lines == ()


def test_empty_missing_and_strange_files(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    assert reader(path).search(LineFilter()) == Found()
    path.touch()
    assert reader(path).search(LineFilter()) == Found()
    (tmp_path / "tidegate-2026-11-30T11-00-00.000.log").mkdir()
    (tmp_path / "tidegate-2026-11-30T11-00-01.000.log.gz").write_bytes(b"no gzip")
    packed = gzip.compress(b"".join(line(n, n=n) for n in range(2_000)))
    (tmp_path / "tidegate-2026-11-30T11-00-02.000.log.gz").write_bytes(packed[: len(packed) // 2])
    path.write_bytes(line(5_000, n=5_000))
    found = reader(path).search(LineFilter(), limit=3)
    assert numbers(found)[0] == 5_000
    assert len(found.lines) == 3
    assert [note.partition(" cannot be read")[0] for note in found.notes] == [
        "tidegate-2026-11-30T11-00-02.000.log.gz"
    ]


def test_a_file_that_is_being_compressed_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    aside = tmp_path / "tidegate-2026-11-30T11-00-00.000.log"
    aside.write_bytes(line(1, n=1))
    aside.with_name(aside.name + ".gz").write_bytes(gzip.compress(line(1, n=1)))
    path.write_bytes(line(2, n=2))
    assert every(reader(path)) == [2, 1]
    aside.unlink()
    assert every(reader(path)) == [2, 1]


def test_a_file_that_was_copied_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    path.write_bytes(line(1, n=1) + line(2, n=2))
    (tmp_path / "tidegate.log.1").write_bytes(line(1, n=1) + line(2, n=2))
    assert every(reader(path)) == [2, 1]


def test_files_that_logrotate_moved_away_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    names = (
        "tidegate.log.3.gz",
        "tidegate.log-20261129",
        "tidegate-2026-11-30T11-00-00.000.log",
        "tidegate.log.1",
    )
    for number, name in enumerate(names):
        lines = line(number, n=number)
        (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
        os.utime(tmp_path / name, (NOON + number, NOON + number))
    path.write_bytes(line(9, n=9))
    for name in ("tidegate.log.old", "other.log.1", "tidegate.log.1.bak"):
        (tmp_path / name).write_bytes(line(1, n=100))
    assert every(reader(path)) == [9, 3, 2, 1, 0]


def test_a_bomb_is_read_up_to_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backwards, "MAX_PACKED", 300_000)
    path = tmp_path / "tidegate.log"
    path.write_bytes(line(9, n=9))
    bomb = line(1, n=1) + b"\0" * 3_000_000
    (tmp_path / "tidegate-2026-11-30T11-00-00.000.log.gz").write_bytes(gzip.compress(bomb))
    found = reader(path).search(LineFilter())
    assert numbers(found)[:2] == [9, 1]
    assert "holds more than" in found.notes[0]


def test_what_cannot_be_searched_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that somebody put beside the log; the bytes that are read and unpacked are counted."""
    path = tmp_path / "tidegate.log"
    path.write_bytes(line(9, n=9))
    (tmp_path / "tidegate.log.1.gz").write_bytes(gzip.compress(b"\0" * 30_000_000))  # no line at all
    (tmp_path / "tidegate.log.2.gz").write_bytes(gzip.compress(b"") * 50_000)
    with (tmp_path / "tidegate.log.3").open("wb") as sparse:
        sparse.write(line(1, n=1))
        sparse.truncate(1 << 32)
    got = [0]

    def counted(fd: int) -> backwards.Read:
        plain = reader_of(fd)

        def read(offset: int, count: int) -> bytes:
            block = plain(offset, count)
            got[0] += len(block)
            return block

        return read

    def unpacked(read: backwards.Read) -> Any:
        for block in unpack(read):
            got[0] += len(block)
            yield block

    reader_of, unpack = backwards.reader_of, backwards._unpacked
    monkeypatch.setattr(backwards, "reader_of", counted)
    monkeypatch.setattr(backwards, "_unpacked", unpacked)
    assert numbers(reader(path).search(LineFilter())) == [9]
    assert got[0] < 40_000_000


def test_a_search_ends_in_the_middle_of_a_long_line(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    with path.open("wb") as sparse:
        sparse.write(line(1, n=1))
        sparse.truncate(1 << 33)
    with path.open("ab") as sparse:
        sparse.write(b"\n" + line(2, n=2))
    looks = [0]

    def stopped() -> bool:
        looks[0] += 1
        return looks[0] > 100

    found = reader(path).search(LineFilter(), stopped=stopped)
    assert numbers(found) == [2]
    assert int(found.cursor.partition(":")[2]) > 1 << 32


@pytest.mark.parametrize("packed", [False, True])
def test_long_lines_come_in_small_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(search, "MAX_FOUND", 50_000)
    path = tmp_path / "tidegate.log"
    lines = b"".join(line(n, n=n, virtual_path="/" + "x" * 10_000) for n in range(50))
    if packed:
        (tmp_path / "tidegate.log.1.gz").write_bytes(gzip.compress(lines))
        lines = line(50, n=50)
    path.write_bytes(lines)
    found = reader(path).search(LineFilter())
    assert 4 <= len(found.lines) <= 6
    assert every(reader(path), limit=500) == list(reversed(range(51 if packed else 50)))


def test_a_link_among_rotated_files_shows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "tidegate.log"
    path.parent.mkdir()
    path.write_bytes(line(9, n=9))
    (tmp_path / "secrets").write_bytes(line(1, n=1))
    (tmp_path / "packed").write_bytes(gzip.compress(line(2, n=2)))
    for name, target in (
        ("tidegate.log.1", "secrets"),
        ("tidegate-2026-11-30T11-00-00.000.log", "secrets"),
        ("tidegate.log.2.gz", "packed"),
    ):
        (path.parent / name).symlink_to(tmp_path / target)
    assert every(reader(path)) == [9]
    # The operator's own name of the log may be one.
    (tmp_path / "current.log").symlink_to(path)
    assert every(reader(tmp_path / "current.log")) == [9]


def traced(second: float, n: int, user: str, protocol: str = "sftp", **fields: Any) -> bytes:
    """A line of level ``trace``, as `doors.common.trace` writes it."""
    written = {
        "cmd": "OPEN", "full_path": "-", "target_path": "-", "remote_user": user, "remote_ip": "192.0.2.7",
        "protocol": protocol, "response_code": 0, "connection_id": "c1_0", "n": n,
    }  # fmt: skip
    return event_line(NOON + second, 10, "trace", {**written, **fields})


TRACED = [
    traced(0, 0, "-", "ftp", cmd="AUTH"),
    traced(1, 1, "alder", full_path="/In/a.csv", target_path="/out/b.csv"),
    line(2, "Upload", n=2, protocol="SFTP", remote_addr="192.0.2.7:50", virtual_path="/in/a.csv"),
    traced(3, 3, "alder", "http", cmd="GET", connection_id="r1"),  # may be an administrator of that name
    traced(4, 4, "birch", remote_ip="192.0.2.8"),
    line(5, "other", n=5, username="x", message="alder", remote_user="alder", connection_id=""),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"username": "alder"}, [3, 2, 1]),
        ({"username": "-"}, []),
        ({"username": "alder", "senders": ["trace"]}, [3, 1]),
        ({"username": "alder", "protocol": "SFTP"}, [2, 1]),
        ({"protocol": "FTP"}, [0]),
        ({"address": "192.0.2.7"}, [3, 2, 1, 0]),
        ({"address": "192.0.2.8/31"}, [4]),
        ({"path": "/in/"}, [2, 1]),
        ({"path": "/OUT/b"}, [1]),
        ({"own": frozenset({"alder"})}, [2, 1]),
        ({"own": frozenset({"alder", "-", ""})}, [2, 1]),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_lines_of_requests_belong_to_their_account(
    tmp_path: Path, wanted: dict[str, Any], found: list[int], compress: bool
) -> None:
    path = tmp_path / "tidegate.log"
    content = b"".join(TRACED)
    if compress:
        (tmp_path / "tidegate.log.1.gz").write_bytes(gzip.compress(content))
        content = b""
    path.write_bytes(content)
    assert every(reader(path), LineFilter(**wanted)) == found


@pytest.mark.parametrize("own", [frozenset({"alder"}), frozenset({"-alder"})], ids=list)
def test_a_name_that_begins_with_a_dash_is_another_name(tmp_path: Path, own: frozenset[str]) -> None:
    path = tmp_path / "tidegate.log"
    path.write_bytes(traced(0, 0, "-") + traced(1, 1, "-alder") + traced(2, 2, "alder"))
    assert every(reader(path), LineFilter(own=own)) == [2 if "alder" in own else 1]
    assert every(reader(path), LineFilter(username="-alder")) == [1]


def test_lines_whose_fields_are_no_texts_are_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    strange = (
        b'{"time":"2026-11-30T12:00:01.000Z","level":{},"sender":[],"username":["alder"],"protocol":{}}\n'
    )
    path.write_bytes(line(0, n=0) + strange + line(2, n=2))
    assert numbers(reader(path).search(LineFilter(own=frozenset({"alder"})))) == [2, 0]
    assert numbers(reader(path).search(LineFilter(level="info", senders=["Upload"]))) == [2, 0]


@pytest.mark.usefixtures("small_blocks")
def test_bounds_of_bytes_and_time_end_a_search_that_can_go_on(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    path.write_bytes(b"".join(line(n, n=n) for n in range(500)))
    log = reader(path)
    bounded = log.search(LineFilter(text='"nothing"'), most=5_000)
    assert (bounded.lines, bool(bounded.cursor)) == ((), True)
    assert "2026-11-30T12:07" < bounded.searched_to < "2026-11-30T12:09"
    assert every(log, most=5_000) == list(reversed(range(500)))
    assert every(log, seconds=-1.0) == list(reversed(range(500)))  # a block each time, at least
    stopped = log.search(LineFilter(), stopped=lambda: True)
    assert len(stopped.lines) < 10


@pytest.mark.usefixtures("small_blocks")
def test_a_time_range_is_found_without_reading_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    path.write_bytes(b"".join(line(10 * n, n=n) for n in range(2_000)))
    wanted = LineFilter(since="2026-11-30T14:00:00.000Z", until="2026-11-30T14:00:30.000Z")
    found = reader(path).search(wanted, most=8_000)
    assert (numbers(found), found.cursor) == ([723, 722, 721, 720], "")
    before = LineFilter(until="2026-11-30T11:00:00.000Z")
    assert reader(path).search(before) == Found()
    # A line that stands a little out of order is found all the same.
    path.write_bytes(line(100, n=1) + line(70, n=2) + line(200, n=3))
    inside = LineFilter(since="2026-11-30T12:01:10.000Z", until="2026-11-30T12:01:10.000Z")
    assert numbers(reader(path).search(inside)) == [2]


MANY = [
    line(0, "login", n=0, ip="192.0.2.7", protocol="SSH", client="SSH-2.0-Ab"),
    line(1, "Upload", n=1, remote_addr="192.0.2.7:5000", virtual_path="/In/Größe.csv", protocol="SFTP"),
    line(2, "connection_failed", 10, n=2, client_ip="2001:db8::7", username='b"<b>', connection_id="c2"),
    line(3, "Upload", n=3, remote_addr="[2001:db8::7]:22", username="birch", connection_id="c1_0"),
    line(4, "refused", 30, n=4, ip="198.51.100.9", username="", connection_id="c11", rule="x"),
    line(5, "uvicorn", 40, n=5, message="it broke", username="", connection_id=""),
    line(6, "Rename", n=6, virtual_path="/a\udcff", virtual_target_path="/in/B", username="birch"),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"username": "birch"}, [6, 3]),
        ({"username": 'b"<b>'}, [2]),
        ({"username": "BIRCH"}, []),
        ({"address": "192.0.2.7"}, [1, 0]),
        ({"address": "2001:DB8:0::7"}, [3, 2]),
        ({"address": "2001:db8::/32"}, [3, 2]),
        ({"address": "192.0.2.0/24"}, [1, 0]),
        ({"connection": "c1"}, [6, 3, 1, 0]),
        ({"connection": "c1_7"}, [6, 3, 1, 0]),
        ({"connection": "c"}, []),
        ({"protocol": "SFTP"}, [1]),
        ({"level": "debug"}, [6, 5, 4, 3, 2, 1, 0]),
        ({"level": "warn"}, [5, 4]),
        ({"senders": ["Upload"]}, [3, 1]),
        ({"senders": ["Upload", "login"]}, [3, 1, 0]),
        ({"senders": ["Upload", "login", "refused", "Rename"], "others": True}, [5, 2]),
        ({"path": "/in/"}, [6, 1]),
        ({"path": "GRÖSSE"}, [1]),
        ({"path": "\udcff"}, [6]),
        ({"text": "IT BROKE"}, [5]),
        ({"text": "größe"}, [1]),
        ({"text": '"<B>'}, [2]),
        ({"text": "ssh-2.0-ab"}, [0]),
        ({"text": "198.51"}, [4]),
        ({"since": "2026-11-30T12:00:05.000Z"}, [6, 5]),
        ({"until": "2026-11-30T12:00:01.000Z"}, [1, 0]),
        ({"own": frozenset({"birch"})}, [6, 3]),
        ({"own": frozenset()}, []),
        ({"own": frozenset({""}) - {""}, "username": "birch"}, []),
        ({"own": frozenset({"alder"}), "username": "birch"}, []),
    ],
)
def test_filters(tmp_path: Path, wanted: dict[str, Any], found: Sequence[int]) -> None:
    path = tmp_path / "tidegate.log"
    path.write_bytes(b"".join(MANY))
    assert numbers(reader(path).search(LineFilter(**wanted))) == list(found)


@pytest.mark.parametrize("address", ["nobody", "192.0.2.0/99", "192.0.2.7\n"])
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match=r"192|nobody"):
        reader(tmp_path / "log").search(LineFilter(address=address))


@pytest.mark.parametrize("cursor", ["x", "0123456789abcdef", "0123456789abcdef:-1", "../etc:1", "memory:1\n"])
def test_what_is_no_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        reader(tmp_path / "log").search(LineFilter(), cursor=cursor)


def test_lines_in_memory_are_bounded_and_paged() -> None:
    recent = RecentLines(limit=2_000)
    recent.add(line(0, n=0))  # nobody wants it
    recent.always = True
    for number in range(1, 100):
        recent.add(line(number, n=number))
    got = every(reader(None, recent), limit=3)
    assert got == list(range(99, 99 - len(got), -1))
    assert 5 < len(got) < 20
    place, lines = recent.since(recent.end - 10)
    assert (place, len(lines)) == (recent.end - 10, 10)
    assert recent.since(recent.end) == (recent.end, b"")
    begin, lines = recent.since(0)
    assert begin + len(lines) == recent.end


def test_lines_are_kept_while_somebody_watches() -> None:
    recent = RecentLines()
    recent.watch()
    start = recent.end
    recent.add(b"one\n")
    recent.watch()
    recent.unwatch()
    assert recent.since(start)[1] == b"one\n"
    recent.unwatch()
    recent.add(b"two\n")
    assert recent.since(start)[1] == b""


def test_a_log_tells_how_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.log"
    log = open_log(LogOptions(file_path=str(path)))
    try:
        assert (log.reader().path, log.recent.always) == (path, False)
    finally:
        log.close()
    for options, target in ((LogOptions(file_path="-"), "standard error"), (LogOptions(), "")):
        log = open_log(options)
        try:
            found = log.reader()
            assert (found.path, found.target, log.recent.always) == (None, target, bool(target))
        finally:
            log.close()


def test_channels_belong_to_their_connection() -> None:
    assert connection_of("d3b4_0") == connection_of("d3b4_117") == "d3b4"
    assert connection_of("a_b") == "a_b"
    assert parse(0, json.dumps({"connection_id": 5}).encode()).connection == "5"


def test_a_line_of_another_form_has_no_time() -> None:
    assert backwards.time_of(line(1)) == "2026-11-30T12:00:01.000Z"[: backwards.TIME_CHARS]
    assert backwards.time_of(b"Nov 30 12:00:01 of another program, long enough for a time") == ""
    assert backwards.first_time(b"and so on\n" + line(2)) == backwards.time_of(line(2))
