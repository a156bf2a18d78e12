# SPDX-License-Identifier: Apache-2.0
"""One move of the files of an account or folder: what is wanted, and how far it is."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from tidegate.accounts.actor import Actor
from tidegate.relocation.notes import MoveNote
from tidegate.relocation.progress import Progress

State = Literal["running", "done", "failed", "interrupted"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The wish for a move.

    Attributes:
        document: ``filesystem``, and ``home_dir`` or ``mapped_path`` where that changes.
        dry_run: look only.
        leaves_out: what the target cannot hold stays.
        verifies_again: take every digest once more while nobody works.
    """

    document: dict[str, Any]
    dry_run: bool = False
    leaves_out: bool = False
    verifies_again: bool = False


class Move:
    """One move that runs or ran, as it is told.

    Attributes:
        note: what is kept of it.
        progress: amount that is done.
        source: location of the old storage, for operators; target of the new one.
        dry_run: it only looks.
        error: the reason why it failed; empty if it did not.
        task: the work while it runs.
        id: of this run, for whoever lists or ends it.
        by: who started it; None if nobody did since this server runs.
    """

    def __init__(self, note: MoveNote, *, dry_run: bool = False) -> None:
        self.note = note
        self.progress = Progress(note.phase)
        self.source = self.target = ""
        self.dry_run = dry_run
        self.error = note.error
        self.task: asyncio.Task[None] | None = None
        self.id = f"MOVE_{secrets.token_hex(8)}"
        self.by: Actor | None = None

    def stop(self, by: str) -> None:
        """End it as soon as nobody is held by it; what was copied waits for the next run."""
        if self.task is not None:
            log.warning("%s, stopped by %s", self, by)
            self.task.cancel()

    @property
    def state(self) -> State:
        """Its state."""
        if self.task is not None:
            return "running"
        if self.error:
            return "failed"
        return "done" if self.note.ended_ms else "interrupted"

    def __str__(self) -> str:
        return f"move of {self.note.kind} {self.note.name}: {self.progress}"
