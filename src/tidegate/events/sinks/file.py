# SPDX-License-Identifier: Apache-2.0
"""A kept sink that appends events to a file, one JSON object a line, each with its ``id``."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.abc import KeptEvent, KeptSink
from tidegate.errors import OperatorError


class FileSink:
    """Appends and makes durable. The file is opened for each batch, so it may be renamed at any time.

    Options: ``path``, the file; in the configuration relative to its directory.

    Raises:
        OperatorError: an option is missing or unknown.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        unknown = options.keys() - {"path"}
        if unknown or not isinstance(options.get("path"), str) or not options["path"]:
            what = f"unknown {', '.join(sorted(unknown))}" if unknown else "path is missing"
            raise OperatorError(f"options of the file sink: {what}")
        self._path = Path(options["path"])

    async def open(self) -> None:
        """See that the file can be written."""
        await asyncio.to_thread(self._append, b"")

    async def deliver(self, events: Sequence[KeptEvent]) -> None:
        """Append a batch."""
        lines = [json.dumps({"id": event.id, **event.document}, separators=(",", ":")) for event in events]
        await asyncio.to_thread(self._append, "".join(f"{line}\n" for line in lines).encode("ascii"))

    async def close(self) -> None:
        """Nothing is open."""

    def _append(self, data: bytes) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(fd, "r+b", buffering=0) as file:
            end = _end_of_lines(file.seek(0, os.SEEK_END), file.fileno())
            file.truncate(end)
            file.seek(end)
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            os.fsync(fd)


def _end_of_lines(size: int, fd: int) -> int:
    """The end of the last whole line: a crash may have cut the last one, and its batch comes again."""
    while size:
        start = max(0, size - 65_536)
        found = os.pread(fd, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def _keeps_contract(sink: FileSink) -> KeptSink:
    return sink
