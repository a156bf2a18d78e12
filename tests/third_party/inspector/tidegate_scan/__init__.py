# SPDX-License-Identifier: Apache-2.0
"""An inspector for Tidegate: looks for words in uploads, and guards some files and some people."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tidegate.abc import ALLOWED, Inspected, InspectedAct, Inspector, Verdict

PIECE_BYTES = 65_536


class Scan:
    """Refuses uploads that hold one of `words`, downloads and removals of `guarded` paths, logins of `banned`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._words = [word.encode() for word in options.get("words", [])]
        self._guarded = tuple(options.get("guarded", []))
        self._banned = set(options.get("banned", []))

    async def open(self) -> None:
        pass

    async def inspect(self, act: InspectedAct) -> Verdict:
        if act.kind is Inspected.LOGIN:
            return Verdict(allowed=act.origin.username not in self._banned, reason="banned")
        if act.kind is Inspected.UPLOAD:
            return await self._scan(act)
        if act.path in self._guarded:
            return Verdict(allowed=False, text=f"{act.path} is guarded")
        return ALLOWED

    async def _scan(self, act: InspectedAct) -> Verdict:
        if act.read is None:
            return Verdict(allowed=False, reason="nothing to read")
        tail, offset = b"", 0
        while piece := await act.read(offset, PIECE_BYTES):
            offset += len(piece)
            for word in self._words:
                if word in tail + piece:
                    return Verdict(allowed=False, text="virus found", reason=f"{word!r} in {act.size} bytes")
            tail = piece[-100:]
        if tail.endswith(b"slow"):
            await asyncio.sleep(3600)
        if tail.endswith(b"broken"):
            raise RuntimeError("the scanner is out of order")
        return ALLOWED

    async def close(self) -> None:
        pass


def _keeps_the_contract(scan: Scan) -> Inspector:
    return scan
