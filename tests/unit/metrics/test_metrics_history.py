# SPDX-License-Identifier: Apache-2.0
"""The hour of the dashboard: points made of counts and of what is in flight, bounded, and kept without anybody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from tidegate.events import kinds
from tidegate.metrics import history
from tidegate.metrics.counts import EventCounts
from tidegate.metrics.history import History, Point
from tidegate.metrics.measures import Measures
from tidegate.metrics.recent import Recent
from tidegate.model import Action, Origin

ORIGIN = Origin(connection_id="SFTP_7", username="mara", ip="192.0.2.1", protocol="SFTP")


@dataclass
class Server:
    """Counts, a clock and what is in flight, set by hand."""

    now: float = 100.0
    in_flight: dict[str, tuple[int, int]] = field(default_factory=dict)
    events: EventCounts = field(default_factory=EventCounts)

    def history(self) -> History:
        self.events.recent = recent = Recent()
        return History(self.events, recent, lambda: self.in_flight, lambda: self.now)

    def after(self, seconds: float, made: History) -> Point | None:
        """The point that comes after a time; None if none does."""
        self.now += seconds
        before = made.points[-1] if made.points else None
        made.add()
        return made.points[-1] if made.points and made.points[-1] is not before else None


def test_bytes_of_a_transfer_are_counted_once_while_it_goes_on_and_at_its_end() -> None:
    server = Server()
    made = server.history()
    server.in_flight = {"in": (1, 500)}
    assert (point := server.after(10, made)) and (point.bytes_in, point.bytes_out) == (50.0, 0.0)
    server.in_flight = {}  # it has ended, and the event has not come yet
    assert (point := server.after(10, made)) and point.bytes_in == 0.0
    server.events.handle_nowait(kinds.Transferred(ORIGIN, 1.0, Action.UPLOAD, size=600))
    server.events.handle_nowait(kinds.Transferred(ORIGIN, 1.0, Action.DOWNLOAD, size=50))
    assert (point := server.after(10, made)) and (point.bytes_in, point.bytes_out) == (10.0, 5.0)


def test_what_was_moved_before_the_start_is_no_peak() -> None:
    server = Server()
    server.events.handle_nowait(kinds.Transferred(ORIGIN, 1.0, Action.UPLOAD, size=10**9))
    made = server.history()
    assert (point := server.after(10, made)) and point.bytes_in == 0.0


def test_logins_and_refusals_are_those_of_the_last_minute() -> None:
    server = Server()
    made = server.history()
    server.events.handle_nowait(kinds.LoggedIn(origin=ORIGIN, method="publickey"))
    server.events.handle_nowait(
        kinds.LoginFailed(origin=ORIGIN, login_type="password", reason="bad_credential")
    )
    server.events.handle_nowait(kinds.Refused(origin=ORIGIN, intent="upload", rule="permissions"))
    assert (point := server.after(10, made)) and (point.logins, point.refusals) == (1, 2)


def test_an_hour_is_kept_and_a_pause_of_the_host_makes_no_point() -> None:
    server = Server()
    made = server.history()
    for _ in range(history.POINTS + 5):
        server.after(history.EVERY_SECONDS, made)
    assert len(made.points) == history.POINTS
    server.in_flight = {"out": (1, 10**12)}
    assert server.after(3 * 3600, made) is None
    server.in_flight = {"out": (1, 10**12 + 100)}
    assert (point := server.after(10, made)) and point.bytes_out == 10.0


async def test_points_come_by_themselves_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EVERY_SECONDS", 0.01)
    added = asyncio.Event()
    monkeypatch.setattr(History, "add", lambda _: added.set())

    async def nothing(sink: object) -> None:
        del sink

    measures = Measures(nothing)
    made = await measures.remember(dict)
    assert await measures.remember(dict) is made
    await asyncio.wait_for(added.wait(), 20)
    await measures.close()
    assert not [one for one in asyncio.all_tasks() if one.get_name() == "hour of the figures"]
