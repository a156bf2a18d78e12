# SPDX-License-Identifier: Apache-2.0
"""The record of requests that failed though no rule refused them: one event each, `events.kinds.Failed`.

Levels. A client may fail as fast as it can send, and many look for what is not there on purpose. So a line
is written at debug level only if

* something was looked at that does not exist (STAT; sync clients and mounts do little else),
* the session has failed in the same way on the same path before (one that polls), or
* it has used up its lines: `BURST` at once, then one each `REFILL_SECONDS`.

Every other line is of level info, or warning if storage itself is in trouble, and says how many before it
were muted.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

from tidegate.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    DirectoryNotEmpty,
    IsADirectory,
    Locked,
    NotADirectory,
    NotFound,
    OperatorError,
    OtherDevice,
    PeerError,
    ProtocolViolation,
    QuotaExceeded,
    TidegateError,
    TooManyLinks,
    WorldError,
    errno_of,
)
from tidegate.events.kinds import Failed
from tidegate.model import VPath
from tidegate.vfs.context import Context

STORAGE: Final = "storage"
"""Rule of what storage refused or could not do; `explain --try` asks it by the same name."""
REQUEST: Final = "request"
"""Rule of requests that cannot be carried out anywhere."""
SERVER: Final = "server"
"""Rule of what this server cannot take now: it is ending, a bound is reached."""

BURST: Final = 100
"""Lines above debug level that a session may write at once."""
REFILL_SECONDS: Final = 1.0
"""Seconds until it may write another."""
REMEMBERED: Final = 256
"""Failures that a session's next ones are compared with; the oldest are forgotten."""

_OF_STORAGE: Final = (
    WorldError,
    NotFound,
    AlreadyExists,
    NotADirectory,
    IsADirectory,
    DirectoryNotEmpty,
    TooManyLinks,
    OtherDevice,
)


def rule_of(error: TidegateError) -> str:
    """The rule that a failure is recorded under."""
    if isinstance(error, Denied | QuotaExceeded | Locked) and error.rule:
        return error.rule
    if isinstance(error, _OF_STORAGE) or isinstance(error.__cause__, (OSError, *_OF_STORAGE)):
        return STORAGE
    if isinstance(error, ProtocolViolation):
        return REQUEST
    return SERVER if isinstance(error, Conflict | PeerError | OperatorError) else REQUEST


class Failures:
    """The failures of one session.

    Args:
        context: the session's.
    """

    __slots__ = ("_context", "_lines", "_muted", "_seen", "_since")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[tuple[str, str, str], None] = {}
        self._lines = float(BURST)
        self._since = monotonic()
        self._muted = 0

    def tell(self, intent: str, path: VPath | str, error: TidegateError, target: VPath | str | None) -> None:
        """Emit the event of a failure."""
        context = self._context
        errno = errno_of(error)
        loud = self._is_loud(intent, str(path), errno)
        level = logging.WARNING if isinstance(error, WorldError) else logging.INFO
        muted, self._muted = (self._muted, 0) if loud else (0, self._muted + 1)
        context.emit(
            Failed(
                origin=context.origin,
                intent=intent,
                virtual_path=path,
                virtual_target_path=target or "",
                file_path=self._host(path),
                target_path=self._host(target),
                rule=rule_of(error),
                errno=errno,
                text=str(error) if isinstance(error, WorldError) else error.text,
                level=level if loud else logging.DEBUG,
                muted=muted,
                **context.answer(error),
            )
        )

    def _is_loud(self, intent: str, path: str, errno: str) -> bool:
        """True if a line is due; takes it from the session's lines."""
        if not path or (intent == "stat" and errno in {"ENOENT", "ENOTDIR"}):
            return False
        key = (intent, errno, path)
        if key in self._seen:
            return False
        now = monotonic()
        self._lines = min(float(BURST), self._lines + (now - self._since) / REFILL_SECONDS)
        self._since = now
        if self._lines < 1:
            return False
        self._lines -= 1
        if len(self._seen) >= REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        return True

    def _host(self, path: VPath | str | None) -> str:
        return self._context.table.location(path) if isinstance(path, VPath) else ""
