# SPDX-License-Identifier: Apache-2.0
"""Restoring a dump: it is sent or chosen, looked at, and loaded only when somebody has said so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.accounts.loads import KIND_WORDS
from tidegate.errors import BadRecord, Conflict, Denied, InvalidArgument, NotFound
from tidegate.store.contract import LoadReport
from tidegate.web.admin.pages.backups import KINDS, MODES, SCANS, page
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.upkeep import Held, Work
from tidegate.web.admin.visit import HEADERS, Visit
from tidegate.web.api.loading import check_scan, load, rehearse

MAX_NAMED: Final = 200
"""Records of a kind, and remarks, that a page names; the others are counted."""
MAX_ADMINS: Final = 20
"""Administrators that change whom the warning names."""
MAX_NAME: Final = 120
"""Characters of the name of a file that are shown."""


async def upload(visit: Visit) -> Response:
    """Take a dump that the browser sends, and look at it."""
    given = visit.form.take_upload()
    if given is None or not given.size:
        if given is not None:
            given.file.close()
        return await page(visit, {"dump": "Choose a file." if given is None else "The file is empty."})
    try:
        held = _hold(visit, given.file, given.name.rpartition("/")[2].rpartition("\\")[2], given.size)
    except BaseException:
        given.file.close()
        raise
    return visit.go("maintenance", "restore", held.id)


async def choose(visit: Visit) -> Response:
    """Take a dump that lies on the server, and look at it."""
    backups, name = visit.services.backups, visit.form.text("file")
    try:
        parts = backups.parts(name, label="file")
        stream = await backups.read(parts)
    except (InvalidArgument, NotFound) as error:
        return await page(visit, {"file": sentence(error.text.partition(": ")[2] or error.text)})
    try:
        size = await asyncio.to_thread(stream.seek, 0, 2)
        held = _hold(visit, stream, "/".join(parts), size)
    except BaseException:
        stream.close()
        raise
    return visit.go("maintenance", "restore", held.id)


def _hold(visit: Visit, stream: Any, name: str, size: int) -> Held:
    """Keep a dump, and begin to look at it.

    Raises:
        BadRecord: there is no such mode.
        Conflict: other work is under way.
    """
    services, upkeep = visit.services, visit.upkeep
    mode = _choice(visit, "mode", [value for value, _ in MODES])
    scan_quota = _choice(visit, "scan_quota", [value for value, _ in SCANS])
    check_scan(services, scan_quota)
    if (running := upkeep.running) is not None:
        raise Conflict(f"{running.what} by {running.by} is under way; wait until that is over")
    held = upkeep.hold(
        stream, by=visit.who.username, name=name[:MAX_NAME], size=size, mode=mode, scan_quota=scan_quota
    )

    async def look(work: Work) -> None:
        work.report = await rehearse(services, stream, mode=mode, how_far=work.so_far)

    try:
        upkeep.start(services.jobs, held.work, look)
    except BaseException:
        upkeep.drop(held)
        raise
    return held


def _choice(visit: Visit, name: str, values: Sequence[str]) -> int:
    given = visit.form[name] or "0"
    if given not in values:
        raise BadRecord(name, f"{given[:40]!r} is not one of {', '.join(values)}")
    return int(given)


async def show(visit: Visit) -> Response:
    """The changes that a dump would make, or has made."""
    return _shown(visit, visit.upkeep.held(visit.name("id")), "")


def _shown(visit: Visit, held: Held, mistake: str) -> Response:
    work, report = held.work, held.work.report
    counts, names = _summed(report)
    changes = sum(number for (_, action), number in counts.items() if action != "kept")
    mine = held.by == visit.who.username
    context: dict[str, Any] = {
        "held": held,
        "work": work,
        "kinds": KINDS,
        "again": url("maintenance", "restore", held.id, "progress"),
        "rows": _rows(counts, names),
        "changes": changes,
        "whole": 0 if report is None else len(report.rows),
        "admins": [name for name, _ in names.get("admin", ())[:MAX_ADMINS]],
        "yours": report is not None and ("admin", visit.who.username, "updated") in report.rows,
        "notes": report.notes[:MAX_NAMED] if report is not None else (),
        "more_notes": max(0, len(report.notes) - MAX_NAMED) if report is not None else 0,
        "mode": dict(MODES)[str(held.mode)],
        "scan": dict(SCANS)[str(held.scan_quota)],
        "mine": mine,
        "mistake": mistake,
    }
    return visit.html("restore.html", context, status=400 if mistake else 200)


_Named = dict[str, list[tuple[str, str]]]
"""Names and actions of records that change, by kind, `MAX_NAMED` at most."""


def _summed(report: LoadReport | None) -> tuple[Counter[tuple[str, str]], _Named]:
    """The number of records by kind and action, and the names of those that change."""
    counts: Counter[tuple[str, str]] = Counter()
    names: _Named = {}
    for kind, name, action in report.rows if report is not None else ():
        counts[kind, action] += 1
        if action != "kept" and len(known := names.setdefault(kind, [])) < MAX_NAMED:
            known.append((name, action))
    return counts, names


def _rows(counts: Counter[tuple[str, str]], names: _Named) -> list[dict[str, Any]]:
    """One row for each kind of records that the dump has."""
    return [
        {
            "kind": words[1],
            **{action: counts[kind, action] for action in ("added", "updated", "kept")},
            "names": names.get(kind, []),
        }
        for kind, words in KIND_WORDS.items()
        if any(counts[kind, action] for action in ("added", "updated", "kept"))
    ]


async def progress(visit: Visit) -> Response:
    """The part about the work on the dump; the page is loaded anew when it is over."""
    held = visit.upkeep.held(visit.name("id"))
    if not held.work.running:
        return Response(headers={**HEADERS, "HX-Refresh": "true"})
    where = url("maintenance", "restore", held.id, "progress")
    return visit.html("work.html", {"work": held.work, "kinds": KINDS, "again": where})


def _own(visit: Visit) -> Held:
    """The dump, if the administrator has sent it.

    Raises:
        NotFound: it is not held any more.
        Denied: somebody else has.
    """
    held = visit.upkeep.held(visit.name("id"))
    if held.by != visit.who.username:
        raise Denied(f"{held.by} has sent this dump, and restores or drops it")
    return held


async def restore(visit: Visit) -> Response:
    """Load the dump, once the number of changes is typed."""
    held = _own(visit)
    report = held.work.report
    if held.work.kind != "preview" or held.work.running or report is None:
        raise Conflict("this dump is not ready to be restored; look at the page again")
    changes = sum(action != "kept" for _, _, action in report.rows)
    if visit.form.text("changes").replace(",", "") != str(changes):
        return _shown(visit, held, f"Type {changes} to say that so many records change.")
    services, actor = visit.services, visit.actor

    async def do(work: Work) -> None:
        work.report = await load(
            services,
            held.stream,
            actor,
            mode=held.mode,
            scan_quota=held.scan_quota,
            how_far=work.so_far,
            absent=[(kind, name) for kind, name, action in report.rows if action == "added"],
        )

    work = Work(kind="restore", by=held.by, name=held.name, size=held.size)
    visit.upkeep.start(services.jobs, work, do)
    held.work = work
    return visit.go("maintenance", "restore", held.id)


async def drop(visit: Visit) -> Response:
    """Forget the dump; a file on the server stays."""
    visit.upkeep.drop(_own(visit))
    return visit.go("maintenance", done="Nothing was restored.")


PAGES: Final = (
    Page(path="/maintenance/upload", act=upload, needs=EVERYTHING, takes_file=True),
    Page(path="/maintenance/choose", act=choose, needs=EVERYTHING),
    Page(path="/maintenance/restore/{id}", show=show, act=restore, needs=EVERYTHING),
    Page(path="/maintenance/restore/{id}/progress", show=progress, needs=EVERYTHING, streams=True),
    Page(path="/maintenance/restore/{id}/drop", act=drop, needs=EVERYTHING),
)
