# SPDX-License-Identifier: Apache-2.0
"""Notes of moves on the host that makes them, each in a directory of its own with its ledger.

What a crash leaves is told by them: where a move goes, how far it is, and who is held. Secrets of storage are
in them as they are in the record: encrypted if there is a key; the files are for the server's user alone.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from tidegate.accounts.storage_changes import MoveKind, Place
from tidegate.model import StorageConfig
from tidegate.relocation.progress import Phase

NOTE: Final = "move.json"
LEDGER: Final = "ledger.sqlite"
MAX_NOTE_BYTES: Final = 16 << 20
"""Longest note that is written or read: of a folder it names every account that mounts it."""
MAX_ERROR_CHARS: Final = 2000
"""Characters of an error that are kept."""
FORMAT: Final = 1
log = logging.getLogger(__name__)


@dataclass(slots=True)
class MoveNote:
    """One move.

    Attributes:
        kind: of the record.
        name: of the record.
        before: the place of its files when it began.
        after: the place where they go.
        phase: the last one that was begun.
        hold: the text by which accounts are held.
        held: accounts that may be held by it.
        leaves_out: what the target cannot hold stays.
        verifies_again: digests are taken once more while the account is held.
        number: of the last pass.
        swapped: it goes back: the ledger's old side is its target.
        started_ms: Unix milliseconds; ended_ms likewise, 0 while it runs or was broken off.
        error: the reason for which the last run failed.
    """

    kind: MoveKind
    name: str
    before: Place
    after: Place
    phase: Phase = Phase.CHECKING
    hold: str = ""
    held: list[str] = field(default_factory=list)
    leaves_out: bool = False
    verifies_again: bool = False
    number: int = 0
    swapped: bool = False
    started_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    ended_ms: int = 0
    error: str = ""


class Notes:
    """The notes of one server. Methods block for a few system calls.

    Args:
        directory: made when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ledger(self, kind: MoveKind, name: str) -> Path:
        """The path of a move's ledger."""
        return self._of(kind, name) / LEDGER

    def write(self, note: MoveNote) -> None:
        """Write a note; it is there whole or as it was before, whatever happens.

        Raises:
            OSError: it cannot be written; EFBIG if it has more than `MAX_NOTE_BYTES`.
        """
        text = json.dumps({"format": FORMAT, **asdict(note)}, ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )
        if len(text) > MAX_NOTE_BYTES:
            raise OSError(
                errno.EFBIG, f"it names {len(note.held)} accounts, and a note has {MAX_NOTE_BYTES} bytes"
            )
        place = self._of(note.kind, note.name)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        fresh = place / f"{NOTE}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(place / NOTE)
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self, kind: MoveKind, name: str) -> None:
        """Forget a move, with its ledger."""
        place = self._of(kind, name)
        with suppress(OSError):
            (place / NOTE).unlink()  # first: without it nothing else counts
        shutil.rmtree(place, ignore_errors=True)

    def read(self, kind: MoveKind, name: str) -> MoveNote | None:
        """The note of a move; None if there is none that can be read."""
        return _read(self._of(kind, name) / NOTE)

    def all(self) -> list[MoveNote]:
        """Every note, by kind and name."""
        try:
            places = list(self._directory.iterdir())
        except OSError:
            return []
        found = [note for place in places if (note := _read(place / NOTE)) is not None]
        return sorted(found, key=lambda note: (note.kind, note.name))

    def _of(self, kind: MoveKind, name: str) -> Path:
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        return self._directory / f"{kind}-{digest}"


def _read(path: Path) -> MoveNote | None:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_NOTE_BYTES + 1)
        if len(text) > MAX_NOTE_BYTES:
            raise ValueError(f"more than {MAX_NOTE_BYTES} bytes")
        found: dict[str, Any] = json.loads(text.decode("utf-8", "surrogatepass"))
        if found.pop("format") != FORMAT:
            return None
        for side in ("before", "after"):
            config = found[side]["config"]
            found[side] = Place(found[side]["directory"], StorageConfig(config["kind"], config["options"]))
        found["phase"] = Phase(found["phase"])
        known = {one.name for one in fields(MoveNote)}
        return MoveNote(**{name: value for name, value in found.items() if name in known})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.error("the note of a move cannot be read, and is left where it is: %s: %s", path, error)
        return None
