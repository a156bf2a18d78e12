# SPDX-License-Identifier: Apache-2.0
"""All lists of addresses as one CSV file: downloaded, and taken from a file."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from tidegate.errors import BadRecord, BadRecords
from tidegate.web.admin.pages import lists
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import count
from tidegate.web.admin.visit import HEADERS, Visit
from tidegate.web.api.list_csv import MAX_BYTES, export_lists, import_lists

SHOWN: Final = 20
"""Mistakes that the page shows; the others are counted."""


async def export(visit: Visit) -> Response:
    """Every entry of all lists but bans."""
    text = await export_lists(visit.services)
    name = {"Content-Disposition": 'attachment; filename="lists.csv"', "X-Content-Type-Options": "nosniff"}
    return Response(text, media_type="text/csv", headers={**HEADERS, **name})


async def take(visit: Visit) -> Response:
    """Add the entries of a file to the lists, all or none."""
    try:
        number = await import_lists(visit.services, await _text(visit), by=visit.actor)
    except BadRecord as error:
        found = error.mistakes if isinstance(error, BadRecords) else [str(error)]
        more = len(found) - SHOWN
        return await lists.again(visit, [*found[:SHOWN], *([f"and {count(more)} more"] if more > 0 else [])])
    chosen = visit.form["list"]
    return visit.go("lists", list=chosen, done=f"{count(number)} entries are on their lists.")


async def _text(visit: Visit) -> str:
    """The file that was sent.

    Raises:
        BadRecord: there is none, it is too long, or no UTF-8.
    """
    upload = visit.form.take_upload()
    if upload is None:
        raise BadRecord("file", "is missing")
    try:
        content = await asyncio.to_thread(upload.file.read, MAX_BYTES + 1)
    finally:
        upload.file.close()
    if len(content) > MAX_BYTES:
        raise BadRecord("file", f"is longer than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRecord("file", "is no UTF-8") from None


PAGES: Final = (Page(path="/lists/csv", show=export, act=take, needs="manage_ip_lists", takes_file=True),)
