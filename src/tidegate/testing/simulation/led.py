# SPDX-License-Identifier: Apache-2.0
"""A world that is led step by step from outside: for state machines, and for trying things by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tidegate.testing.simulation.faults import Where
from tidegate.testing.simulation.history import Step
from tidegate.testing.simulation.world import Outcome, World


class LedWorld(World):
    """See the module. The history gives settings and clients; what its scripts say is not done.

    Between two calls time stands still, and so does what is under way. A process that is killed is followed
    by the next at once. Life: `start`, steps, `finish`; all within `Clock.installed`.
    """

    _counting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The first process."""
        self._begin()
        self._led(self._open_server())

    async def _open_server(self) -> None:
        self._counting = await self._open()

    def _led(self, work: Coroutine[Any, Any, None]) -> None:
        if not self._drive(work):
            self._end()
            self.start()

    def act(self, number: int, step: Step) -> None:
        """Client `number` does something; if not `alone`, it has only begun when this returns."""
        self._led(self.clients[number].do(step))

    def pass_time(self, seconds: float) -> None:
        """Whatever is under way goes on."""
        self._led(asyncio.sleep(seconds))

    def fail(self, where: Where, kind: str, ahead: int) -> None:
        """Let a call to come go wrong; see `Faults.soon`."""
        self._faults.soon(where, kind, ahead)

    def end_process(self) -> None:
        """Kill -9, and a new process."""
        self.kill()
        self._end()
        self.start()

    def finish(self) -> Outcome:
        """Everybody leaves, the server stops; then what `simulate` compares."""
        while not self._drive(self._all_leave()):
            self._end()
            self.start()
        self._end()
        self.check()
        return self.outcome

    async def _all_leave(self) -> None:
        await asyncio.gather(*(client.farewell() for client in self.clients))
        if self._counting is not None:
            await asyncio.wait([self._counting])
        await self._close()
