# SPDX-License-Identifier: Apache-2.0
"""Figures of the server for its pages: sampled once for everybody who looks, not once for each browser.

Nothing is sampled before the first page is asked for; from then on every `SLOW_SECONDS`, and every second
while somebody watches the stream. The curves are kept from the start of the server on (`metrics.history`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from tidegate.cluster.registry import LiveConnection
from tidegate.errors import TidegateError
from tidegate.metrics.history import History, Point
from tidegate.metrics.recent import Recent
from tidegate.model import Account
from tidegate.model.door import DoorStatus
from tidegate.store.user_query import UserQuery
from tidegate.web.admin.connection_rows import stamp
from tidegate.web.admin.rendering import count
from tidegate.web.admin.transfers import TransferRow, TransferTable
from tidegate.web.api.services import Services
from tidegate.web.figures import size

FAST_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 10.0
PROVIDER_SECONDS: Final = 30.0
"""The data provider is asked for accounts near a quota and for deliveries at most this often."""
MAX_STREAMS: Final = 200
"""Streams at a time."""
MAX_OF_ONE: Final = 20
"""Streams of one administrator, lest one leaves none for the others."""
NEAR_ROWS: Final = 5
LOW_SPACE: Final = 0.10
"""Share of a disk that is free, below which that can wait until morning."""
NO_SPACE: Final = 0.02
"""Share of a disk that is free, below which somebody has to act."""

Level = Literal["ok", "soon", "now"]
"""Well, can wait, act now."""
LEVELS: Final[dict[str, Level]] = {"warn": "soon", "fail": "now"}
"""States of health checks that somebody has to know."""
CHECKS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "storages": ("Storage", ()),
    "certificates": ("A certificate", ("certificates",)),
}
"""Health checks that have no figure of their own: the subject of their sentence, and the page about them."""

_Kept = tuple[tuple[Account, ...], tuple[int, int], tuple[str, int, int]]
"""`near`, `waiting` and `disk` of `Figures`."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can wait, or cannot.

    Attributes:
        level: of it.
        subject: its name.
        text: the rest of the sentence.
        link: parts of the path of the page that ends it; empty for none.
        verb: text of the link.
    """

    level: Level
    subject: str
    text: str
    link: tuple[str, ...] = ()
    verb: str = "Look"


@dataclass(frozen=True, slots=True)
class State:
    """The state of the server in one word and a sentence or two.

    Attributes:
        level: the worst of the items.
        text: for the foot of the navigation.
        title: the verdict.
        more: the sentence after it.
        items: one for each thing.
    """

    level: Level = "ok"
    text: str = "Serving normally."
    title: str = "Serving normally. Nothing needs you now."
    more: str = ""
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One sample.

    Attributes:
        at: seconds since the epoch.
        rows: transfers in flight.
        rates: bytes a second by direction.
        sessions: by door.
        logins: of the last minute by method; refusals by kind.
        doors: as they are.
        provider: fault of the data provider; empty if it works.
        near: accounts near a quota.
        waiting: deliveries that wait, and those that were given up.
        stamp: another number as soon as a connection comes or goes, or a transfer moves.
        disk: path, used and all bytes of the disk that homes are on.
        checks: findings of the health checks that are not well: name, level and text.
    """

    at: float = 0.0
    rows: tuple[TransferRow, ...] = ()
    rates: dict[str, float] = field(default_factory=lambda: {"in": 0.0, "out": 0.0})
    sessions: Counter[str] = field(default_factory=Counter)
    logins: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    doors: tuple[DoorStatus, ...] = ()
    provider: str = ""
    near: tuple[Account, ...] = ()
    waiting: tuple[int, int] = (0, 0)
    stamp: int = 0
    disk: tuple[str, int, int] = ("", 0, 0)
    checks: tuple[tuple[str, Level, str], ...] = ()


