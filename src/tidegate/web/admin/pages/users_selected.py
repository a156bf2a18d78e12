# SPDX-License-Identifier: Apache-2.0
"""Several accounts of the list at once: enabled, disabled, disconnected, deleted after a question."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from tidegate.errors import Denied, NotFound, TidegateError
from tidegate.model import Account
from tidegate.store.documents import encode_account
from tidegate.web.admin.pages.users import ROWS
from tidegate.web.admin.reach import require_user
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import count
from tidegate.web.admin.visit import HEADERS, Visit, own_path

NEEDS: Final = {
    "enable": "edit_users",
    "disable": "edit_users",
    "close": "close_conns",
    "delete": "del_users",
}
"""Permission by what is done."""
DONE: Final = {
    "enable": ("is enabled", "are enabled"),
    "disable": ("is disabled", "are disabled"),
    "close": ("is disconnected", "are disconnected"),
    "delete": ("is deleted; the files are still there", "are deleted; their files are still there"),
}
_log = logging.getLogger(__name__)

TOLD: Final = 3
"""Accounts that the next page names because nothing could be done to them; the others are counted."""


async def act(visit: Visit) -> Response:
    """Do something to the accounts that were selected; deleting asks first.

    Raises:
        NotFound: there is nothing of this name to be done. Denied: they lack the permission.
    """
    verb, names = visit.form["verb"], list(dict.fromkeys(visit.form.all("user")))[:ROWS]
    if verb not in NEEDS:
        raise NotFound("accounts are enabled, disabled, disconnected or deleted")
    visit.require(NEEDS[verb])
    if not names:
        return _back(visit, "No account is selected.")
    if verb == "delete" and visit.form.text("number") != str(len(names)):
        return await _ask(visit, names)
    return await _each(visit, names, verb)


async def _ask(visit: Visit, names: Sequence[str]) -> Response:
    accounts = [await require_user(visit, name) for name in names]
    typed = visit.form.text("number")
    context: dict[str, Any] = {
        "accounts": accounts,
        "sessions": sum(visit.services.registry.count(one.username) for one in accounts),
        "back": own_path(visit.form["back"]),
        "error": f"Type {len(names)}, the number of accounts." if "number" in visit.form else "",
        "typed": typed,
    }
    return visit.html("users_delete.html", context, status=400 if context["error"] else 200)


async def _each(visit: Visit, names: Sequence[str], verb: str) -> Response:
    work: dict[str, Callable[[Visit, str], Awaitable[object]]] = {
        "enable": _enable,
        "disable": _disable,
        "close": _close,
        "delete": _delete,
    }
    failed: list[str] = []
    for name in names:
        try:
            await work[verb](visit, name)
        except (NotFound, Denied) as error:
            failed.append(sentence(error.text))
        except TidegateError as error:
            failed.append(f"{name}: {error.text}.")
    number = len(names) - len(failed)
    told = [f"{count(number)} {'account' if number == 1 else 'accounts'} {DONE[verb][number != 1]}."]
    told += failed[:TOLD]
    told += [f"{count(len(failed) - TOLD)} more could not be."] if len(failed) > TOLD else []
    return _back(visit, " ".join(told))


async def _enable(visit: Visit, name: str) -> None:
    await _switch(visit, name, 1)


async def _disable(visit: Visit, name: str) -> None:
    await _switch(visit, name, 0)


async def _switch(visit: Visit, name: str, status: int) -> None:
    def edit(stored: Account) -> dict[str, Any]:
        return {**encode_account(stored, confidential=False), "status": status}

    await visit.services.administration.users.change(name, edit, by=visit.actor)


async def _close(visit: Visit, name: str) -> None:
    account = await require_user(visit, name)
    number = visit.services.connections.close_user(account.username, by=visit.who.username)
    _log.info("%d connections of %r closed by administrator %r", number, account.username, visit.who.username)


async def _delete(visit: Visit, name: str) -> None:
    await visit.services.administration.users.remove(name, by=visit.actor)


def _back(visit: Visit, done: str) -> Response:
    """The list as it was."""
    response = RedirectResponse(own_path(visit.form["back"]), 303, headers=HEADERS)
    assert visit.session is not None
    visit.leave_note(response, visit.session.secret, done)
    return response


PAGES: Final = (Page(path="/users-selected", act=act, needs="view_users"),)
