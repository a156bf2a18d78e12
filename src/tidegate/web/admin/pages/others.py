# SPDX-License-Identifier: Apache-2.0
"""Help for somebody who has lost a device: one-time codes switched off, browser sessions ended."""

from __future__ import annotations

import logging
from typing import Final

from starlette.responses import Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.accounts.names import fold_name
from tidegate.errors import InvalidArgument
from tidegate.web.admin import sessions
from tidegate.web.admin.reach import require_user
from tidegate.web.admin.registry import Page
from tidegate.web.admin.visit import Visit

ALL: Final = "all"

_log = logging.getLogger(__name__)


async def codes_of_user(visit: Visit) -> Response:
    """Ask a user for codes no more; secret and recovery codes are forgotten.

    Raises:
        NotFound: there is no such user, or they are not of the administrator's role.
    """
    account = await require_user(visit, fold_name(visit.name(), visit.services.rules))
    await visit.services.administration.users.factors.disable(account.username, by=visit.actor)
    done = f"{account.username} is asked for codes no more."
    return visit.go("users", account.username, done=done)


async def codes_of_admin(visit: Visit) -> Response:
    """Ask an administrator for codes no more; secret and recovery codes are forgotten."""
    name = visit.name()
    await visit.services.administration.admins.factors.disable(name, by=visit.actor)
    return visit.go("admins", name, done=f"{name} is asked for codes no more.")


async def sessions_of_admin(visit: Visit) -> Response:
    """End one session of an administrator, or all but one's own.

    Raises:
        InvalidArgument: it has ended already.
    """
    store, wanted = visit.services.provider.browser_sessions, visit.form["session"]
    admin = await visit.services.administration.admins.get(visit.name())
    assert visit.session is not None
    if wanted == ALL:
        number = await store.remove_of(sessions.KIND, admin.username, but=visit.session.row.id)
    elif wanted in {row.id for row in await store.of(sessions.KIND, admin.username)}:
        await store.remove(wanted)
        number = 1
    else:
        raise InvalidArgument("that session has ended already")
    _log.info("administrator %r ended %d sessions of %r", visit.who.username, number, admin.username)
    ended = "1 session" if number == 1 else f"{number} sessions"
    return visit.go("admins", admin.username, done=f"{ended} of {admin.username} ended.")


PAGES: Final = (
    Page(path="/users/{name:path}/codes", act=codes_of_user, needs="disable_mfa"),
    Page(path="/admins/{name:path}/codes", act=codes_of_admin, needs=EVERYTHING, of_records=True),
    Page(path="/admins/{name:path}/sessions", act=sessions_of_admin, needs=EVERYTHING),
)
