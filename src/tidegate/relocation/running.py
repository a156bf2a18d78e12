# SPDX-License-Identifier: Apache-2.0
"""The moves that run on a server, and the last ones that ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.storage_changes import MoveKind
from tidegate.errors import Conflict, TidegateError
from tidegate.relocation.move import Move
from tidegate.relocation.notes import MAX_ERROR_CHARS, MoveNote
from tidegate.relocation.progress import Phase

LINE_SECONDS: Final = 10.0
"""Time between two lines of the log about a move."""
MAX_RUNNING: Final = 4
"""Moves that run at the same time."""
ENDED_KEPT: Final = 1000
"""Moves whose outcome is remembered without a note, the latest ones."""
STOP_SECONDS: Final = 150.0
"""Time that a move gets to let everybody go once it is stopped."""

log = logging.getLogger(__name__)


class RunningMoves:
    """Starts and stops the work of moves; each record has one at a time.

    Args:
        write: keeps the note of a move in its phase.

    Attributes:
        running: moves by kind and name, the oldest first.
        ended: the last `ENDED_KEPT` that ended.
    """

    def __init__(self, write: Callable[[MoveNote, Phase], Awaitable[None]]) -> None:
        self._write = write
        self.running: dict[tuple[MoveKind, str], Move] = {}
        self.ended: dict[tuple[MoveKind, str], Move] = {}

    def require_room(self, kind: MoveKind, name: str) -> None:
        """Refuse what cannot start now.

        Raises:
            Conflict: a move of this record runs, or too many run.
        """
        if (kind, name) in self.running:
            raise Conflict(f"a move of {kind} {name} is in progress")
        if len(self.running) >= MAX_RUNNING:
            raise Conflict(f"{MAX_RUNNING} moves run already")

    def launch(self, move: Move, work: Coroutine[Any, Any, None], by: Actor) -> Move:
        """Start the work of a move.

        Raises:
            Conflict: see `require_room`; the work is closed.
        """
        key = (move.note.kind, move.note.name)
        try:
            self.require_room(*key)
        except Conflict:
            work.close()
            raise
        self.running[key] = move
        move.by = by
        move.error, move.note.ended_ms = "", 0
        move.task = asyncio.create_task(self._guard(move, work), name=str(move))
        return move

    async def _guard(self, move: Move, work: Awaitable[None]) -> None:
        telling = asyncio.create_task(_tell(move), name="progress of a move")
        error = "stopped"
        try:
            await work
            error = ""
        except asyncio.CancelledError:
            log.warning("%s, stopped", move)
        except (TidegateError, OSError, sqlite3.Error) as failure:
            error = str(failure) or type(failure).__name__
            log.error("%s, failed: %s", move, error)
        except Exception as failure:
            error = type(failure).__name__
            log.exception("%s, ended in an error of the program", move)
        finally:
            telling.cancel()
            key = (move.note.kind, move.note.name)
            move.error = move.note.error = error[:MAX_ERROR_CHARS]
            move.note.ended_ms = now_ms()
            move.task = None
            del self.running[key]
            self.ended.pop(key, None)
            self.ended[key] = move
            if len(self.ended) > ENDED_KEPT:
                del self.ended[next(iter(self.ended))]
            if not move.dry_run and move.note.phase not in (Phase.CHECKING, Phase.REMOVED):
                with contextlib.suppress(TidegateError):
                    await asyncio.shield(asyncio.ensure_future(self._write(move.note, move.note.phase)))

    async def stop(self, key: tuple[MoveKind, str]) -> None:
        """Stop a move that runs, and wait until nobody is held by it.

        Raises:
            Conflict: it does not stop.
        """
        move = self.running.get(key)
        if move is not None and move.task is not None:
            task = move.task
            task.cancel()
            await asyncio.wait((task,), timeout=STOP_SECONDS)
            if not task.done():
                raise Conflict(f"the move of {key[0]} {key[1]} does not stop")


async def _tell(move: Move) -> None:
    while True:
        await asyncio.sleep(LINE_SECONDS)
        log.info("%s", str(move))


def now_ms() -> int:
    """Now, in Unix milliseconds."""
    return time.time_ns() // 1_000_000
