# SPDX-License-Identifier: Apache-2.0
"""Writes back what happened: `count` and `accessed` of ftpd_user, and the transfers of ftpd_log.

A lossy sink of its own pace: what comes waits in a bounded list, goes in batches, and goes again while the
database does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from tidegate.abc import Sink
from tidegate.errors import OperatorError, ProviderUnavailable
from tidegate.events.kinds import Event, LoggedIn, Operated, Transferred
from tidegate.model import Account
from tidegate.model.action import Action
from tidegate.openbridge.tables import Tables

MAX_WAITING: Final = 10_000
"""Lines of the transfer log, and users with logins to count, that wait for the database."""
BATCH: Final = 500
"""Lines of one statement."""
RETRY_SECONDS: Final = 2.0
"""Pause before what the database did not take is tried again."""
CLOSE_SECONDS: Final = 3.0
"""Longest wait for the database at the end."""

_PROTOCOLS: Final = {"SFTP": "sftp", "SCP": "scp", "FTP": "ftp", "FTPS": "ftps", "DAV": "webdav"}
_VERBS: Final = frozenset(("STOR", "STOU", "ABOR"))

_log = logging.getLogger(__name__)


class Record:
    """Implements `tidegate.abc.Sink`.

    Args:
        tables: the database.
        served: the account of a user of the tables; None for other users, of whom nothing is written.
        bucket: of homes below `mount_point`; empty for none.
        count: write logins.
        log: write transfers.
    """

    def __init__(
        self,
        tables: Tables,
        served: Callable[[str], Account | None],
        *,
        bucket: str = "",
        mount_point: str = "",
        count: bool = True,
        log: bool = True,
    ) -> None:
        self._tables = tables
        self._served = served
        self._bucket, self._mount = bucket, mount_point.rstrip("/")
        self._counts, self._logs = count, log
        self._logins: Counter[str] = Counter()
        self._lines: deque[dict[str, object]] = deque()
        self._lost = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="openbridge record")

    def handle_nowait(self, event: object) -> None:
        """Take one event."""
        if not isinstance(event, Event) or (account := self._served(event.origin.username)) is None:
            return
        if isinstance(event, LoggedIn):
            if self._counts and (len(self._logins) < MAX_WAITING or account.username in self._logins):
                self._logins[account.username] += 1
        elif self._logs and (line := self._line(event, account)) is not None:
            if len(self._lines) >= MAX_WAITING:
                self._lost += 1
                return
            self._lines.append(line)
        else:
            return
        self._wake.set()

    async def handle(self, event: object) -> None:
        """As `handle_nowait`."""
        self.handle_nowait(event)

    async def close(self) -> None:
        """Write what waits, if the database takes it in `CLOSE_SECONDS`."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        with contextlib.suppress(TimeoutError, ProviderUnavailable):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._lines or self._logins:
                    await self._write()
        if lost := len(self._lines) + self._lost:
            _log.error("%d transfers were not written to ftpd_log of %s", lost, self._tables.label)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._lines or self._logins:
                try:
                    await self._write()
                except ProviderUnavailable as error:
                    _log.warning("logins and transfers wait to be written: %s", error)
                    await asyncio.sleep(RETRY_SECONDS)

    async def _write(self) -> None:
        """Write one batch; what the database refuses for good is told and dropped.

        Raises:
            ProviderUnavailable: it does not answer; nothing is dropped.
        """
        logins = dict(self._logins.most_common(BATCH))
        lines = [self._lines[index] for index in range(min(BATCH, len(self._lines)))]
        try:
            await self._tables.record(logins, lines)
        except ProviderUnavailable:
            raise
        except OperatorError as error:
            _log.error("%d logins and %d transfers are not written: %s", len(logins), len(lines), error)
        except Exception:
            _log.exception("%d logins and %d transfers are not written", len(logins), len(lines))
        self._logins.subtract(logins)
        self._logins = +self._logins
        for _ in lines:
            self._lines.popleft()
        if self._lost:
            _log.error("%d transfers were not written to ftpd_log: too many waited", self._lost)
            self._lost = 0

    def _line(self, event: Event, account: Account) -> dict[str, object] | None:
        """The row of an upload or of a removed file, as the gateway writes it; None for what it does not."""
        if isinstance(event, Transferred) and event.action is Action.UPLOAD:
            ok, size, elapsed = event.status == "ok", event.size, event.elapsed
            verb = event.command if event.command in _VERBS else "STOR"
        elif isinstance(event, Operated) and event.action is Action.REMOVE:
            ok, size, elapsed, verb = True, 0, event.elapsed, "DELE"
        else:
            return None
        path = _plain(event.virtual_path)
        place = account.home_dir.rstrip("/") + path
        origin = event.origin
        in_bucket = self._mount and place.startswith(f"{self._mount}/")
        return {
            "userid": account.username[:50],
            "server_ip": origin.local_address.rpartition(":")[0].strip("[]")[:64],
            "transfer_date": datetime.fromtimestamp(event.at, UTC).replace(tzinfo=None, microsecond=0),
            "operation": f"{verb} {path}"[:1024],
            "protocol": _PROTOCOLS.get(origin.protocol, origin.protocol.lower())[:6],
            "client_ip": origin.ip[:64],
            "transfer_time": max(0.0, round(elapsed, 3)) if ok else 0.0,
            "bytes_transfer": max(0, size) if ok else 0,
            "path_hash": hashlib.md5(place.encode(), usedforsecurity=False).hexdigest(),
            "file_hash_type": "",
            "file_hash": "",
            "bucket": self._bucket[:255] if in_bucket else "",
            "file_path": place[:1024],
            "transfer_status": "success" if ok else "failed",
            "process_status": 0,
        }


def _plain(path: str) -> str:
    """A path that the database takes: names that are not UTF-8 (lone surrogates) are written as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def _keeps_contract(record: Record) -> tuple[Sink, Callable[[Any], None]]:
    return record, record.handle_nowait
