# SPDX-License-Identifier: Apache-2.0
"""Figures of the pages: transfers from sample to sample, counts of events, amounts that people type."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from tidegate.accounts import typed_values as amounts
from tidegate.cluster.registry import LiveConnection
from tidegate.events.kinds import ConnectionRefused, Failed, LoggedIn, LoginFailed, Refused, Transferred
from tidegate.metrics.counts import EventCounts
from tidegate.metrics.recent import WINDOW_SECONDS, Minute, Recent
from tidegate.model import Origin, Peer, Protocol
from tidegate.model.action import Action
from tidegate.web.admin.live import Figures, _judged
from tidegate.web.admin.rendering import moment, url, visible
from tidegate.web.admin.transfers import TransferTable, largest
from tidegate.web.figures import size, span


@dataclass(eq=False)
class Moving:
    operation_type: str
    virtual_path: str
    size: int = 0
    total_size: int = 0
    started: float = 0.0


@dataclass
class World:
    table: TransferTable = field(default_factory=TransferTable)
    connections: list[LiveConnection] = field(default_factory=list)

    def start(self, name: str, *transfers: Moving) -> LiveConnection:
        peer = Peer(f"c-{name}", Protocol.SFTP, "192.0.2.1")
        connection = LiveConnection(peer, name, lambda _: None)
        connection.transfers.update(transfers)
        self.connections.append(connection)
        return connection

    def sample(self, now: float, **finished: tuple[str, int]):
        ended = {(f"c-{name}", "/f"): value for name, value in finished.items()}
        return self.table.sample(self.connections, ended, now, now)


def test_speed_percent_and_time_left() -> None:
    world, moving = World(), Moving("upload", "/f", total_size=2000)
    world.start("a", moving)
    for second in range(12):
        moving.size = 100 * second
        rows, moved = world.sample(float(second))
    (row,) = rows
    assert moved == {"in": 100, "out": 0}
    assert (row.speed, row.percent, row.left, row.silent) == (100.0, 55, 9, 0)
    for second in range(12, 45):
        rows, _ = world.sample(float(second))
    assert (rows[0].speed, rows[0].silent, rows[0].left) == (0.0, 33, -1)
    moving.total_size = 0
    assert world.sample(45.0)[0][0].percent == -1


def test_bytes_are_counted_once_whenever_the_end_is_told() -> None:
    world, moving = World(), Moving("download", "/f")
    connection = world.start("a", moving)
    total = 0
    for now, grown, finished in ((0, 0, {}), (1, 100, {}), (2, 300, {"a": ("out", 400)}), (3, 400, {})):
        moving.size = grown
        total += world.sample(float(now), **finished)[1]["out"]
    connection.transfers.clear()
    total += world.sample(4.0)[1]["out"]
    assert total == 400
    assert world.sample(5.0, b=("in", 50))[1] == {"in": 50, "out": 0}  # came and went between two samples


def test_the_largest_of_many_stay_in_the_order_of_their_start() -> None:
    world = World()
    for number in range(2000):
        world.start(f"u{number}", Moving("upload", "/f", size=number, total_size=10_000 - number))
    rows, _ = world.sample(0.0)
    top = largest(rows, 8)
    assert [row.username for row in top] == [f"u{number}" for number in range(8)]
    assert [row.username for row in largest(rows, 8, {"u7", "u1999"})] == ["u7", "u1999"]
    again, _ = world.sample(1.0)
    assert [row.key for row in largest(again, 8)] == [row.key for row in top]


def test_a_minute_forgets() -> None:
    now = [0.0]
    minute = Minute(lambda: now[0])
    minute.add("a")
    minute.add("a")
    now[0] = 30.0
    minute.add("b")
    assert minute.counts() == {"a": 2, "b": 1}
    now[0] = float(WINDOW_SECONDS)
    assert minute.counts() == {"b": 1}


def test_events_are_counted_and_refusals_remembered() -> None:
    events, origin = (
        EventCounts(),
        Origin(connection_id="c", username="mara", ip="192.0.2.1", protocol="SFTP"),
    )
    events.recent = counts = Recent()
    events.handle_nowait(Transferred(origin, 0.0, Action.UPLOAD, virtual_path="/f", size=9))
    assert counts.take_finished() == {}  # nobody had looked when it ended
    events.handle_nowait(LoggedIn(origin=origin, method="publickey"))
    events.handle_nowait(LoginFailed(origin=origin, login_type="password", reason="bad_credential"))
    events.handle_nowait(LoginFailed(origin=origin, login_type="no_auth_tried", reason="x"))
    events.handle_nowait(
        Refused(origin=origin, intent="upload", virtual_path="/out/x", rule="permissions[/out]")
    )
    events.handle_nowait(ConnectionRefused(origin=origin, rule="max_connections"))
    events.handle_nowait(Transferred(origin, 0.0, Action.UPLOAD, virtual_path="/f", size=7))
    events.handle_nowait(Transferred(origin, 0.0, Action.UPLOAD, virtual_path="/f", size=5))
    for level in (logging.INFO, logging.WARNING):
        events.handle_nowait(
            Failed(
                origin=origin, intent="upload", virtual_path="/g", rule="storage", errno="ENOSPC", level=level
            )
        )
    assert [(one.what, one.rule, one.path, one.failure) for one in counts.failures] == [
        ("upload", "storage ENOSPC", "/g", True)
    ]
    assert counts.newest()[0].what == "upload"
    assert counts.logins.counts() == {"publickey": 1}
    assert counts.refusals.counts() == {"login": 2, "policy": 1}
    assert [(one.what, one.rule, one.path) for one in counts.last] == [
        ("log in by password", "bad_credential", ""),
        ("upload", "permissions[/out]", "/out/x"),
        ("connect", "max_connections", ""),
    ]
    assert counts.take_finished() == {("c", "/f"): ("in", 12)}
    assert counts.take_finished() == {}


def test_the_verdict_counts_what_is_there() -> None:
    assert _judged(Figures()).level == "ok"
    soon = _judged(Figures(waiting=(0, 2), disk=("/srv", 95, 100)))
    assert (soon.level, soon.more) == ("soon", "Two things can wait until morning.")
    storage = _judged(Figures(checks=(("storages", "now", "s3://b: timed out"),)))
    assert (storage.level, storage.title) == ("now", "Storage: s3://b: timed out.")
    now = _judged(Figures(provider="away", waiting=(0, 1)))
    assert now.level == "now"
    assert now.title.startswith("The data provider does not work: away.")
    assert now.more == "One thing can wait until morning."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("4096", 4096),
        ("400 GB", 400 * 10**9),
        ("1.5TiB", 3 * 2**39),
        ("1,000", 1000),
        ("20 MiB", 20 * 2**20),
    ],
)
def test_sizes_are_read(text: str, value: int) -> None:
    assert amounts.read_size(text) == value
    assert amounts.read_size(amounts.size_text(value)) == value


@pytest.mark.parametrize("text", ["a", "-1", "1.2.3", "9999999 EB", "1 XB", "٣", "1e9", " " * 50 + "1"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size|is more"):
        amounts.read_size(text)


@pytest.mark.parametrize("text", ["", "2027-03-31", "2027-03-31 12:30", "2027-03-31 12:30:15"])
def test_ends_are_read_and_shown_the_same(text: str) -> None:
    assert amounts.end_text(amounts.read_end(text)) == text


@pytest.mark.parametrize("text", ["31.3.2027", "2027-02-30", "9999-12-31", "soon"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no date"):
        amounts.read_end(text)


def test_figures_are_written_as_people_read_them() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345, 214_000_000, 1_710_000_000_000)] == [
        "0 B", "999 B", "1 kB", "12.3 kB", "214 MB", "1.71 TB",
    ]  # fmt: skip
    assert [span(n) for n in (0, 40, 130, 8_000, 200_000)] == ["0 s", "40 s", "2 min", "2 h", "2 days"]
    assert moment(0) == "never"
    assert moment(1_000_000, now=1_010.0) == "10 s ago"
    assert url("users", "a/b ?", x="", y="1") == "/web/admin/users/a%2Fb%20%3F?y=1"
    assert visible("a\x00b\u202ec\udcff\n") == "a\\x00b\\u202ec\\udcff\n"
