# SPDX-License-Identifier: Apache-2.0
"""Runs a history: processes that live and end over one directory and one store, and what is there after.

`simulate` is the way in. What holds after every history:

* the numbers in the store are what the disk holds, or the mark says that they may not be;
* after a start that counts again they are exact, and no mark is left;
* no descriptor is left open, and nothing raised what is no error of ours.

And while nothing has gone wrong yet: whenever nothing runs, the live numbers are exact; and in mode 0 no
account ever holds more than its quota, removed files that are still open included, unless its numbers are
known to be in doubt.

Long, because a history and what must hold after it are told together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tidegate.abc import Publish
from tidegate.backends.local.files import LocalFile
from tidegate.backends.local.journal import sweep_journal
from tidegate.backends.local.names import STAGED
from tidegate.errors import TidegateError
from tidegate.events.kinds import Event
from tidegate.model import Account, Folder, FolderMount, StorageSpec
from tidegate.testing.simulation import oracle
from tidegate.testing.simulation.client import Client, current
from tidegate.testing.simulation.clock import Clock, SimulatedLoop
from tidegate.testing.simulation.faults import Faults
from tidegate.testing.simulation.history import History
from tidegate.testing.simulation.storage import (
    SimulatedBackend,
    SimulatedDevices,
    descriptors,
    release_descriptors,
)
from tidegate.testing.simulation.store import Records, SimulatedStore
from tidegate.vfs.context import VfsOptions
from tidegate.vfs.factory import VfsSessions

PACKAGES: Final = ("tidegate.vfs", "tidegate.backends", "tidegate.policy", "tidegate.doors")
"""Modules that live by the simulation's clock."""
LIVES: Final = 6
"""Processes in one history, most."""
BURIAL_ROUNDS: Final = 50


@dataclass(slots=True)
class Outcome:
    """The outcome of a history.

    Attributes:
        failures: what should not be; empty if all is well.
        trace: what happened, in order.
        lives: processes.
        faults: number of faults that were met.
    """

    failures: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    lives: int = 0
    faults: int = 0


def simulate(history: History, directory: str | None = None) -> Outcome:
    """Run one history.

    Args:
        directory: where its files go for the while; None takes memory if the system has some to give.
    """
    with _room(directory) as base:
        world = World(history, base)
        with world.clock.installed(*PACKAGES):
            return world.run()


@contextmanager
def _room(directory: str | None) -> Iterator[Path]:
    if directory is None and os.path.isdir("/dev/shm"):  # noqa: S108  (a directory of our own is made in it)
        directory = "/dev/shm"  # noqa: S108
    base = tempfile.mkdtemp(prefix="tidegate-sim-", dir=directory)
    try:
        yield Path(base)
    finally:
        shutil.rmtree(base)


