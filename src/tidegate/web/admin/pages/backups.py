# SPDX-License-Identifier: Apache-2.0
"""Backups: a dump as a download or as a file on the server, and the dumps that lie there."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import InvalidArgument, StorageFailed
from tidegate.store.contract import SCOPES
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.upkeep import Work
from tidegate.web.admin.visit import HEADERS, Visit
from tidegate.web.api.backups import BackupFile
from tidegate.web.api.loading import alone, dumping, streamed

SCOPE_LABELS: Final = {
    "users": "Users",
    "folders": "Folders",
    "groups": "Groups",
    "roles": "Roles",
    "admins": "Administrators",
    "api_keys": "API keys",
    "event_actions": "Actions",
    "event_rules": "Event rules",
    "ip_lists": "Lists",
}
MODES: Final = (
    ("0", "Add what is missing, update what exists"),
    ("1", "Only add what is missing"),
    ("2", "Add and update, and close connections of updated users"),
)
SCANS: Final = (
    ("0", "Count nobody's files"),
    ("2", "Count files of restored users with a quota"),
    ("1", "Count files of everybody who is restored"),
)
KINDS: Final = {"backup": "Backup", "restore": "Restore", "preview": "Preview", "secrets": "Count of secrets"}

_log = logging.getLogger(__name__)


async def show(visit: Visit) -> Response:
    """The page: forms for both, the work that runs, and what came of the last ones."""
    return await page(visit, {})


async def page(visit: Visit, errors: Mapping[str, str]) -> Response:
    """The page, with mistakes at their fields.

    Args:
        visit: with the form that has them, if there are any.
        errors: by name of the field.
    """
    services, form = visit.services, visit.form
    files: list[BackupFile] = []
    problem = ""
    try:
        files = await services.backups.listing()
    except StorageFailed as error:
        problem = error.text
    sent = form.all("scopes")
    values = {"name": form["name"] or f"tidegate-{_now()}.json", "file": form["file"], "mode": form["mode"]}
    context: dict[str, Any] = {
        "scopes": [(name, SCOPE_LABELS[name], not sent or name in sent) for name in SCOPES],
        "files": files,
        "problem": problem,
        "modes": MODES,
        "scans": SCANS if services.loaded.settings.data_provider.track_quota else SCANS[:1],
        "directory": services.loaded.settings.data_provider.backups_path,
        "longest": services.loaded.settings.httpd.max_request_size,
        "work": visit.upkeep.running,
        "waiting": visit.upkeep.waiting_of(visit.who.username),
        "ended": visit.upkeep.ended,
        "kinds": KINDS,
        "errors": errors,
        "values": {**values, "scan_quota": form["scan_quota"]},
    }
    return visit.html("backups.html", context, status=400 if errors else 200)


async def progress(visit: Visit) -> Response:
    """The part of the page about the work that runs; the page is loaded anew when it is over."""
    work = visit.upkeep.running
    if work is None:
        return Response(headers={**HEADERS, "HX-Refresh": "true"})
    where = url("maintenance", "progress")
    return visit.html("work.html", {"work": work, "kinds": KINDS, "again": where})


async def download(visit: Visit) -> Response:
    """The dump, as it is made."""
    scopes = _scopes(visit)
    chunks = await dumping(visit.services, scopes)
    _log.info("administrator %r downloads a dump", visit.who.username)
    headers = {
        **HEADERS,
        "Content-Disposition": f'attachment; filename="tidegate-{_now()}.json"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(streamed(chunks), media_type="application/json", headers=headers)


async def write(visit: Visit) -> Response:
    """Write the dump into a file on the server, beside what else goes on."""
    services, who = visit.services, visit.who.username
    scopes = _scopes(visit)
    name = visit.form.text("name")
    try:
        parts = services.backups.parts(name, label="name")
    except InvalidArgument as error:
        return await page(visit, {"name": sentence(error.text.removeprefix("name: "))})
    total = await services.provider.count_users() if "users" in scopes else 0
    work = Work(kind="backup", by=who, name="/".join(parts), total=total)

    async def do(work: Work) -> None:
        async with alone(services):
            chunks = await dumping(services, scopes, written=work.one_more)
            async with contextlib.aclosing(chunks):
                work.size = await services.backups.write(parts, chunks)
        _log.info("administrator %r wrote a dump of %d bytes to %r", who, work.size, work.name)

    visit.upkeep.start(services.jobs, work, do)
    return visit.go("maintenance")


def _scopes(visit: Visit) -> list[str]:
    """The kinds of records that are ticked, in the order of a dump.

    Raises:
        InvalidArgument: none is, or one does not exist.
    """
    wanted = visit.form.all("scopes")
    if not wanted:
        raise InvalidArgument("tick at least one kind of records")
    if unknown := set(wanted).difference(SCOPES):
        raise InvalidArgument(f"there is no kind of records called {min(unknown)[:40]!r}")
    return [name for name in SCOPES if name in wanted]


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%SZ")


PAGES: Final = (
    Page(
        path="/maintenance",
        show=show,
        needs=EVERYTHING,
        nav=Nav(group="This server", label="Backup and restore", icon="archive", order=10, key="m"),
        action="Download a backup, restore a dump",
    ),
    Page(path="/maintenance/progress", show=progress, needs=EVERYTHING, streams=True),
    Page(path="/maintenance/download", act=download, needs=EVERYTHING),
    Page(path="/maintenance/write", act=write, needs=EVERYTHING),
)
