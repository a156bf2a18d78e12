# SPDX-License-Identifier: Apache-2.0
"""The inspectors that have uploads scanned, and what becomes of files that are not clean."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from tidegate.contracts.inspection import ALLOWED, Inspected, InspectedAct, NotNow, Read, Verdict
from tidegate.errors import Unsupported
from tidegate.inspection.clamd import Turn, scan
from tidegate.inspection.factory import CLAMD, ICAP, ClamdOptions, IcapOptions, ScanOptions
from tidegate.inspection.inspections import InspectorUse
from tidegate.inspection.patience import Patience
from tidegate.inspection.policies import Result, Scan, policy_of

SPARE_SECONDS: Final = 5.0
"""Time beyond that of a scan after which the inspector itself is given up."""
FOUND: Final = "virus found"
NOT_SCANNED: Final = "the file could not be scanned for viruses"
TOO_LARGE: Final = "the file is too large to be scanned for viruses"
"""Said to clients."""
_TEXTS: Final = {Result.INFECTED: FOUND, Result.TOO_LARGE: TOO_LARGE}
_DONE: Final = {"refuse": "refused", "allow": "allowed", "quarantine": "put in quarantine"}
_UNREADABLE: Final = Scan(Result.UNREADABLE, "the storage cannot give back what was written")

log = logging.getLogger(__name__)


class Scanner(Protocol):
    """Scans content. See `tidegate.inspection.clamd.scan`."""

    async def __call__(self, act: InspectedAct, read: Read, turn: Turn | None = None) -> Scan:
        """The result; the caller bounds the time."""
        ...


class _Share(asyncio.Semaphore):
    """The places that one account may have.

    Attributes:
        users: uploads that have one or wait for one.
    """

    users = 0


class ScanInspector:
    """Has the content of uploads scanned; `options.at_once` scans run, the others wait within their time.

    Of uploads that arrive and are too many, those that can be read only once wait as well, with their client;
    the others are sent when they are complete. One account has half of the places at most.
    """

    def __init__(self, name: str, options: ScanOptions, scanner: Scanner) -> None:
        self._name = name
        self._options = options
        self._scan = scanner
        self._turns = asyncio.Semaphore(options.at_once)
        self._streams = {once: asyncio.Semaphore(options.streams) for once in (False, True)}
        self._own: dict[tuple[bool, str], _Share] = {}

    async def open(self) -> None:
        """Nothing to get ready: each scan has a connection of its own, and clamd may start later."""

    async def close(self) -> None:
        """Nothing to release."""

    async def inspect(self, act: InspectedAct) -> Verdict:
        """Have an upload scanned.

        Raises:
            TidegateError: the storage fails while the content is read; it is refused then.
        """
        options = self._options
        if options.max_size and act.size is not None and act.size > options.max_size:
            found = Scan(Result.TOO_LARGE, f"{act.size} bytes are more than {options.max_size}")
            return self._verdict(act, found)
        if act.read is None:
            return self._verdict(act, _UNREADABLE)
        try:
            if act.arriving:
                found = await self._scan_early(act, act.read)
            else:
                async with asyncio.timeout(options.seconds), self._turns:
                    found = await self._scan(act, act.read)
        except TimeoutError:
            found = Scan(Result.SLOW, f"no answer in {options.seconds:g} s")
        except Unsupported:
            found = _UNREADABLE
        return self._verdict(act, found)

    async def _scan_early(self, act: InspectedAct, read: Read) -> Scan:
        """Have an upload scanned that is arriving.

        Raises:
            NotNow: it can be read again, and there is no room for it or the scanner failed, perhaps because
                the client was slower than it waits.
            TimeoutError: of the scan.
        """
        key = act.once, act.origin.username
        share = self._own.get(key)
        if not act.once and (self._streams[False].locked() or (share is not None and share.locked())):
            raise NotNow
        async with Patience(self._options.seconds, read) as patience, self._stream(key):
            found = await self._scan(act, patience.read, self._turns)
        if found.result is Result.DOWN and not act.once:
            raise NotNow
        return found

    @asynccontextmanager
    async def _stream(self, key: tuple[bool, str]) -> AsyncIterator[None]:
        """A place for an upload that arrives. Clients keep theirs for long, so no account has all."""
        share = self._own.get(key)
        if share is None:
            share = self._own[key] = _Share(max(1, self._options.streams // 2))
        share.users += 1
        try:
            async with share, self._streams[key[0]]:
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._own[key]

    def _verdict(self, act: InspectedAct, found: Scan) -> Verdict:
        """The verdict by a result."""
        if found.result is Result.CLEAN:
            return ALLOWED
        policy = policy_of(act, found.result, self._options.when, self._options.folders)
        if found.result is not Result.INFECTED:
            what = _DONE[policy]
            log.warning(
                "%s: %r of %s not scanned, %s: %s",
                self._name,
                act.path,
                act.origin.username,
                what,
                found.text,
            )
        if policy == "allow":
            return ALLOWED
        text = _TEXTS.get(found.result, NOT_SCANNED)
        return Verdict(
            allowed=False,
            text=text,
            reason=found.text,
            quarantine=policy == "quarantine",
            infected=found.result is Result.INFECTED,
        )

    def use(self) -> InspectorUse:
        """The inspector as it is asked: about uploads, while the file that they replace stays."""
        seconds, early = self._options.seconds + SPARE_SECONDS, self._options.streams > 0
        return InspectorUse(
            self._name, self, frozenset({Inspected.UPLOAD}), seconds, keeps_old=True, early=early
        )


class ClamdInspector(ScanInspector):
    """Has uploads scanned by clamd."""

    def __init__(self, options: ClamdOptions) -> None:
        async def ask(act: InspectedAct, read: Read, turn: Turn | None = None) -> Scan:
            del act
            return await scan(options, read, turn)

        super().__init__(CLAMD, options, ask)


class IcapInspector(ScanInspector):
    """Has uploads scanned by an ICAP server."""

    def __init__(self, options: IcapOptions) -> None:
        from tidegate.inspection.icap import IcapClient

        super().__init__(ICAP, options, IcapClient(options).scan)