class Sampler:
    """Samples while somebody looks. Life: constructed (pure), `wake`..., `close`.

    Args:
        services: of this server, as of the moment.
        history: gives the last minute and hour.
        directory: whose disk is looked at.
        monotonic: seconds.
    """

    def __init__(
        self,
        services: Callable[[], Services],
        history: Callable[[], Awaitable[History]],
        directory: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._history = history
        self._directory = directory
        self._monotonic = monotonic
        self.events = Recent()
        self.figures = Figures()
        self.points: deque[Point] = deque()
        self._table = TransferTable()
        self._task: asyncio.Task[None] | None = None
        self._sampled = self._asked = -1e9
        self._kept: _Kept = ((), (0, 0), ("", 0, 0))
        self._checks: tuple[tuple[str, Level, str], ...] = ()
        self._checking: asyncio.Task[None] | None = None
        self._streams: Counter[str] = Counter()
        self._tick = asyncio.Event()
        self._hurry = asyncio.Event()
        self.closed = False

    # -- for pages ---------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Somebody looks: start, unless that is done."""
        if self._task is None and not self.closed:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="figures for the pages")

    async def fresh(self) -> Figures:
        """Figures that are at most a second old; the first page waits for the first sample."""
        self.wake()
        if self._monotonic() - self._sampled > FAST_SECONDS:
            await self._sample()
        return self.figures

    def state(self) -> State:
        """The state of the server as it was sampled last."""
        return _judged(self.figures)

    def head(self, figures: Figures) -> dict[str, Any]:
        """The part of a stream's frame that every page shows: time and state."""
        state = self.state()
        return {
            "time": datetime.fromtimestamp(figures.at, UTC).strftime("%H:%M:%S"),
            "level": state.level,
            "text": state.text,
            "title": state.title,
            "more": state.more,
        }

    @property
    def _watched(self) -> bool:
        return self._streams.total() > 0

    def full(self, name: str) -> bool:
        """True if an administrator may open no further stream."""
        return self.closed or self._streams.total() >= MAX_STREAMS or self._streams[name] >= MAX_OF_ONE

    @contextlib.contextmanager
    def watching(self, name: str) -> Iterator[bool]:
        """While an administrator reads the stream; False if there are too many."""
        room = not self.full(name)
        self._streams[name] += room
        self._hurry.set()
        try:
            yield room
        finally:
            self._streams[name] -= room
            if not self._streams[name]:
                del self._streams[name]

    async def next(self) -> Figures | None:
        """The next sample; None once there will be no more."""
        if not self.closed:
            await self._tick.wait()
        return None if self.closed else self.figures

    def end_streams(self) -> None:
        """Let every stream end; the server is about to stop."""
        self.closed = True
        self._tick.set()
        self._hurry.set()

    async def close(self) -> None:
        """Stop."""
        self.end_streams()
        for task in (self._task, self._checking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    # -- sampling ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self.closed:
            try:
                await self._sample()
            except Exception:
                _log.exception("figures for the pages were not sampled")
            tick, self._tick = self._tick, asyncio.Event()
            tick.set()
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAST_SECONDS if self._watched else SLOW_SECONDS):
                    # Who begins to watch shall not wait for the slow round to end.
                    await (asyncio.Event() if self._watched else self._hurry).wait()

    async def _sample(self) -> None:
        services, now, wall = self._services(), self._monotonic(), time.time()
        history = await self._history()
        self.events, self.points = history.recent, history.points
        await self._ask(services, now)
        connections: list[LiveConnection] = services.registry.all()
        rows, moved = self._table.sample(connections, self.events.take_finished(), now, wall)
        elapsed = now - self._sampled
        usual = 0 < elapsed < 10 * SLOW_SECONDS
        rates = {name: moved[name] / elapsed if usual else 0.0 for name in moved}
        near, waiting, disk = self._kept
        self.figures = Figures(
            at=wall,
            rows=tuple(rows),
            rates=rates,
            sessions=Counter(connection.peer.protocol.value for connection in connections),
            logins=self.events.logins.counts(),
            refusals=self.events.refusals.counts(),
            doors=tuple(services.connections.status()),
            provider=await services.health.problem(),
            near=near,
            waiting=waiting,
            stamp=stamp(connections),
            disk=disk,
            checks=self._checks,
        )
        self._sampled = now

    async def _ask(self, services: Services, now: float) -> None:
        """Ask the data provider and the disk, seldom."""
        if now - self._asked < PROVIDER_SECONDS:
            return
        self._asked = now
        if self._checking is None or self._checking.done():  # storage that hangs holds up no page
            self._checking = asyncio.create_task(self._check(services), name="health for the pages")
        directory = self._directory()
        near, waiting, _ = self._kept
        try:
            query = UserQuery(only="near_quota", limit=NEAR_ROWS)
            near = tuple(await services.provider.find_users(query))
            store = services.provider.deliveries
            waiting = await store.count("waiting"), await store.count("dead")
        except TidegateError as error:
            _log.debug("the data provider was not asked: %s", error)
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, directory)
            disk = directory, usage.used, usage.used + usage.free
        except OSError:
            disk = "", 0, 0
        self._kept = near, waiting, disk

    async def _check(self, services: Services) -> None:
        """Ask for the health of what has no figure of its own."""
        try:
            _, report = await services.ready(details=True)
            found = {one["name"]: one for one in json.loads(report)["checks"]}
        except (TidegateError, ValueError, KeyError) as error:
            _log.debug("the health was not asked: %s", error)
            return
        told: list[tuple[str, Level, str]] = []
        for name in CHECKS:
            state = found.get(name, {}).get("status", "ok")
            if state in LEVELS:
                told.append((name, LEVELS[state], str(found[name].get("text", ""))))
        self._checks = tuple(told)


