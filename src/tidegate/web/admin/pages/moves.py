# SPDX-License-Identifier: Apache-2.0
"""Moves of homes and folders to other storage: started, watched, taken back, and the old content removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from starlette.responses import Response

from tidegate.accounts.names import fold_name
from tidegate.errors import BadRecord, Conflict, Denied, InvalidArgument, NotFound, TidegateError
from tidegate.web.admin.field_values import Values
from tidegate.web.admin.reach import require_folder, require_user
from tidegate.web.admin.record_form import RecordForm
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import share
from tidegate.web.admin.user_fields import KINDS, UserField
from tidegate.web.admin.visit import Visit

if TYPE_CHECKING:
    from tidegate.accounts.storage_changes import Place
    from tidegate.relocation.move import Move

NEEDS: Final = "edit_users"
FOLDERS: Final = "manage_folders"
"""The permission that moves of folders need besides `NEEDS`."""
ROWS: Final = 200
"""Moves that the page shows; the others are counted."""
TOLD: Final = 100
"""Names that were left out that the page of a move shows."""
PLACES: Final = {"user": "home_dir", "folder": "mapped_path"}
FORM: Final = RecordForm(
    (
        UserField(
            name="directory",
            path="directory",
            label="Directory",
            kind="mono",
            section="storage",
            help="The new home, absolute, on this server. With other storage it may stay empty.",
        ),
    ),
    with_storage=True,
)
_BLANK: Final[dict[str, Any]] = {"directory": "", "filesystem": {"provider": 0}}
PHASES: Final = {
    "checking": "looking at names and sizes",
    "copying": "copying while the account works",
    "holding": "waiting for sessions to end",
    "differences": "copying what has changed since; logins are refused",
    "verifying": "comparing digests; logins are refused",
    "switching": "switching",
    "switched": "on the new storage; the old content is still there",
    "removing": "removing",
    "removed": "over",
}

Kind = Literal["user", "folder"]


async def show(visit: Visit) -> Response:
    """The moves, and the form for another one."""
    return await _page(visit, FORM.values_of(_BLANK), {})


async def rows(visit: Visit) -> Response:
    """The part with the moves, which a script asks for while any runs."""
    return visit.html("moves_rows.html", await _moves(visit))


async def _page(visit: Visit, values: Values, errors: Mapping[str, str]) -> Response:
    context = {
        **await _moves(visit),
        "values": {**FORM.values_of(_BLANK), **values},
        "fields": FORM.fields,
        "kinds": KINDS,
        "errors": errors,
        "check_url": "",
        "kind": visit.form["kind"] or visit.query("kind", longest=8),
        "name": visit.form["name"] or visit.query("name"),
        "ticked": {name: visit.form[name] == "1" for name in ("dry_run", "leave_out", "verify_all")},
        "folders": visit.may(FOLDERS),
    }
    return visit.html("moves.html", context, status=400 if errors else 200)


async def _moves(visit: Visit) -> dict[str, Any]:
    own = await visit.own_users()
    found = [move for move in await visit.services.moves().all() if _seen(visit, move, own)]
    found.sort(key=lambda move: (move.state != "running", -move.note.started_ms))
    return {
        "moves": [_row(move) for move in found[:ROWS]],
        "more": len(found) - ROWS,
        "running": any(move.state == "running" for move in found),
    }


def _seen(visit: Visit, move: Move, own: frozenset[str] | None) -> bool:
    """True if an administrator may see a move: of users those of their role; of folders see `FOLDERS`."""
    if move.note.kind == "folder":
        return own is None and visit.may(FOLDERS)
    return own is None or move.note.name in own


def _row(move: Move) -> dict[str, Any]:
    progress = move.progress
    return {
        "move": move,
        "source": move.source or _place(move.note.before),
        "target": move.target or _place(move.note.after),
        "phase": PHASES[progress.phase.value],
        "percent": share(progress.size, progress.total_size) if progress.total_size else -1,
        "switched": progress.phase.value == "switched" and move.state != "running",
    }


def _place(place: Place) -> str:
    return place.directory if place.config.is_local else f"{place.config.kind} {place.directory}".strip()


async def start(visit: Visit) -> Response:
    """Begin a move, or go on with one to the same storage that was broken off."""
    from tidegate.relocation.move import Wish

    form, services = visit.form, visit.services
    kind: Kind = "folder" if form["kind"] == "folder" else "user"
    values = FORM.posted(form)
    try:
        name = await _reached(visit, kind, form.text("name"))
        wanted = FORM.apply(_BLANK, values, {field.name for field in FORM.fields} | {"storage"})
        document = {"filesystem": wanted["filesystem"]}
        if wanted["directory"]:
            document[PLACES[kind]] = wanted["directory"]
        wish = Wish(
            document=document,
            dry_run=form["dry_run"] == "1",
            leaves_out=form["leave_out"] == "1",
            verifies_again=form["verify_all"] == "1",
        )
        await services.moves().start(kind, name, wish, by=visit.actor)
    except BadRecord as error:
        field = FORM.field_of("directory" if error.field in PLACES.values() else error.field, values)
        return await _page(visit, values, {field: sentence(error.what if field else error.text)})
    except (NotFound, Denied) as error:
        return await _page(visit, values, {"who": sentence(error.text)})
    except (Conflict, InvalidArgument) as error:
        return await _page(visit, values, {"": sentence(error.text)})
    what = "is looked at; nothing is changed" if wish.dry_run else "is on its way"
    return visit.go("moves", kind, name, done=f"The move of {name} {what}.")


async def _reached(visit: Visit, kind: Kind, given: str) -> str:
    """The name of an account or folder whose moves an administrator may see and make.

    Raises:
        NotFound: there is none of this name, or it is not of their role.
        Denied: they lack the permission, or others than those of their role mount the folder.
    """
    name = fold_name(given, visit.services.rules)
    if kind == "folder":
        visit.require(FOLDERS)
        await require_folder(visit, name)
        return name
    return (await require_user(visit, name)).username


async def show_one(visit: Visit) -> Response:
    """One move, with what can be done about it."""
    return await _one(visit, visit.name("kind"), visit.name())


async def _one(visit: Visit, given: str, name: str, error: str = "") -> Response:
    move = await _move(visit, given, name)
    context = {**_row(move), "error": error, "told": TOLD}
    return visit.html("move.html", context, status=400 if error else 200)


async def _move(visit: Visit, given: str, name: str) -> Move:
    """The move of a record that runs, else the last one.

    Raises:
        NotFound: none is known. Denied: they may not see it.
    """
    if given not in PLACES:
        raise NotFound("this is no move")
    kind: Kind = "folder" if given == "folder" else "user"
    return await visit.services.moves().find(kind, await _reached(visit, kind, name))


async def undo(visit: Visit) -> Response:
    """Take a move back."""
    return await _act(visit, "undo")


async def remove_old(visit: Visit) -> Response:
    """Remove the old content of a move that has switched."""
    return await _act(visit, "remove_old")


async def _act(visit: Visit, what: Literal["undo", "remove_old"]) -> Response:
    given, asked = visit.form["kind"], visit.form.text("name")
    move = await _move(visit, given, asked)
    kind, name, moves = move.note.kind, move.note.name, visit.services.moves()
    try:
        await (moves.undo if what == "undo" else moves.remove_old)(kind, name, by=visit.actor)
    except TidegateError as error:
        return await _one(visit, kind, name, sentence(error.text))
    done = "is taken back" if what == "undo" else "is cleaned up: its old content is removed"
    return visit.go("moves", kind, name, done=f"The move of {name} {done}.")


PAGES: Final = (
    Page(
        path="/moves",
        show=show,
        act=start,
        needs=NEEDS,
        nav=Nav(group="This server", label="Storage moves", icon="folder-input", order=25),
        action="Move a home to other storage",
    ),
    Page(path="/moves/rows", show=rows, needs=NEEDS, streams=True),
    Page(path="/moves/undo", act=undo, needs=NEEDS),
    Page(path="/moves/remove-old", act=remove_old, needs=NEEDS),
    Page(path="/moves/{kind}/{name:path}", show=show_one, needs=NEEDS),
)
