# SPDX-License-Identifier: Apache-2.0
"""One client of a simulation: logs in, does what its script says, loses its line, comes back."""

from __future__ import annotations

import asyncio
import random
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tidegate.errors import PeerGone, TidegateError
from tidegate.model import Peer, Principal, Protocol
from tidegate.testing.simulation.history import Script, Step
from tidegate.testing.simulation.operations import OPERATIONS
from tidegate.vfs.files.handle import File
from tidegate.vfs.session import Session

if TYPE_CHECKING:
    from tidegate.testing.simulation.clock import Clock
    from tidegate.testing.simulation.world import World
    from tidegate.vfs.factory import VfsSessions

current: ContextVar[Client | None] = ContextVar("current", default=None)
"""The client whose request runs now."""


class Client:
    """See the module. Its place in the script outlives processes; its session does not.

    Args:
        world: where it lives.
        number: for the trace.
        script: what it does.

    Attributes:
        files: what it has open.
        spare: those of them that no act is busy with.
    """

    def __init__(self, world: World, number: int, script: Script) -> None:
        self._world = world
        self.number = number
        self.script = script
        self.position = 0
        self.files: list[File] = []
        self.spare: list[File] = []
        self.tasks: dict[asyncio.Task[None], None] = {}  # in the order of their making, unlike a set
        self.sessions: list[Session] = []
        self._session: Session | None = None
        self._release: asyncio.Task[None] | None = None
        self._leaving = False
        self._parting = False

    @property
    def session(self) -> Session:
        """The client's session.

        Raises:
            PeerGone: the line is broken.
        """
        if self._session is None:
            raise PeerGone
        return self._session

    @property
    def vfs(self) -> VfsSessions:
        """The server, for what administrators do."""
        return self._world.vfs

    @property
    def clock(self) -> Clock:
        """The history's clock."""
        return self._world.clock

    @property
    def links(self) -> bool:
        """True if the history has links."""
        return self._world.history.links

    @property
    def idle(self) -> bool:
        """True if nothing of it runs and nothing is open."""
        resting = self._release is None or self._release.done()
        return resting and not (self.tasks or self.files or self._parting)

    async def run(self) -> None:
        """Go through the script from where it stopped."""
        steps = self.script.steps
        while self.position < len(steps):
            step = steps[self.position]
            self.position += 1
            await asyncio.sleep(step.wait)
            await self.do(step)
        await self.farewell()

    async def do(self, step: Step) -> None:
        """One act, to its end if the step says so."""
        try:
            await self._login()
        except TidegateError as error:
            self._world.note(f"client {self.number} cannot log in: {type(error).__name__}")
            return
        task = asyncio.create_task(self._act(step))
        self.tasks[task] = None
        task.add_done_callback(lambda done: self.tasks.pop(done, None))
        if step.alone:
            await asyncio.wait([task])
        if self._leaving:
            await self.farewell()
        self._world.look()

    async def _login(self) -> None:
        if self._release is not None:
            await asyncio.wait([self._release])
        if self._session is None:
            asked = self.clock.monotonic()
            account = await self._world.store.user(self.script.username)
            if account is None:
                raise PeerGone
            peer = Peer(f"c{self.number}", Protocol.SFTP, "192.0.2.7", 4711, "127.0.0.1:2022", "SSH-2.0-sim")
            session = await self.vfs.open(Principal(account, "password", "192.0.2.7", asked), peer)
            self._session, self.files, self.spare = session, [], []
            self.sessions.append(session)

    async def _act(self, step: Step) -> None:
        current.set(self)
        self._world.note(f"client {self.number} begins {step.act}")
        try:
            await _counted(OPERATIONS[step.act].act(self, random.Random(step.seed)), step.cut, self.cut)  # noqa: S311
        except TidegateError as error:
            self._world.note(f"client {self.number} {step.act}: {type(error).__name__} {error}")
        except Exception as error:
            self._world.unforeseen(f"client {self.number} {step.act}", error)
        else:
            self._world.note(f"client {self.number} {step.act}: done")

    # -- the end of a session ----------------------------------------------------------------------------

    def cut(self) -> None:
        """The line breaks now: what the door does then."""
        session, files, tasks = self._session, self.files, list(self.tasks)
        if session is None:
            return
        self._world.note(f"client {self.number} loses its line")
        self._world.lines_broken += 1
        self._session, self.files, self.spare = None, [], []
        for task in tasks:
            task.cancel()
        self._release = asyncio.get_running_loop().create_task(self._released(session, files, tasks))

    async def _released(self, session: Session, files: list[File], tasks: list[asyncio.Task[None]]) -> None:
        if tasks:
            await asyncio.wait(tasks)
        for file in files:
            await file.abort()
        await session.close()

    def kill(self) -> None:
        """The server's process ends now."""
        self._world.kill()

    def leave(self) -> None:
        """Say goodbye once this act is done."""
        self._leaving = True

    async def farewell(self) -> None:
        """Wait for what is under way, close what is open, and go."""
        self._leaving, self._parting = False, True
        while self.tasks:
            await asyncio.wait(self.tasks)
        if self._release is not None:
            await asyncio.wait([self._release])
        session, files = self._session, self.files
        self._session, self.files, self.spare = None, [], []
        for file in files:
            await file.abort()
        if session is not None:
            await session.close()
        self._parting = False

    def reset(self) -> None:
        """The process is another one: nothing of the old one is there any more."""
        self.files, self.spare, self.tasks, self.sessions = [], [], {}, []
        self._session = self._release = None
        self._leaving = self._parting = False


async def _counted(act: Any, nth: int, then: Callable[[], None]) -> None:
    await _watched(act, nth, then)


@types.coroutine
def _watched(act: Coroutine[Any, Any, None], nth: int, then: Callable[[], None]) -> Generator[Any, Any, None]:
    """Run a coroutine; when it waits for the n-th time, call `then` in the loop's next turn."""
    error: BaseException | None = None
    value: Any = None
    waits = 0
    while True:
        try:
            waited = act.send(value) if error is None else act.throw(error)
        except StopIteration:
            return
        waits += 1
        if waits == nth:
            asyncio.get_running_loop().call_soon(then)
        value = error = None
        try:
            value = yield waited
        except BaseException as thrown:  # cancellation goes into the coroutine
            error = thrown
