# SPDX-License-Identifier: Apache-2.0
"""The order of requests other than READ and WRITE: which of them may run at the same time.

Two requests keep their order of arrival if they are about the same handle, or if one touches a path at,
above or below one that the other changes (`spans`, `tidegate.vfs.api.Span`). All others may overlap, up to a
bound. While all storage of the session is inline every request keeps its order with every other one: what is
answered from memory gains nothing by overtaking.

A request waits for earlier ones only, hence no deadlock. It begins when all those have ended, also if they
failed. A request about an open file also has a place in the order of its READs and WRITEs (`handles`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.common.turns import turns_of
from tidegate.doors.sftp.handles import OpenFile, Operation, wait_all
from tidegate.doors.sftp.listings import Listing
from tidegate.doors.sftp.spans import Spans
from tidegate.doors.sftp.verbs import Handler
from tidegate.doors.sftp.wire import requests as r
from tidegate.doors.sftp.work import Work
from tidegate.vfs import eager
from tidegate.vfs.api import Span

Fail = Callable[[int, Exception, r.Request | None, tuple[OpenFile | Listing, ...]], None]
"""Answers a request that failed: id, error, the request if it is known, what its handles stand for."""

PARALLEL_REQUESTS: Final = 32
"""Requests other than READ and WRITE of one channel that run at the same time."""


class Job:
    """One request, and what it waits for."""

    __slots__ = (
        *("barriers", "blocks", "cost", "earlier", "handler", "request", "rid", "spans", "targets"),
        "waits_for",
    )

    def __init__(
        self,
        rid: int,
        handler: Handler,
        request: r.Request,
        targets: tuple[OpenFile | Listing, ...],
        cost: int,
    ) -> None:
        self.rid = rid
        self.handler = handler
        self.request = request
        self.targets = targets
        self.cost = cost
        self.barriers: tuple[Operation, ...] = ()
        self.earlier: tuple[Operation, ...] = ()
        self.spans: tuple[Span, ...] | None = None
        self.waits_for = 0
        self.blocks: list[Job] = []

    def hold(self) -> None:
        """Take a place in the order of each file the request is about."""
        for target in self.targets:
            if type(target) is OpenFile:
                barrier, before = target.barrier()
                # copy-data may name one handle twice; it must not wait for itself.
                self.earlier += tuple(other for other in before if other not in self.barriers)
                self.barriers += (barrier,)

    def conflicts(self, other: Job) -> bool:
        """True if the two must keep their order."""
        if self.spans is None or other.spans is None:
            return True
        if any(target in other.targets for target in self.targets):
            return True
        return any(mine.conflicts(theirs) for mine in self.spans for theirs in other.spans)


class Schedule:
    """Requests of one channel, from arrival to reply.

    Args:
        transport: takes replies.
        work: counts what is unfinished.
        spans: what each request touches.
        fail: answers requests that fail.
        parallel: most requests that run at the same time.

    Attributes:
        unfinished: requests that are under way or wait, in order of arrival.
    """

    def __init__(
        self,
        transport: PacketTransport,
        work: Work,
        spans: Spans,
        fail: Fail,
        *,
        parallel: int = PARALLEL_REQUESTS,
    ) -> None:
        self._transport = transport
        self._work = work
        self._spans = spans
        self._fail = fail
        self._parallel = parallel
        self._turns = turns_of(work.loop)
        self.unfinished: dict[Job, None] = {}
        self._ready: deque[Job] = deque()
        self._running = 0
        self._planned = False

    def add(self, job: Job) -> None:
        """Take a request that has just arrived: begin it, or keep it until it may begin."""
        self._work.begin(job.cost)
        if not self.unfinished:
            for target in job.targets:
                if type(target) is OpenFile and target.operations:
                    job.hold()
                    break
            self._run(job)
            if self.unfinished:
                # It did not end at once, and nothing can have come between.
                if not job.barriers:
                    job.hold()
                job.spans = self._spans.of(job.request, job.targets)
            return
        job.hold()
        job.spans = self._spans.of(job.request, job.targets)
        for earlier in reversed(self.unfinished):
            if job.conflicts(earlier):
                job.waits_for += 1
                earlier.blocks.append(job)
                if earlier.spans is None:
                    break  # that one waits for all before it
        if job.waits_for or self._ready or self._running >= self._parallel:
            self.unfinished[job] = None
            if not job.waits_for:
                self._ready.append(job)
            return
        self._run(job)

    def drop(self) -> None:
        """The channel is gone: begin nothing more."""
        self._ready.clear()

    def _run(self, job: Job) -> None:
        task, _ = eager.start(self._answer(job), self._work.loop)
        if task is None:
            self._ended(job)
            return
        self.unfinished[job] = None
        self._running += 1
        self._work.tasks.add(task)
        task.add_done_callback(partial(self._ran, job))

    async def _answer(self, job: Job) -> None:
        work = self._work
        try:
            if job.earlier:
                await wait_all(job.earlier)
            reply = await job.handler(job.rid, job.request, job.targets)
            if not work.gone:
                self._transport.send(reply)
        except Exception as error:
            if not work.gone:
                self._fail(job.rid, error, job.request, job.targets)
        finally:
            for barrier in job.barriers:
                barrier.finish()
            work.settle(job.cost)

    def _ended(self, job: Job) -> None:
        """Let those begin that waited for nothing else."""
        self.unfinished.pop(job, None)
        for later in job.blocks:
            later.waits_for -= 1
            if not later.waits_for:
                self._ready.append(later)

    def _ran(self, job: Job, task: asyncio.Task[None]) -> None:
        self._work.tasks.discard(task)
        self._running -= 1
        if self._work.gone:
            return
        self._ended(job)
        if not self._ready or self._planned:
            return
        turns = self._turns
        if turns.crowded or not turns.may_work:
            self._planned = True
            turns.later(self._begin_ready)
            return
        turns.begin()
        try:
            self._begin_ready()
        finally:
            turns.end()

    def _begin_ready(self) -> None:
        """Begin requests that wait for nothing, for a slice of a turn."""
        self._planned = False
        deadline = self._turns.deadline
        while self._ready and self._running < self._parallel:
            self._run(self._ready.popleft())
            if self._ready and self._running < self._parallel and monotonic() >= deadline:
                self._planned = True
                self._turns.later(self._begin_ready)
                return