class World:
    """One history while it runs.

    Attributes:
        clock: its time.
        records: what is stored.
        vfs: the server that lives now; store likewise.
        lines_broken: number of times that a client lost its line.
    """

    vfs: VfsSessions
    store: SimulatedStore
    _devices: SimulatedDevices
    _opened: list[LocalFile]
    _loop: SimulatedLoop

    def __init__(self, history: History, base: Path) -> None:
        self.history = history
        self.base = base
        self.clock = Clock()
        self.records = Records()
        self.outcome = Outcome()
        self._faults = Faults(history.faults)
        self._draw = random.Random(history.schedule)  # noqa: S311  (no secret)
        self.lines_broken = 0
        self._killed = False
        self._buried = False
        self._furnish()
        self.clients = [Client(self, number, script) for number, script in enumerate(history.scripts)]

    # -- what is there when a history begins -------------------------------------------------------------

    def _furnish(self) -> None:
        base, history = self.base, self.history
        for name, files in {
            "alice": {"a": 1000, "d/a": 500},
            "bob": {"a": 700, "d/b": 10},
            "inc": {"a": 200, "d/b": 300},
            "own": {"a": 400, "d/a": 50},
        }.items():
            for file, size in files.items():
                path = base / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"0" * size)
        for name in ("alice", "bob") if history.links else ():
            for link, target in {"l": "a", "ld": "d", "dangling": "d/nothing"}.items():
                (base / name / link).symlink_to(target)
        (base / "journal").mkdir()
        for name in ("inc", "own"):
            used = oracle.measure(str(base / name))
            self.records.folders[name] = Folder(
                name=name,
                mapped_path=str(base / name),
                used_quota_size=used.size,
                used_quota_files=used.files,
            )
        own = FolderMount(
            name="own", virtual_path="/own", mapped_path=str(base / "own"),
            quota_size=history.limits[2], quota_files=0,
        )  # fmt: skip
        inc = FolderMount(name="inc", virtual_path="/inc", mapped_path=str(base / "inc"))
        for number, (name, mounts) in enumerate({"alice": (inc, own), "bob": (own,)}.items()):
            homes = [str(base / name)] + [str(base / "inc")] * (name == "alice")
            used = oracle.measure(*homes)
            everywhere: dict[str, tuple[str, ...]] = {"/": ("*",)}
            self.records.accounts[name] = Account(
                username=name, id=number + 1, created_at=1,
                home_dir=str(base / name), virtual_folders=mounts,
                permissions=everywhere | ({"/zz": ()} if history.divided else {}),
                quota_size=history.limits[number],
                used_quota_size=used.size, used_quota_files=used.files,
            )  # fmt: skip

    # -- a history ---------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Everything."""
        while not self._life() and self.outcome.lives < LIVES:
            pass
        self.check()
        return self.outcome

    def check(self) -> None:
        """Compare when all have gone, then start once more, count again, and compare."""
        outcome = self.outcome
        for difference in oracle.differences(self.records, self.history.track_quota):
            if not oracle.is_marked(self.records, difference.who):
                outcome.failures.append(f"at the end, without a mark: {difference}")
        recounted = self.history.early or any(
            step.act == "recount" for script in self.history.scripts for step in script.steps
        )  # beside traffic that may leave a mark, so that it is done again
        troubled = outcome.faults or self.lines_broken or self._ever_killed or recounted
        needless = self.records.dirty.difference(self.vfs.tracker.doubts.accounts())
        if needless and not troubled:
            outcome.failures.append(f"nothing failed, and marked are: {', '.join(sorted(needless))}")
        self._faults.off = True
        marked = set(self.records.dirty)
        for client in self.clients:
            client.position = len(client.script.steps)
        self._life()
        outcome.failures += [
            f"after counting again ({', '.join(sorted(marked)) or 'nobody was marked'}): {difference}"
            for difference in oracle.differences(self.records, self.history.track_quota)
        ]
        if self.records.dirty:
            outcome.failures.append(f"marked after counting again: {', '.join(sorted(self.records.dirty))}")

    @property
    def _ever_killed(self) -> bool:
        return self.outcome.lives > 1

    def _life(self) -> bool:
        """One process, to its end; False if it was killed."""
        self._begin()
        try:
            return self._drive(self._main())
        finally:
            self._end()

    def _begin(self) -> None:
        """A process comes to be."""
        self.outcome.lives += 1
        self.note(f"process {self.outcome.lives} starts")
        self._killed = self._buried = False
        self._opened = []
        self._devices = SimulatedDevices(
            self.clock, self._faults, self._draw, self, quick_share=self.history.quick_share
        )
        self._loop = SimulatedLoop(self.clock, self._devices.threads)
        self._loop.set_exception_handler(self._loop_failed)
        asyncio.set_event_loop(self._loop)

    def _drive(self, work: Coroutine[Any, Any, None]) -> bool:
        """Let the process do something; False if it was killed before that was done."""
        loop = self._loop
        task = loop.create_task(work)
        task.add_done_callback(lambda _: None if self._killed else loop.stop())
        loop.run_forever()
        if not self._killed and task.exception() is not None:
            self.unforeseen("the process", task.exception())
        return not self._killed

    def _end(self) -> None:
        """The process is no more."""
        loop = self._loop
        try:
            # What goes on in the background when the server has stopped ends by itself, or is killed too.
            if not self._killed and (left := asyncio.all_tasks(loop)):
                self._drive(_ended(left))
            if self._killed:
                self._bury(loop)
            held = descriptors(f"{self.base}/")
            if held and not self._killed:
                self.outcome.failures.append(f"descriptors left open: {sorted(held.values())}")
        finally:
            self._opened = []
            for client in self.clients:
                client.reset()
            self.outcome.faults = len(self._faults.met)
            asyncio.set_event_loop(None)
            loop.close()

    async def _main(self) -> None:
        counting = await self._open()
        await asyncio.gather(*(client.run() for client in self.clients))
        await asyncio.wait([counting])
        await self._close()

    async def _open(self) -> asyncio.Task[None]:
        """Start the server; returns what counts again."""
        STAGED.clear()  # a name in use by a process that is no more
        sweep_journal(str(self.base / "journal"))
        self.store = SimulatedStore(self.records, self._faults, self._draw, self)
        self.vfs = VfsSessions(
            self._build,
            self.store,
            emit=_nobody_listens,
            options=VfsOptions(upload_mode=Publish(self.history.mode)),
            track_quota=self.history.track_quota,
        )
        counting = asyncio.create_task(self._reconcile())
        if not self.history.early:
            await asyncio.wait([counting])
        return counting

    async def _close(self) -> None:
        await self.vfs.close()
        self._devices.close()
        while self._devices.threads.busy:  # noqa: ASYNC110  (of simulated time)
            await asyncio.sleep(0.001)

    async def _reconcile(self) -> None:
        try:
            await self.vfs.reconcile()
        except TidegateError as error:
            self.note(f"counting again failed: {error}")

    def _build(self, spec: StorageSpec) -> SimulatedBackend:
        return SimulatedBackend(
            spec.directory, self._opened, devices=self._devices, journal_dir=str(self.base / "journal")
        )

    def _bury(self, loop: SimulatedLoop) -> None:
        """Wind up what a killed process leaves in this one; none of it reaches disk or store."""
        self._buried = True
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # nobody is there any more to say it
        try:
            for _ in range(BURIAL_ROUNDS):
                left = asyncio.all_tasks(loop)
                if not left:
                    break
                for task in left - self._devices.endings:  # those let go of their files by themselves
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=100))
            loop.run_until_complete(self._wind_up())
            if left := asyncio.all_tasks(loop):
                loop.run_until_complete(_ended(left))
            for file in self._opened:
                file.abandon()
        finally:
            logging.disable(before)

    async def _wind_up(self) -> None:
        for client in self.clients:
            for session in client.sessions:
                # Its descriptors lead nowhere by now, so it may well fail; it only has to let them go.
                await asyncio.gather(session.close(), return_exceptions=True)
        await self.vfs.close()

    # -- `Happenings` ------------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Put a line into the trace."""
        if not self._buried:
            self.outcome.trace.append(f"{self.clock.now:10.4f}  {what}")

    def cut(self) -> None:
        """Break the line of the client whose request runs now, or of somebody."""
        client = current.get() or self._draw.choice(self.clients)
        client.cut()

    def kill(self) -> None:
        """End the process."""
        if not self._killed:
            self.note("the process is killed")
            self._killed = True
            self._devices.threads.dead = self.store.dead = True
            release_descriptors(f"{self.base}/")
            if self._loop.is_running():
                self._loop.stop()

    def unforeseen(self, where: str, error: BaseException | None) -> None:
        """Something raised what it should not."""
        if not self._killed:
            self.outcome.failures.append(f"{where} raised {type(error).__name__}: {error}")

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:  # noqa: ARG002
        error = context.get("exception")
        self.unforeseen(str(context.get("message")), error if isinstance(error, BaseException) else None)

    # -- looking while it runs ---------------------------------------------------------------------------

    def look(self) -> None:
        """Compare now, if what is known now is comparable."""
        if self._faults.met or self._ever_killed or self._killed or self.outcome.failures:
            return
        if self.history.mode == 0:
            self._look_at_limits()
        if all(client.idle for client in self.clients) and not self._devices.threads.busy:
            now = Records()
            now.accounts, now.folders = dict(self.records.accounts), dict(self.records.folders)
            for name, account in now.accounts.items():
                if (usage := self.vfs.tracker.live(name)) is not None:
                    now.accounts[name] = replace(
                        account, used_quota_size=usage.size.used, used_quota_files=usage.files.used
                    )
            for name, folder in now.folders.items():
                if (shared := self.vfs.tracker.live_folder(name)) is not None:
                    now.folders[name] = replace(
                        folder, used_quota_size=shared.size.used, used_quota_files=shared.files.used
                    )
            self.outcome.failures += [
                f"at rest: {difference}"
                for difference in oracle.differences(now, self.history.track_quota)
                if difference.who in now.accounts
                and self.vfs.tracker.live(difference.who) is not None
                and difference.who not in self.vfs.tracker.doubts.accounts()
            ]

    def _look_at_limits(self) -> None:
        alice, bob, own = self.history.limits
        base = self.base
        doubtful = self.vfs.tracker.doubts.accounts()  # counted beside traffic, for instance: about right
        for who, limit, roots in (
            ("alice", alice, (base / "alice", base / "inc")),
            ("bob", bob, (base / "bob",)),
            ("folder own", own, (base / "own",)),
        ):
            places = [str(root) for root in roots]
            if who in doubtful or (doubtful and who == "folder own"):
                continue
            if limit and oracle.measure(*places).size + (removed := oracle.measure_removed(*places)) > limit:
                there = oracle.measure(*places).size
                self.outcome.failures.append(
                    f"{who}: {there} bytes and {removed} in removed files take room, {limit} are allowed"
                )


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait for all of them."""
    await asyncio.wait(tasks)


def _nobody_listens(event: Event) -> None:
    """Takes events."""
