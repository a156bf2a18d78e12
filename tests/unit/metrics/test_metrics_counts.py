# SPDX-License-Identifier: Apache-2.0
"""Counts, histograms and what is exported of them: bounded, monotonous, without names of users."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from tidegate.events import kinds
from tidegate.metrics.counts import MAX_KNOWN, EventCounts
from tidegate.metrics.exposition import Exposition
from tidegate.metrics.families import Families
from tidegate.metrics.gauges import DoorGauge, Gauges
from tidegate.metrics.histogram import Histogram
from tidegate.metrics.labels import MAX_VALUES, OTHER, Words, rule_word
from tidegate.metrics.measures import Measures
from tidegate.metrics.timings import Timings
from tidegate.model import Action, Origin

RECORDED = Path(__file__).parent / "sftpgo_series.txt"
"""Names of the series that SFTPGo 0.9.4, 0.9.6 and 2.7.5 exported."""
ORIGIN = Origin(connection_id="SFTP_7", username="mara", ip="192.0.2.1", protocol="SFTP")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def nothing(sink: object) -> None:
    del sink


@pytest.fixture
def measures() -> Measures:
    return Measures(nothing)


def value(families: Families, name: str, gauges: Gauges | None = None, **labels: str) -> float:
    """The value of a series; 0 if there is none."""
    for family in families.collect(gauges or Gauges(version="1")):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return 0.0


def test_an_observation_is_in_the_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (-1.0, 1.0, 1.5, 2.0, 7.0):
        histogram.observe(seconds, f"c{seconds}", at=5.0)

    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 11.5
    assert {index: one[0] for index, one in histogram.examples.items()} == {
        0: "c1.0",
        1: "c2.0",
        2: "c7.0",
    }


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ('permissions["/private"]', "permissions"),
        ("file_patterns[/]", "file_patterns"),
        ("certificate[revocations]", "certificate"),
        ("limits.handles_per_account", "limits.handles_per_account"),
        ("/home/mara", OTHER),
        ("", OTHER),
        ("a" * 70, "a" * 64),
    ],
)
def test_a_rule_is_exported_without_paths_and_names(rule: str, word: str) -> None:
    assert rule_word(rule) == word


def test_labels_and_timings_are_bounded() -> None:
    words, timings = Words(), Timings()
    seen = {words.of(f"r{number}") for number in range(3 * MAX_VALUES)}
    for number in range(3 * MAX_VALUES):
        timings.observe("s3", f"op{number}", 0.1, ok=number % 2 == 0)

    assert len(seen) == MAX_VALUES + 1
    assert OTHER in seen
    assert len(timings.seconds) == MAX_VALUES + 1
    assert sum(timings.count(*key) for key in timings.seconds) == 3 * MAX_VALUES
    assert sum(timings.failed.values()) == 3 * MAX_VALUES // 2


def test_many_paths_of_one_rule_take_one_value() -> None:
    words = Words()
    assert {words.of(f"permissions[/{number}]") for number in range(2 * MAX_VALUES)} == {"permissions"}
    assert words.of("file_patterns[/in]") == "file_patterns"


def test_transfers_are_counted_by_what_became_of_them(measures: Measures) -> None:
    put, families = measures.events.handle_nowait, Families(measures)
    put(kinds.Transferred(ORIGIN, 1.0, Action.UPLOAD, size=10, storage="s3"))
    put(kinds.Transferred(ORIGIN, 1.0, Action.UPLOAD, "quota", size=3, storage="local"))
    put(kinds.Transferred(ORIGIN, 1.0, Action.DOWNLOAD, size=7, storage="local", first_byte=0.02))

    assert value(families, "tidegate_uploads_total") == 1
    assert value(families, "tidegate_upload_errors_total") == 1
    assert value(families, "tidegate_upload_size") == 13
    assert value(families, "tidegate_s3_uploads_total") == 1
    assert value(families, "tidegate_s3_upload_size") == 10
    assert value(families, "tidegate_downloads_total") == 1
    labels = {"direction": "in", "status": "quota", "storage": "local", "protocol": "SFTP"}
    assert value(families, "tidegate_transfers_total", **labels) == 1
    assert value(families, "tidegate_transfer_bytes_total", **labels) == 3
    assert value(families, "tidegate_first_byte_seconds_bucket", storage="local", le="0.025") == 1
    assert value(families, "tidegate_first_byte_seconds_bucket", storage="local", le="0.01") == 0


def test_many_kinds_of_transfers_at_once_are_counted_as_one_by_one() -> None:
    events: list[kinds.Event] = [
        kinds.Transferred(ORIGIN, 1.0, action, status, size=size, storage=storage, first_byte=first_byte)
        for action, first_byte in ((Action.UPLOAD, 0.0), (Action.DOWNLOAD, 0.02))
        for status in ("ok", "failed")
        for storage in ("local", "s3", *(f"own{number}" for number in range(2 * MAX_VALUES)))
        for size in (1, 5)
    ]
    events.insert(3, kinds.LoggedIn(origin=ORIGIN, method="password"))
    together, apart = EventCounts(), EventCounts()
    waiting = deque(events)
    together.take_nowait(waiting)
    for event in events:
        apart.handle_nowait(event)

    def told(counts: EventCounts) -> object:
        transfers = {
            key: (one.number, one.size, one.last and one.last.size) for key, one in counts.transfers.items()
        }
        first = {storage: (one.counts, one.total) for storage, one in counts.first_byte.items()}
        return transfers, first, counts.logins

    assert not waiting
    assert told(together) == told(apart)
    assert together.transfers["upload", "ok", "local", "SFTP"].size == 6
    assert len(together.transfers) == 4 * (MAX_VALUES + 1)
    assert len(together._known) <= MAX_KNOWN
    assert set(together.first_byte) == {storage for _, _, storage, _ in together.transfers}


def test_a_look_that_was_timed_stands_for_others(measures: Measures) -> None:
    families = Families(measures)
    measures.events.timed("stat", "local", 0.002, 64)
    measures.events.timed("stat", "local", -1.0, 64)
    measures.events.handle_nowait(
        kinds.Operated(origin=ORIGIN, action=Action.RENAME, storage="local", elapsed=0.1)
    )

    labels = {"operation": "stat", "storage": "local"}
    assert value(families, "tidegate_operation_seconds_count", **labels) == 128
    assert value(families, "tidegate_operation_seconds_bucket", **labels, le="0.001") == 64
    assert value(families, "tidegate_operation_seconds_bucket", **labels, le="0.0025") == 128
    assert value(families, "tidegate_operation_seconds_sum", **labels) == pytest.approx(0.128)
    assert value(families, "tidegate_operation_seconds_count", operation="rename", storage="local") == 1


def test_moved_bytes_include_transfers_in_flight_and_never_fall(measures: Measures) -> None:
    families = Families(measures)

    def moved(flying: int) -> float:
        gauges = Gauges(version="1", in_flight={"in": (1, flying)})
        return value(families, "tidegate_moved_bytes_total", gauges, direction="in")

    assert moved(500) == 500
    assert moved(0) == 500  # it has ended, and the event has not come yet
    measures.events.handle_nowait(kinds.Transferred(ORIGIN, 1.0, Action.UPLOAD, size=600))
    assert moved(0) == 600
    assert moved(50) == 650


def test_logins_and_refusals_are_counted_by_method_and_rule() -> None:
    events = EventCounts()
    put = events.handle_nowait
    put(kinds.LoggedIn(origin=ORIGIN, method="publickey+password", elapsed=0.3))
    put(kinds.LoggedIn(origin=ORIGIN, method="password"))
    put(kinds.LoginFailed(origin=ORIGIN, login_type="password", reason="bad_credential"))
    put(kinds.LoginFailed(origin=ORIGIN, login_type="no_auth_tried", reason="idle"))
    put(kinds.Refused(origin=ORIGIN, rule='permissions["/x"]'))
    put(kinds.Refused(origin=ORIGIN, rule='permissions["/y"]'))
    put(kinds.ConnectionRefused(origin=Origin(ip="192.0.2.9"), rule="common.defender", unreported=41))
    put(kinds.Disconnected(origin=ORIGIN, by="boss", duration=2.0))
    put(kinds.Disconnected(origin=ORIGIN, duration=1.0))
    put(kinds.Disconnected(origin=ORIGIN, by="idle"))
    put(kinds.Disconnected(origin=ORIGIN, by="limits.startups"))
    put(kinds.Operated(origin=ORIGIN, action=Action.SSH_COMMAND, exit_status=1))
    put(kinds.Operated(origin=ORIGIN, action=Action.SSH_COMMAND, exit_status=0))

    assert dict(events.logins) == {"publickey+password": 1, "password": 1}
    assert dict(events.refused_logins) == {"password": 1}
    assert list(events.login_seconds) == ["publickey+password"]  # what is not known is not 0
    assert events.no_login == 1
    assert {key: one.number for key, one in events.refused.items()} == {
        ("login", "bad_credential"): 1,
        ("policy", "permissions"): 2,
        ("connection", "common.defender"): 42,
    }
    assert dict(events.disconnected) == {"admin": 1, "client": 1, "idle": 1, "limit": 1}
    assert events.open_seconds == 3.0
    assert events.commands == [2, 1]


def test_every_series_of_sftpgo_is_there_under_both_names(measures: Measures) -> None:
    answers = (1, 0, 5, 1, 3, 2)
    gauges = Gauges(version="1", doors=(DoorGauge("http", True, 0, answers),), sessions={"SFTP": 2})
    names = {
        sample.name for family in Families(measures, sftpgo=True).collect(gauges) for sample in family.samples
    }
    wanted = set(RECORDED.read_text(encoding="utf-8").split())

    assert len(wanted) > 90
    assert wanted <= names
    assert {name.replace("sftpgo_", "tidegate_", 1) for name in wanted} <= names
    assert not any(name.startswith("sftpgo_") for name in names - wanted)
    families = Families(measures)
    assert not any(family.name.startswith("sftpgo_") for family in families.collect(gauges))
    assert value(families, "tidegate_http_req_total", gauges) == 12
    assert value(families, "tidegate_http_req_ok_total", gauges) == 6
    assert value(families, "tidegate_http_client_errors_total", gauges) == 3
    assert value(families, "tidegate_active_connections", gauges) == 2


async def test_both_formats_can_be_read_and_openmetrics_has_the_connections(measures: Measures) -> None:
    measures.events.handle_nowait(
        kinds.Transferred(ORIGIN, 1.0, Action.DOWNLOAD, size=9, storage="local", first_byte=0.2)
    )
    measures.events.handle_nowait(kinds.Refused(origin=ORIGIN, rule="permissions"))
    measures.lag.observe(0.001)

    async def gauges() -> Gauges:
        return Gauges(version="1")

    exposition = Exposition(Families(measures, sftpgo=True), gauges)
    modern, modern_type = await exposition.render(OPENMETRICS)
    classic, classic_type = await exposition.render("text/html")

    assert modern_type.startswith("application/openmetrics-text")
    assert classic_type.startswith("text/plain; version=0.0.4")
    samples = [sample for family in openmetrics(modern.decode()) for sample in family.samples]
    linked = {one.name: one.exemplar for one in samples if one.exemplar}
    assert {
        "tidegate_transfers_total",
        "tidegate_refusals_total",
        "tidegate_first_byte_seconds_bucket",
    } <= set(linked)
    assert {one.labels["connection_id"] for one in linked.values() if one} == {"SFTP_7"}
    assert "SFTP_7" not in classic.decode()
    names = {sample.name for family in plain(classic.decode()) for sample in family.samples}
    assert {"process_resident_memory_bytes", "tidegate_moved_bytes_total", "sftpgo_uploads_total"} <= names
    assert b"mara" not in modern + classic
    assert b"192.0.2.1" not in modern + classic


async def test_events_are_counted_once_whoever_asks_for_it() -> None:
    added: list[object] = []

    async def add(sink: object) -> None:
        added.append(sink)

    measures = Measures(add)
    history = await measures.remember(dict)

    assert await measures.count() is measures.events
    assert await measures.remember(dict) is history
    assert added == [measures.events]
    measures.events.handle_nowait(kinds.LoggedIn(origin=ORIGIN, method="password"))
    assert history.recent.logins.counts() == {"password": 1}
    await measures.close()
