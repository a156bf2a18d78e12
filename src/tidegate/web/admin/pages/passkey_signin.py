# SPDX-License-Identifier: Apache-2.0
"""Signing in by passkey: after the password, or without name and password where its owner allows it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, RedirectResponse, Response

from tidegate.errors import Denied, LoginRefused
from tidegate.policy.passkeys import RelyingParty, passkeys_of
from tidegate.web.admin import passkey_site as site
from tidegate.web.admin import sessions
from tidegate.web.admin.pages import signin
from tidegate.web.admin.pages.passkeys import ready, refused
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.visit import HEADERS, Visit

if TYPE_CHECKING:
    from tidegate.identity.passkey_login import PasskeyLogin

COOKIES: Final = {site.INSTEAD: "tidegate_passkey", site.OFFERED: "tidegate_passkey_offer"}
"""Cookies that challenges of somebody unknown are bound to, by purpose."""
WRONG: Final = "The passkey was not accepted."
LATE: Final = "That took longer than five minutes. Try again."
_TEXTS: Final = {
    "passkey_counter": "The passkey was not accepted: there may be a copy of it. Sign in another way, and "
    "remove it unless you know why.",
    "passkey_alone": "Your passkeys do not sign in by themselves. Sign in with your password; your own page "
    "allows it.",
}


async def begin_after(visit: Visit) -> Response:
    """A challenge for somebody whose password was right, and the passkeys that may answer it."""
    waiting = await sessions.find(visit.request, visit.services, kind=sessions.WAITING)
    if waiting is None:
        return refused("That took longer than five minutes. Begin again with your password.", 401)
    try:
        party = await ready(visit)
    except Denied as error:
        return refused(error.text, 403)
    from tidegate.identity import passkeys

    services = visit.services
    known = passkeys_of(waiting.admin.filters).of(party.rp_id)
    if not known:
        return refused(f"You have no passkey for {party.rp_id}. A code works instead.", 404)
    challenge = await site.issue(
        services.provider.browser_sessions,
        site.AFTER,
        waiting.row.id,
        username=waiting.admin.username,
        ip=visit.ip,
    )
    options = passkeys.request_options(party, challenge, known=known, verified=False)
    return JSONResponse(options, headers=HEADERS)


async def after(visit: Visit) -> Response:
    """Check the passkey that follows a password."""
    waiting = await sessions.find(visit.request, visit.services, kind=sessions.WAITING)
    if waiting is None:
        return RedirectResponse(url("login"), 303, headers=HEADERS)
    party = await ready(visit)
    services, name = visit.services, waiting.admin.username
    challenge = await site.take(services.provider.browser_sessions, site.AFTER, waiting.row.id)
    if challenge is None:
        return signin.code_page(visit, waiting.admin, LATE, status=401)
    from tidegate.identity.passkey_login import PasskeyLogin

    login = PasskeyLogin(services.provider, services.throttle, monotonic=services.monotonic)
    try:
        await login.after_password(visit.ip, waiting.admin, party, challenge, visit.form["credential"])
    except LoginRefused as error:
        signin.tell(visit, error, "passkey")
        text = _TEXTS.get(error.reason) or signin.text_of(error, WRONG)
        return signin.code_page(visit, waiting.admin, text, status=signin.status_of(error))
    return await signin.enter(visit, name, "password+passkey")


async def begin_instead(visit: Visit) -> Response:
    """A challenge for somebody who asks to sign in by passkey; any of the site may answer it."""
    try:
        party = await ready(visit)
    except Denied as error:
        return refused(error.text, 403)
    try:
        _login(visit).admit(visit.ip)
    except LoginRefused as error:
        signin.tell(visit, error, "passkey")
        return refused(signin.text_of(error, WRONG), 429)
    return await _challenge(visit, party, site.INSTEAD)


async def begin_offered(visit: Visit) -> Response:
    """A challenge for a browser that offers passkeys beside the field of the name; nobody has asked yet.

    Where there is none the answer has no text: the page works without, and nobody has asked.
    """
    try:
        party = await ready(visit)
    except Denied:
        return Response(status_code=204, headers=HEADERS)
    if not _login(visit).offer(visit.ip):
        return Response(status_code=204, headers=HEADERS)
    return await _challenge(visit, party, site.OFFERED)


def _login(visit: Visit) -> PasskeyLogin:
    """Checks passkeys; to be called after `ready`."""
    from tidegate.identity.passkey_login import PasskeyLogin

    services = visit.services
    return PasskeyLogin(services.provider, services.throttle, monotonic=services.monotonic)


async def _challenge(visit: Visit, party: RelyingParty, purpose: str) -> Response:
    """A challenge that any passkey of the site may answer, and its cookie."""
    from tidegate.identity import passkeys

    secret = secrets.token_urlsafe(32)
    challenge = await site.issue(
        visit.services.provider.browser_sessions,
        purpose,
        sessions.digest_of(visit.request, secret),
        # Rows of one person are bounded: those of strangers count for the address that they come from.
        username=f"@{visit.services.throttle.sources.of(visit.ip)}",
        ip=visit.ip,
    )
    options = passkeys.request_options(party, challenge, known=None, verified=True)
    response = JSONResponse(options, headers=HEADERS)
    cookie = COOKIES[purpose]
    sessions.set_cookie(visit.request, response, cookie, secret, seconds=site.CHALLENGE_SECONDS)
    return response


async def instead(visit: Visit) -> Response:
    """Check a passkey that signs in by itself."""
    return await _check(visit, site.INSTEAD)


async def offered(visit: Visit) -> Response:
    """As `instead`, where the browser has offered it: the attempt is counted now."""
    return await _check(visit, site.OFFERED)


async def _check(visit: Visit, purpose: str) -> Response:
    party = await ready(visit)
    cookie, store = COOKIES[purpose], visit.services.provider.browser_sessions
    secret = sessions.secret_of(visit.request, cookie)
    owner = sessions.digest_of(visit.request, secret) if secret else ""
    challenge = await site.take(store, purpose, owner) if owner else None
    if challenge is None:
        return signin.login_page(visit, LATE, status=401)
    login = _login(visit)
    try:
        if purpose == site.OFFERED:
            login.admit(visit.ip)
        admin = await login.instead(visit.ip, party, challenge, visit.form["credential"])
    except LoginRefused as error:
        signin.tell(visit, error, "passkey")
        text = _TEXTS.get(error.reason) or signin.text_of(error, WRONG)
        return signin.login_page(visit, text, status=signin.status_of(error))
    response = await signin.enter(visit, admin.username, "passkey")
    sessions.forget(visit.request, response, cookie)
    return response


PAGES: Final = (
    Page(path="/login/code/passkey/begin", act=begin_after, open_to_all=True),
    Page(path="/login/code/passkey", act=after, open_to_all=True),
    Page(path="/login/passkey/begin", act=begin_instead, open_to_all=True),
    Page(path="/login/passkey", act=instead, open_to_all=True),
    Page(path="/login/passkey/offer/begin", act=begin_offered, open_to_all=True),
    Page(path="/login/passkey/offer", act=offered, open_to_all=True),
)
