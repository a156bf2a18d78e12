# SPDX-License-Identifier: Apache-2.0
"""Removes files that are older than they are to be kept, and reports what was removed as CSV."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from tidegate.actions.outcome import Outcome, may_pass, reason_of
from tidegate.actions.people import People
from tidegate.errors import InvalidArgument, NotFound, TidegateError
from tidegate.model import Account, VPath
from tidegate.model.rule import EventAction
from tidegate.rules.book import Rule
from tidegate.rules.facts import Facts
from tidegate.vfs.api import Session

MAX_REPORT_CHARS: Final = 64 * 1024
"""Characters of the report on one account; what is beyond is left out, line by line."""
MAX_REPORTS: Final = 200
"""Accounts that are reported on."""
REPORTS: Final = frozenset(("{{RetentionReports}}", "{{.RetentionReports}}"))
"""The attachment, or file of a part, that stands for all reports."""
ARCHIVE: Final = "retention-reports.zip"
_HEADER: Final = (
    "path", "retention (hours)", "deleted files", "deleted size (bytes)", "elapsed (ms)", "info", "error",
)  # fmt: skip
_HOUR: Final = 3600.0

OpensSession = Callable[[Account, Rule], AbstractAsyncContextManager[Session]]


@dataclass(slots=True)
class _Removed:
    files: int = 0
    size: int = 0


class Retention:
    """Works on folders of accounts.

    Args:
        session: opens a session of an account with every permission.
        people: finds accounts.
    """

    def __init__(self, session: OpensSession, people: People) -> None:
        self._session = session
        self._people = people

    async def run(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Remove what is too old; see `tidegate.actions.runner.ActionWork`."""
        folders = action.options["retention_config"]["folders"]
        errors: list[str] = []
        reports: list[tuple[str, str]] = []
        again = False
        async for account in self._people.all(facts, rule):
            try:
                async with self._session(account, rule) as session:
                    lines = [line async for line in _lines(session, folders)]
            except TidegateError as error:
                errors.append(f"{account.username}: {reason_of(error)}")
                again = again or may_pass(error)
                continue
            for line, failed in lines:
                if failed is not None:
                    errors.append(f"{account.username}: {line[0]}: {reason_of(failed)}")
                    again = again or may_pass(failed)
            if len(reports) < MAX_REPORTS:
                name = f"{action.name}-{account.username}.csv"
                reports.append((name, _table([line for line, _ in lines])))
        return Outcome("; ".join(errors[:5]), again=again, reports=tuple(reports))


Line = tuple[str, int, int, int, int, str, str]


async def _lines(
    session: Session, folders: Sequence[Mapping[str, Any]]
) -> AsyncIterator[tuple[Line, TidegateError | None]]:
    """A line of the report for each folder, and what went wrong there."""
    for folder in folders:
        path, hours = folder["path"], folder["retention"]
        if not hours:
            yield (path, 0, 0, 0, 0, "left out: its retention is 0", ""), None
            continue
        begun, removed, failed = time.monotonic(), _Removed(), None
        try:
            await _retain(session, folder, folders, removed)
        except TidegateError as error:
            failed = error
        elapsed = int((time.monotonic() - begun) * 1000)
        text = "" if failed is None else reason_of(failed)
        yield (path, hours, removed.files, removed.size, elapsed, "", text), failed


def _table(lines: Sequence[Line]) -> str:
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(_HEADER)
    for line in lines:
        if made.tell() > MAX_REPORT_CHARS:
            break
        path = line[0].encode("utf-8", "replace").decode()
        writer.writerow((path, *line[1:]))
    return made.getvalue()


def archive_of(facts: Facts) -> bytes:
    """All reports that a rule has by now, as a ZIP archive.

    Raises:
        InvalidArgument: it has none.
    """
    if not facts.reports:
        raise InvalidArgument("there is no report: no retention of this rule came before")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in facts.reports:
            archive.writestr(name.replace("/", "_"), text)
    return made.getvalue()


async def _retain(
    session: Session,
    folder: Mapping[str, Any],
    folders: Sequence[Mapping[str, Any]],
    removed: _Removed,
    inner: VPath | None = None,
) -> bool:
    """Remove what is too old below a folder; the nearest named folder decides. True if it is empty."""
    path = inner or VPath.parse(folder["path"])
    if inner is not None and any(inner == other["path"] for other in folders):
        return False  # has a time of its own
    oldest = time.time() - folder["retention"] * _HOUR
    try:
        entries = [entry async for batch in session.list(path) for entry in batch]
    except NotFound:
        return False
    left = 0
    for entry in entries:
        place = path.child(entry.name)
        if entry.is_dir:
            empty = await _retain(session, folder, folders, removed, place)
            if empty and folder.get("delete_empty_dirs"):
                await session.rmdir(place)
            else:
                left += 1
        elif entry.mtime_ns / 1e9 < oldest:
            await session.remove(place)
            removed.files += 1
            removed.size += entry.size
        else:
            left += 1
    return not left
