# SPDX-License-Identifier: Apache-2.0
"""Inspections of one upload that begin while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from tidegate.contracts.inspection import Verdict


class Begun:
    """Inspections under way; each task ends with a verdict, or with None to be asked again.

    Life: constructed, `verdict` of each inspector or none, `end` once.

    Args:
        tasks: by the inspectors' names.
        ended: called with the name of each inspector that reads no more.
    """

    def __init__(
        self, tasks: Mapping[str, asyncio.Task[Verdict | None]], ended: Callable[[str], None]
    ) -> None:
        self._tasks = tasks
        for name, task in tasks.items():
            task.add_done_callback(lambda _, name=name: ended(name))  # type: ignore[misc]

    async def verdict(self, name: str) -> Verdict | None:
        """The verdict of an inspector, waited for; None if it has to be asked now."""
        task = self._tasks.get(name)
        return None if task is None else await asyncio.shield(task)

    async def end(self) -> None:
        """Break off what is still under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
