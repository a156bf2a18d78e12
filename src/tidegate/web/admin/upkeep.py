# SPDX-License-Identifier: Apache-2.0
"""Backups and restores that go on after their request was answered: one at a time, with outcomes."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final, Literal

from tidegate.errors import BadRecord, BadRecords, Conflict, NotFound, TidegateError
from tidegate.store.contract import LoadReport
from tidegate.web.api.services import Jobs

MAX_HELD: Final = 4
"""Dumps that wait for somebody to say that they are restored."""
HELD_SECONDS: Final = 1800.0
"""Seconds that one waits; then it has to be sent again."""
MAX_ENDED: Final = 10
"""Pieces of work whose outcome is remembered."""
MAX_MISTAKES: Final = 200
"""Mistakes of a dump that a page names; the others are counted."""

Kind = Literal["backup", "preview", "restore", "secrets"]

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Work:
    """A piece of work, which runs or ran.

    Attributes:
        kind: of it.
        by: name of the administrator.
        name: of the file.
        done: bytes or users that were dealt with, of `total`; 0 while that is not known.
        started_ms: Unix milliseconds.
        ended_ms: the same, 0 while it runs.
        error: the reason why it failed; empty if it did not.
        mistakes: of the dump, by place and name, `MAX_MISTAKES` at most.
        more_mistakes: number of further ones.
        report: what became, or would become, of each record.
        records: of work that ended, the number that the report had.
        size: bytes of the file.
        secrets: of a count of secrets: how many there are by kind of record, field and key.
    """

    kind: Kind
    by: str
    name: str
    done: int = 0
    total: int = 0
    started_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    ended_ms: int = 0
    error: str = ""
    mistakes: tuple[str, ...] = ()
    more_mistakes: int = 0
    report: LoadReport | None = None
    records: int = 0
    size: int = 0
    secrets: Mapping[tuple[str, str, str], int] | None = None

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return not self.ended_ms

    @property
    def what(self) -> str:
        """The kind in words."""
        return "a count of secrets" if self.kind == "secrets" else f"a {self.kind}"

    def so_far(self, done: int, total: int) -> None:
        """So much of it is done; called in any thread."""
        self.done, self.total = done, total

    def one_more(self, done: int) -> None:
        """So much more of it is done."""
        self.done += done


@dataclass(slots=True, kw_only=True)
class Held:
    """A dump that was sent or chosen, looked at, and may be restored.

    Attributes:
        id: names it in URLs; nobody guesses it.
        by: the administrator who may restore it.
        name: of the file.
        stream: the dump; closed when it is dropped.
        mode: of the load.
        scan_quota: files to count afterwards.
        work: what goes on with it, or went on last.
    """

    id: str
    by: str
    name: str
    size: int
    stream: BinaryIO
    mode: int
    scan_quota: int
    work: Work
    timer: asyncio.TimerHandle | None = None


class Upkeep:
    """The work of one server. To be used on its event loop. Life: constructed (pure), used, `close`.

    Attributes:
        secrets: the last count of secrets.
    """

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._ended: deque[Work] = deque(maxlen=MAX_ENDED)
        self._running: Work | None = None
        self._closed = False
        self.secrets: Work | None = None

    @property
    def running(self) -> Work | None:
        """The work that goes on now."""
        return self._running

    @property
    def ended(self) -> list[Work]:
        """Work that ended lately, the newest first; previews are left out."""
        return list(self._ended)

    def held(self, key: str) -> Held:
        """A dump by its id.

        Raises:
            NotFound: it was restored or dropped, waited too long, or is on another server.
        """
        found = self._held.get(key)
        if found is None:
            raise NotFound(
                "this dump is not held any more: it was restored or dropped, waited too long, or was sent to "
                "another server of yours"
            )
        return found

    def waiting_of(self, name: str) -> Held | None:
        """The dump that an administrator has sent and not yet restored."""
        return next((one for one in self._held.values() if one.by == name), None)

    def hold(self, stream: BinaryIO, *, by: str, name: str, size: int, mode: int, scan_quota: int) -> Held:
        """Keep a dump in place of the one that the administrator has sent before.

        Raises:
            Conflict: too many wait, or the one before is at work.
        """
        before = self.waiting_of(by)
        if before is not None:
            self.drop(before)
        if len(self._held) >= MAX_HELD:
            raise Conflict(f"{MAX_HELD} dumps of other administrators wait to be restored; try again later")
        held = Held(
            id=secrets.token_urlsafe(18),
            by=by,
            name=name,
            size=size,
            stream=stream,
            mode=mode,
            scan_quota=scan_quota,
            work=Work(kind="preview", by=by, name=name),
        )
        self._held[held.id] = held
        self._wait(held)
        return held

    def drop(self, held: Held) -> None:
        """Forget a dump.

        Raises:
            Conflict: it is at work.
        """
        if held.work is self._running:
            raise Conflict("it is read just now; wait until that is over")
        self._forget(held)

    def start(self, jobs: Jobs, work: Work, do: Callable[[Work], Awaitable[None]]) -> None:
        """Begin a piece of work.

        Args:
            jobs: of the server, which end it when the server stops.
            work: told about the progress.
            do: the work itself; an error that it raises is the outcome.

        Raises:
            Conflict: another one runs; nothing was started.
        """
        if self._running is not None:
            raise Conflict(
                f"{self._running.what} by {self._running.by} is under way; wait until that is over"
            )
        self._running = work
        try:
            jobs.start(self._run(work, do), work.kind)
        except BaseException:
            self._running = None
            raise

    async def _run(self, work: Work, do: Callable[[Work], Awaitable[None]]) -> None:
        work.error = "it was broken off" + ("; nothing was changed" if work.kind == "restore" else "")
        try:
            await do(work)
            work.error = ""
        except BadRecords as error:
            work.error = "the dump has mistakes; nothing was changed"
            work.mistakes = tuple(error.mistakes[:MAX_MISTAKES])
            work.more_mistakes = len(error.mistakes) - len(work.mistakes)
        except BadRecord as error:
            work.error = "the dump has a mistake; nothing was changed"
            work.mistakes = (str(error),)
        except TidegateError as error:
            work.error = error.text
        except Exception:
            work.error = "the server met a fault; its log has more"
            _log.exception("%s of %r failed", work.kind, work.name)
        finally:
            work.ended_ms = max(int(time.time() * 1000), work.started_ms)
            self._running = None
            if work.kind == "secrets":
                self.secrets = work
            elif work.kind != "preview":
                # The names of all records are kept for as long as the dump is held, and no longer.
                records = len(work.report.rows) if work.report is not None else 0
                self._ended.appendleft(replace(work, report=None, records=records))
            for held in list(self._held.values()):
                if held.work is work:
                    self._over(held)

    def _over(self, held: Held) -> None:
        """The work on a dump is over: whoever looks at it has its time again."""
        if held.work.kind == "restore":
            held.stream.close()
        if self._closed:
            self._forget(held)
        else:
            self._wait(held)

    def _wait(self, held: Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
        held.timer = asyncio.get_running_loop().call_later(HELD_SECONDS, self._late, held)

    def _late(self, held: Held) -> None:
        if held.work is self._running:
            self._wait(held)
        else:
            self._forget(held)

    def _forget(self, held: Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
        held.stream.close()
        self._held.pop(held.id, None)

    def close(self) -> None:
        """Forget everything; what runs is ended by the server's jobs, and forgotten then."""
        self._closed = True
        for held in list(self._held.values()):
            if held.work is not self._running:
                self._forget(held)
            elif held.timer is not None:
                held.timer.cancel()
