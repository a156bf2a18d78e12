# SPDX-License-Identifier: Apache-2.0
"""Many users from a CSV: a form, what would be added, and what was.

The preview carries the table: whoever confirms sends again what they have seen, and it is judged again. Where
many passwords have to be hashed, that is done after the answer, and a page shows how far it is.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.bulk import AT_ONCE, Outcome, Plan
from tidegate.accounts.user_table import COLUMNS, MAX_ROWS, MAX_TABLE_BYTES, SEVERAL, decode_table, read_table
from tidegate.errors import BadRecord, LoginRefused
from tidegate.model.spreadsheet import cell
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.visit import HEADERS, Visit

MAX_SHOWN: Final = 500
"""Users, and mistakes, that a page shows; the others are counted."""
SAMPLE: Final = (
    ("username", "email", "permissions", "quota_size", "expires"),
    ("acme", "it@acme.example", "/:list,download|/in:upload", "10 GB", "2027-12-31"),
    ("harbour", "", "", "", ""),
)


async def show(visit: Visit) -> Response:
    """The form."""
    return _form(visit, "", "")


def _form(visit: Visit, text: str, error: str) -> Response:
    context = {
        "text": text,
        "error": error,
        "columns": [(name, told, name in SEVERAL) for name, told in COLUMNS.items()],
        "rows": MAX_ROWS,
        "longest": MAX_TABLE_BYTES,
        "generate": visit.form["generate"] == "1" or not visit.form,
    }
    return visit.html("many_users.html", context, status=400 if error else 200)


async def preview(visit: Visit) -> Response:
    """The users that a table would add, or its mistakes."""
    try:
        text = await _text(visit)
    except BadRecord as error:
        place = f"{error.field}: " if error.field else ""
        return _form(visit, visit.form["text"], sentence(f"{place}{error.what}"))
    if not text.strip():
        return _form(visit, "", "Choose a file, or paste a table.")
    plan = await _plan(visit, text)
    return _planned(visit, text, plan)


async def _text(visit: Visit) -> str:
    """The table that was sent, by file or pasted.

    Raises:
        BadRecord: it is too long, or no UTF-8.
    """
    upload = visit.form.take_upload()
    if upload is None:
        return visit.form["text"]
    try:
        content = await asyncio.to_thread(upload.file.read, MAX_TABLE_BYTES + 1)
    finally:
        upload.file.close()
    return decode_table(content)


async def _plan(visit: Visit, text: str) -> Plan:
    table = await asyncio.to_thread(read_table, text)
    generate = visit.form["generate"] == "1"
    return await visit.services.administration.bulk.plan(table, by=visit.actor, generate=generate)


def _planned(visit: Visit, text: str, plan: Plan, error: str = "") -> Response:
    context: dict[str, Any] = {
        "text": text,
        "error": error,
        "generate": visit.form["generate"] == "1",
        "users": plan.users[:MAX_SHOWN],
        "count_users": len(plan.users),
        "mistakes": plan.mistakes[:MAX_SHOWN],
        "count_mistakes": len(plan.mistakes),
        "password": {
            one.row: _password_word(one.plain, one.generated, one.account.password) for one in plan.users
        },
    }
    # A preview that tells mistakes is what was asked for; nothing was refused.
    status = 400 if error else 200
    return visit.html("many_users_preview.html", context, status=status)


def _password_word(plain: bool, generated: bool, password: str) -> str:
    if generated:
        return "new"
    return "as typed" if plain else "a hash" if password else "none"


async def create(visit: Visit) -> Response:
    """Add the users of a table that was looked at."""
    text = visit.form["text"]
    plan = await _plan(visit, text)
    if plan.mistakes or not plan.users:
        return _planned(visit, text, plan, "The table has mistakes by now; look at it again.")
    services = visit.services
    if plan.hashes > AT_ONCE:
        work = services.jobs.tables.begin(services, plan, visit.actor)
        return visit.go("many-users", "work", work.id)
    try:
        made = await services.administration.bulk.create(plan, by=visit.actor)
    except LoginRefused:
        return _planned(visit, text, plan, "The server is busy. Nothing was added; try again.")
    except BadRecord as error:
        return _planned(visit, text, plan, f"{sentence(str(error))} Nothing was added.")
    return _made(visit, made)


def _made(visit: Visit, made: Sequence[Outcome]) -> Response:
    added = [one for one in made if one.added]
    context = {
        "added": added[:MAX_SHOWN],
        "count_added": len(added),
        "left": [one.username for one in made if not one.added],
        "passwords": _csv(added) if any(one.password for one in added) else "",
    }
    return visit.html("many_users_made.html", context)


async def show_work(visit: Visit) -> Response:
    """The progress of a table whose passwords are hashed, then what became of it."""
    work = visit.services.jobs.tables.find(visit.name("id"), visit.who.username)
    if not work.running and not work.error:
        return _made(visit, work.made)
    return visit.html("many_users_work.html", {"work": work, "again": _again(visit)})


async def progress(visit: Visit) -> Response:
    """The part about the progress; the page is loaded anew when it is over."""
    work = visit.services.jobs.tables.find(visit.name("id"), visit.who.username)
    if not work.running:
        return Response(headers={**HEADERS, "HX-Refresh": "true"})
    return visit.html("many_users_progress.html", {"work": work, "again": _again(visit)})


def _again(visit: Visit) -> str:
    return url("many-users", "work", visit.name("id"), "progress")


def _csv(made: Sequence[Outcome]) -> str:
    """Names and new passwords as CSV."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("username", "password"))
    for one in made:
        if not one.password:
            continue
        writer.writerow((cell(one.username), one.password))
    return out.getvalue()


async def passwords(visit: Visit) -> Response:
    """The passwords that a page has shown, as a file: the server has kept none."""
    name = {"Content-Disposition": 'attachment; filename="passwords.csv"'}
    headers = {**HEADERS, **name, "Content-Type": "text/csv; charset=utf-8"}
    return Response(visit.form["passwords"].replace("\r\n", "\n").replace("\n", "\r\n"), headers=headers)


async def sample(visit: Visit) -> Response:
    """A table to begin with."""
    del visit
    out = io.StringIO()
    csv.writer(out).writerows(SAMPLE)
    name = {"Content-Disposition": 'attachment; filename="users.csv"'}
    return Response(out.getvalue(), headers={**HEADERS, **name, "Content-Type": "text/csv; charset=utf-8"})


NEEDS: Final = "add_users"

PAGES: Final = (
    Page(path="/many-users", show=show, needs=NEEDS, action="Add many users from a table"),
    Page(path="/many-users/sample.csv", show=sample, needs=NEEDS),
    Page(path="/many-users/preview", act=preview, needs=NEEDS, takes_file=True),
    Page(path="/many-users/create", act=create, needs=NEEDS, takes_file=True),
    Page(path="/many-users/work/{id}", show=show_work, needs=NEEDS),
    Page(path="/many-users/work/{id}/progress", show=progress, needs=NEEDS, streams=True),
    Page(path="/many-users/passwords.csv", act=passwords, needs=NEEDS, takes_file=True),
)