def _judged(figures: Figures) -> State:
    """The state that figures tell of."""
    items = list(_items(figures))
    now = [item for item in items if item.level == "now"]
    soon = [item for item in items if item.level == "soon"]
    wait = f"{_things(len(soon))} can wait until morning."
    if now:
        title = f"{now[0].subject} {now[0].text}"
        more = f"{_things(len(now))} to act on now." if len(now) > 1 else ""
        return State("now", title, title, f"{more} {wait if soon else ''}".strip(), tuple(items))
    if soon:
        return State("soon", f"Serving. {wait}", State().title, wait, tuple(items))
    return State()


def _items(figures: Figures) -> Iterator[Item]:
    if figures.provider:
        yield Item("now", "The data provider", f"does not work: {figures.provider}. Nobody new can log in.")
    for door in figures.doors:
        if not door.active:
            yield Item("now", f"The door {door.name}", "is shut.")
    path, used, whole = figures.disk
    if whole:
        free = 1 - used / whole
        if free < LOW_SPACE:
            level: Level = "now" if free < NO_SPACE else "soon"
            yield Item(level, path, f"has {size(whole - used)} left of {size(whole)}.")
    for name, urgent, text in figures.checks:
        yield Item(urgent, f"{CHECKS[name][0]}:", f"{text}.", CHECKS[name][1])
    for account in figures.near:
        link = "users", account.username
        yield Item("soon", account.username, _near_text(account), link, "Raise the quota")
    dead = figures.waiting[1]
    if dead:
        noun = "delivery was" if dead == 1 else "deliveries were"
        yield Item("soon", "Event rules:", f"{count(dead)} {noun} given up.", ("deliveries",))


def _near_text(account: Account) -> str:
    space = 100 * account.used_quota_size // account.quota_size if account.quota_size else 0
    files = 100 * account.used_quota_files // account.quota_files if account.quota_files else 0
    if space >= files:
        return f"has used {space} % of {size(account.quota_size)}."
    return f"has used {files} % of {count(account.quota_files)} files."


def _things(number: int) -> str:
    words = ("No thing", "One thing", "Two things", "Three things", "Four things", "Five things")
    return words[number] if number < len(words) else f"{count(number)} things"
