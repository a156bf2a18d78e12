# SPDX-License-Identifier: Apache-2.0
"""The events of a connection, and clients that send nothing, as every door has them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tidegate.abc import Credential
from tidegate.cluster.registry import Activity
from tidegate.doors.common.idle import IdleWatch, SilenceWatch
from tidegate.doors.common.record import ConnectionRecord, authenticate, refused, shown_version
from tidegate.errors import LoginRefused, ProviderUnavailable
from tidegate.events.kinds import Connected, ConnectionRefused, Disconnected, Event, LoggedIn, LoginFailed
from tidegate.model import Account, Origin, Peer, Principal, Protocol

PEER = Peer("c1", Protocol.FTP, "192.0.2.1", 4000, "192.0.2.9:21")


class Bus:
    """Takes events, and keeps those it is asked to keep unless it is down."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.kept: list[Event] = []
        self.down = False

    def emit(self, event: Event, *, kept: bool = False) -> None:
        assert kept == (event in self.kept)
        self.events.append(event)

    async def keep(self, event: Event) -> None:
        if self.down:
            raise ProviderUnavailable
        self.kept.append(event)


@pytest.fixture
def bus() -> Bus:
    return Bus()


class Service:
    """Answers with what it is given."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    async def authenticate(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_who_says_nothing_is_recorded_before_the_end(bus: Bus):
    record = ConnectionRecord(bus, PEER, encrypted=False)
    record.closed(by="silent", client_version="x")
    connected, failed, ended = bus.events
    assert connected == Connected(origin=Origin.of(PEER))
    assert failed == LoginFailed(origin=Origin.of(PEER), login_type="no_auth_tried", reason="silent")
    assert isinstance(ended, Disconnected)
    assert (ended.by, ended.error, ended.client_version) == ("silent", "", "x")
    assert ended.duration >= 0


async def test_every_outcome_of_a_login_is_on_record(bus: Bus, caplog: pytest.LogCaptureFixture):
    record = ConnectionRecord(bus, PEER, encrypted=False)
    record.named("ada")
    asked = Credential(kind="password", secret="guess")
    for trouble, reason, rule in (
        (LoginRefused("bad_credential", rule="denied_protocols"), "bad_credential", "denied_protocols"),
        (ProviderUnavailable(), "provider_unavailable", ""),
        (ValueError("a fault"), "internal_error", ""),
    ):
        assert await authenticate(Service(trouble), record, PEER, "ada", asked) is None
        failed = bus.events[-1]
        assert isinstance(failed, LoginFailed)
        assert (failed.origin.username, failed.login_type) == ("ada", "password")
        assert (failed.reason, failed.rule) == (reason, rule)
    assert "guess" not in caplog.text
    principal = Principal(Account(username="Ada"), "password", PEER.remote_ip)
    bus.down = True  # what must be kept is kept before the client is told
    assert await authenticate(Service(principal), record, PEER, "ada", asked) is None
    assert bus.events[-1].reason == "provider_unavailable"
    bus.down = False
    outcome = await authenticate(Service(principal), record, PEER, "ada", asked, client_version="client 1")
    assert outcome is principal
    assert [event.origin.username for event in bus.kept] == ["Ada"]
    assert not bus.kept[-1].encrypted
    record.encrypted = True  # as after AUTH TLS
    record.login_accepted(principal, "client 1")
    assert bus.events[-1] == LoggedIn(
        origin=Origin.of(PEER, "Ada"), method="password", client_version="client 1", encrypted=True
    )
    record.closed()
    assert [type(event) for event in bus.events[1:]] == [LoginFailed] * 4 + [LoggedIn, Disconnected]


def test_refused_connections_are_logged_and_on_record(bus: Bus, caplog: pytest.LogCaptureFixture):
    refused(bus.emit, Protocol.FTP, "192.0.2.1", "max_per_host", "it has 3 connections")
    origin = Origin(protocol="FTP", ip="192.0.2.1")
    assert bus.events == [ConnectionRefused(origin=origin, rule="max_per_host", text="it has 3 connections")]
    assert caplog.messages == ["connection from 192.0.2.1 refused: max_per_host: it has 3 connections"]


def test_versions_are_printable_and_bounded():
    assert shown_version("ssh\x1b[2J\n" + "x" * 500) == "ssh[2J" + "x" * 120


async def test_silence_is_two_looks_that_see_the_same():
    heard, silent = [0], asyncio.Event()
    watch = SilenceWatch(0.05, lambda: heard[0], silent.set)
    heard[0] = 1
    watch._look()
    assert not silent.is_set()
    await asyncio.wait_for(silent.wait(), 2)
    watch.cancel()


async def test_idle_clients_are_told_and_those_who_move_bytes_are_not():
    activity, moving, idle = Activity(), [True], asyncio.Event()
    watch = IdleWatch(10, activity, lambda: moving[0], idle.set)
    activity.at -= 20
    watch.cancel()
    watch._look()
    assert not idle.is_set()
    assert activity.silent_seconds < 5
    watch.cancel()
    moving[0] = False
    activity.at -= 20
    watch._look()
    assert idle.is_set()
    IdleWatch(0, activity, lambda: False, pytest.fail)
