# SPDX-License-Identifier: Apache-2.0
"""Quota scans: starting and cancelling them, the progress of those that run, and those that ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.names import fold_name
from tidegate.errors import Conflict, Denied, NotFound
from tidegate.vfs.usage.progress import Kind, Scan
from tidegate.web.admin.reach import require_folder, require_user
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.visit import Visit

NEEDS: Final = "quota_scans"
ENDED: Final = 50
"""Scans that ended that the page shows."""
RUNNING: Final = 200
"""Scans that run that the page shows; the others are counted."""


async def show(visit: Visit) -> Response:
    """The page."""
    return await _page(visit, {})


async def rows(visit: Visit) -> Response:
    """The part with the scans, which a script asks for while any runs."""
    return visit.html("scans_rows.html", await _scans(visit))


async def _page(visit: Visit, errors: Mapping[str, str]) -> Response:
    context = {
        **await _scans(visit),
        "errors": errors,
        "values": {name: visit.form[name] or visit.query(name) for name in ("kind", "name")},
        "tracks": visit.services.loaded.settings.data_provider.track_quota,
    }
    return visit.html("scans.html", context, status=400 if errors else 200)


async def _scans(visit: Visit) -> dict[str, Any]:
    progress, own = visit.services.sessions.scans.progress, await visit.own_users()
    running = _seen(progress.running(), own)
    now = time.time() * 1000
    shown = [{"scan": scan, "seconds": (now - scan.started_ms) / 1000} for scan in running[:RUNNING]]
    return {
        "running": shown,
        "number": len(running),
        "more": len(running) - len(shown),
        "ended": _seen(progress.ended(ENDED * 4), own)[:ENDED],
    }


def _seen(scans: Sequence[Scan], own: frozenset[str] | None) -> list[Scan]:
    """Those that an administrator may see, as over REST: of users those of their role."""
    return [scan for scan in scans if scan.kind == "folder" or own is None or scan.name in own]


async def start(visit: Visit) -> Response:
    """Begin to count the files of a user or a folder."""
    services, form = visit.services, visit.form
    kind, name = form["kind"], fold_name(form.text("name"), services.rules)
    scans = services.sessions.scans
    try:
        if not name:
            raise NotFound("a name is needed")
        if kind == "folder":
            await require_folder(visit, name)
            await scans.start_folder(name)
        else:
            await require_user(visit, name)
            await scans.start_user(name)
    except (NotFound, Conflict, Denied) as error:
        return await _page(visit, {"name": sentence(error.text)})
    return visit.go("scans", done=f"The files of {name} are counted.")


async def cancel(visit: Visit) -> Response:
    """End a scan that runs; what was recorded stays.

    Raises:
        NotFound: none runs, or its account is not of the administrator's role.
        Conflict: it has to run.
    """
    services, form = visit.services, visit.form
    kind: Kind = "folder" if form["kind"] == "folder" else "user"
    name = fold_name(form.text("name"), services.rules)
    await (require_folder if kind == "folder" else require_user)(visit, name)
    scan = await services.sessions.scans.cancel(kind, name, by=visit.who.username)
    ended = "are counted no more" if scan.state == "cancelled" else "were counted just then"
    return visit.go("scans", done=f"The files of {name} {ended}.")


PAGES: Final = (
    Page(
        path="/scans",
        show=show,
        act=start,
        needs=NEEDS,
        nav=Nav(group="This server", label="Quota scans", icon="scan-line", order=20),
        action="Count the files of a user again",
    ),
    Page(path="/scans/cancel", act=cancel, needs=NEEDS),
    Page(path="/scans/rows", show=rows, needs=NEEDS, streams=True),
)
