# SPDX-License-Identifier: Apache-2.0
"""Two sinks for Tidegate: an audit file that misses nothing, and counts that may."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.abc import KeptEvent, KeptSink, Sink


class Audit:
    """Appends one line an event: id, event, user, path. While `pause` exists it takes nothing."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._file = Path(options["file"])
        self._pause = Path(options["pause"])

    async def open(self) -> None:
        self._file.touch()

    async def deliver(self, events: Sequence[KeptEvent]) -> None:
        if self._pause.exists():
            raise RuntimeError("the auditor is away")
        with self._file.open("a") as file:
            for event in events:
                fields = event.document
                line = [
                    event.id,
                    fields["event"],
                    fields["origin"]["username"],
                    fields.get("virtual_path", ""),
                ]
                file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    async def close(self) -> None:
        pass


class Counts:
    """Counts events by class, and says at the end how many there were."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._file = Path(options["file"])
        self._counts: Counter[str] = Counter()

    async def open(self) -> None:
        pass

    async def handle(self, event: object) -> None:
        self._counts[type(event).__name__] += 1

    async def close(self) -> None:
        self._file.write_text(json.dumps(self._counts))


def _keep_the_contract(audit: Audit, counts: Counts) -> tuple[KeptSink, Sink]:
    return audit, counts
