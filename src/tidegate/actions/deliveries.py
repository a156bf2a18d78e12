# SPDX-License-Identifier: Apache-2.0
"""Delivers kept events to rules: at once, and if that fails again and again until it works or is given up.

`RulesSink` is a kept sink: events are in the outbox before a client is told, and leave it when each rule
is done or
has a row of its own in the provider (`store.deliveries`). A crash in between means that an event comes
again, with the same id. What succeeds at once leaves no row.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidegate.actions.active import ActiveRules
from tidegate.actions.runner import RuleResult, Runner
from tidegate.contracts.events import KeptEvent
from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.events.kinds import Event
from tidegate.rules.book import Rule
from tidegate.rules.facts import Facts, decode_facts, encode_facts, facts_of
from tidegate.store.deliveries import Delivery, DeliveryStore, now_ms

AT_ONCE: Final = 32
"""Rules that run at a time, those that wait for their next try included."""
AT_ONCE_PER_RULE: Final = 8
"""Of those, runs of one rule: a receiver that hangs holds the others up only so far."""
PATIENCE_SECONDS: Final = 1.0
"""Time that a batch waits for its rules to end; what takes longer goes on with a row of its own."""
CLAIM_SECONDS: Final = 60.0
"""A row's claim, kept up while it is worked on; after a crash another server or start goes on then."""
TAKE_ROWS: Final = 64
"""Rows that are claimed at a time."""
LOOK_SECONDS: Final = 30.0
"""Time between looks for rows that other servers have stored or left behind."""
FIRST_DELAY: Final = 2.0
LAST_DELAY: Final = 600.0
"""Seconds before the next try: doubled each time, from the one to the other, a tenth more at random."""
KEEP_DEAD: Final = 10_000
"""Rows that were given up and are kept for `tidegate events`; the oldest go first."""
CLOSE_SECONDS: Final = 5.0
"""Time that a stop waits for rules that run; what does not end comes again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryTiming:
    """See the constants of this module.

    Attributes:
        give_up_seconds: after this long since the event a failing rule is given up.
    """

    give_up_seconds: float = 72 * 3600.0
    patience: float = PATIENCE_SECONDS
    claim: float = CLAIM_SECONDS
    look: float = LOOK_SECONDS
    first_delay: float = FIRST_DELAY
    last_delay: float = LAST_DELAY


class _Job:
    """One rule on one event, under way.

    Attributes:
        created_at: milliseconds since the epoch.
        done: keys of the steps that earlier tries have done.
        task: its run.
    """

    __slots__ = ("_row", "created_at", "done", "facts", "rule", "task")

    def __init__(self, facts: Facts, rule: Rule, created_at: int, row: Delivery | None = None) -> None:
        self.facts = facts
        self.rule = rule
        self.created_at = created_at
        self.done: tuple[str, ...] = () if row is None else row.done
        self.task: asyncio.Task[RuleResult] | None = None
        self._row = row

    @property
    def row(self) -> Delivery:
        """Its row, made when it is first asked for: a delivery that works at once needs none."""
        if self._row is None:
            self._row = _row_of(self.rule, self.facts, self.created_at)
        return self._row


class RulesSink:
    """See the module. Life: constructed, `open`, `deliver`..., `close`.

    Args:
        active: the rules as they are now.
        runner: carries them out.
        store: rows of what is not over.
        server: this server's name among those that share the provider.
        origin: gives ids a beginning that no other provider's events have.
        limit: rows that may wait; then the outbox has to hold what comes.
        timing: bounds of what may take time; tests are in a hurry.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        active: ActiveRules,
        runner: Runner,
        store: DeliveryStore,
        *,
        server: str,
        origin: Callable[[], Awaitable[str]],
        limit: int = 100_000,
        timing: DeliveryTiming | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._active = active
        self._runner = runner
        self._store = store
        self._server = server
        self._origin = origin
        self._limit = limit
        self._timing = timing or DeliveryTiming()
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._rule_places: dict[str, asyncio.Semaphore] = {}
        self._paused: dict[
            str, tuple[int, float]
        ] = {}  # failures in a row of a rule, and until when it rests
        self._news = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._closing = False
        self._worker: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin with what is left of earlier times."""
        self._worker = asyncio.create_task(self._work(), name="event rules: next tries")
        self._keeper = asyncio.create_task(self._keep_claims(), name="event rules: claims")

    def wake(self) -> None:
        """Look for rows now: somebody has stored or changed some."""
        self._news.set()

    # -- from the outbox -----------------------------------------------------------------------------------

    async def deliver(self, events: Sequence[KeptEvent]) -> None:
        """See `KeptSink`."""
        prefix = await self._origin()
        jobs = [job for kept in events for job in self._jobs(kept, f"{prefix}{kept.id}")]
        if not jobs:
            return
        waiting = await self._store.count("waiting") if len(self._working) or self._paused else 0
        if waiting >= self._limit:
            raise ProviderUnavailable(f"{waiting} deliveries of event rules wait already")
        rest = [job for job in jobs if self._rests(job.rule.name)]
        started = [job for job in jobs if job not in rest]
        for job in started:
            job.task = asyncio.create_task(self._run(job), name=f"event rule {job.rule.name}")
        tasks = [job.task for job in started if job.task is not None]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self._timing.patience)
            await self._settle_batch(started, rest)
        except BaseException:
            for task in tasks:  # the whole batch comes again
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _settle_batch(self, started: Sequence[_Job], rest: Sequence[_Job]) -> None:
        rows: list[Delivery] = []
        slow: list[_Job] = []
        for job in started:
            assert job.task is not None
            if not job.task.done():
                slow.append(job)
                rows.append(self._claimed(job.row))
            elif not (result := _result(job.task)).ok and (row := self._after(job.row, result)) is not None:
                rows.append(row)
        for job in rest:
            until = self._paused.get(job.rule.name, (0, 0.0))[1]
            rows.append(replace(job.row, due=int(until * 1000), error="the receiver has failed before"))
        await self._store.add(rows)
        for job in slow:
            self._follow(job)
        if rows:
            self._news.set()

    def _jobs(self, kept: KeptEvent, event_id: str) -> list[_Job]:
        if not isinstance(kept.event, Event):
            return []
        found: list[_Job] = []
        now = self._clock()
        created_at = now_ms(self._clock)
        for facts in facts_of(kept.event, event_id):
            for rule in self._active.book.later(facts):
                if rule.muted_until > now:
                    log.info("rule %s is muted: %s is not told", rule.name, facts.id)
                    continue
                own = replace(facts, id=f"{facts.id}-first") if facts.event[:6] == "first-" else facts
                found.append(_Job(own, rule, created_at))
        return found

    def row_of(self, rule: Rule, facts: Facts) -> Delivery:
        """The row of a rule on an event."""
        return _row_of(rule, facts, now_ms(self._clock))

    # -- running --------------------------------------------------------------------------------------------

    async def _run(self, job: _Job) -> RuleResult:
        """One try."""
        own = self._rule_places.setdefault(job.rule.name, asyncio.Semaphore(AT_ONCE_PER_RULE))
        if job.rule.gathers:  # it waits, and works no more than one message for many
            result = await self._try_once(job)
        else:
            async with own, self._places:
                result = await self._try_once(job)
        self._note(job.rule.name, result)
        return result

    async def _try_once(self, job: _Job) -> RuleResult:
        age = self._clock() - job.created_at / 1000
        return await self._runner.run(
            job.rule,
            job.facts,
            job.rule.later_steps(job.facts.event),
            done=job.done,
            last=age >= self._timing.give_up_seconds,
        )

    def _note(self, name: str, result: RuleResult) -> None:
        """Remember whether a rule's receiver is away: while it is, nothing new is tried but what is due."""
        if result.ok or not result.again:
            self._paused.pop(name, None)
            return
        failures, until = self._paused.get(name, (0, 0.0))
        if until > self._clock():  # begun before the pause: one outage counts once, however many it met
            return
        failures = min(failures + 1, 30)
        self._paused[name] = failures, self._clock() + self._delay(failures)

    def _rests(self, name: str) -> bool:
        return self._paused.get(name, (0, 0.0))[1] > self._clock()

    def _delay(self, tries: int) -> float:
        seconds = min(self._timing.first_delay * 2.0 ** min(tries - 1, 30), self._timing.last_delay)
        return seconds * random.uniform(1.0, 1.1)  # noqa: S311  (spreads load)

    def _after(self, row: Delivery, result: RuleResult) -> Delivery | None:
        """The row after a try; None if it is over."""
        if result.ok:
            return None
        tries = row.tries + 1
        row = replace(row, done=result.done, tries=tries, error=result.error, server="", until=0)
        old = self._clock() - row.created_at / 1000 >= self._timing.give_up_seconds
        if not result.again or old:
            log.error("rule %s is given up on %s: %s", row.rule, row.id, result.error)
            return replace(row, state="dead")
        return replace(row, due=int((self._clock() + self._delay(tries)) * 1000))

    def _claimed(self, row: Delivery) -> Delivery:
        return replace(row, server=self._server, until=int((self._clock() + self._timing.claim) * 1000))

    def _follow(self, job: _Job) -> None:
        """Have what became of a job with a row written when it ends."""
        task = asyncio.create_task(self._finish(job), name=f"event rule {job.rule.name}: end")
        self._working[job.row.id] = task
        task.add_done_callback(lambda _: self._working.pop(job.row.id, None))

    async def _finish(self, job: _Job) -> None:
        assert job.task is not None
        try:
            await asyncio.wait((job.task,))
        except asyncio.CancelledError:
            job.task.cancel()
            await asyncio.gather(job.task, return_exceptions=True)
            raise
        if job.task.cancelled():
            return
        row = self._after(job.row, _result(job.task))
        delay = self._timing.first_delay
        while True:
            try:
                await self._store.settle(
                    [] if row is not None else [job.row.id], [] if row is None else [row]
                )
            except ProviderError as error:
                log.warning("rule %s: its end cannot be written yet: %s", job.rule.name, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, self._timing.last_delay)
                continue
            break
        self._news.set()

    # -- next tries ------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        delay = self._timing.first_delay
        released = False
        while not self._closing:
            self._news.clear()
            try:
                if not released:  # claims of this server from before a crash
                    await self._store.release(self._server)
                    released = True
                room = TAKE_ROWS - len(self._working)
                rows = (
                    await self._store.take(self._server, limit=room, seconds=self._timing.claim)
                    if room > 0
                    else []
                )
                for row in rows:
                    await self._try(row)
                wait = self._timing.look
                if not rows:
                    await self._store.trim(keep=KEEP_DEAD)
                    due = await self._store.next_due()
                    if due is not None:
                        wait = min(wait, max(due / 1000 - self._clock(), 0.05))
                elif room > len(rows):
                    wait = 0.0
                delay = self._timing.first_delay
            except ProviderError as error:
                log.warning("deliveries of event rules cannot be read: %s", error)
                wait = delay
                delay = min(delay * 2, self._timing.last_delay)
            if wait:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()

    async def _try(self, row: Delivery) -> None:
        """Try a claimed row again."""
        if row.id in self._working:
            return
        rule = self._active.book.find(row.rule)
        try:
            facts = decode_facts(row.facts)
            problem = "" if rule is not None else f"there is no active rule {row.rule!r} any more"
        except ValueError as error:
            facts, problem = None, str(error)
        if rule is None or facts is None:
            await self._store.settle([], [replace(row, state="dead", error=problem)])
            return
        if rule.muted_until > self._clock():
            await self._store.settle([], [replace(row, due=int(rule.muted_until * 1000))])
            return
        job = _Job(facts, rule, row.created_at, row)
        job.task = asyncio.create_task(self._run(job), name=f"event rule {rule.name}")
        self._follow(job)

    async def _keep_claims(self) -> None:
        while True:
            await asyncio.sleep(self._timing.claim / 3)
            if self._working:
                try:
                    await self._store.renew(self._server, list(self._working), seconds=self._timing.claim)
                except ProviderError as error:
                    log.warning("claims of event rules cannot be kept up: %s", error)

    # -- the end -------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let rules that run end, for `CLOSE_SECONDS`; what does not comes again."""
        self._closing = True
        self._news.set()
        for task in (self._worker, self._keeper):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in (self._worker, self._keeper) if task), return_exceptions=True)
        self._worker = self._keeper = None
        if self._working:
            _, late = await asyncio.wait(list(self._working.values()), timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        with contextlib.suppress(ProviderError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._store.release(self._server)


def _row_of(rule: Rule, facts: Facts, created_at: int) -> Delivery:
    mark = hashlib.sha256(f"{rule.name}\0{facts.event}".encode()).hexdigest()[:8]
    return Delivery(id=f"{facts.id}-{mark}", rule=rule.name, facts=encode_facts(facts), created_at=created_at)


def _result(task: asyncio.Task[RuleResult]) -> RuleResult:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("an event rule ended in an error of the program", exc_info=error)
        return RuleResult(error=f"{type(error).__name__}: {error}")
    return RuleResult(error="cancelled", again=True) if task.cancelled() else task.result()
