# SPDX-License-Identifier: Apache-2.0
"""Signing in by password and one-time code, signing out, and the first set-up."""

from __future__ import annotations

import logging
from typing import Final

from starlette.responses import RedirectResponse, Response

from tidegate.accounts.actor import Channel, operator
from tidegate.accounts.names import fold_name
from tidegate.errors import BadRecord, LoginRefused
from tidegate.events.kinds import LoggedIn, LoginFailed
from tidegate.identity.admins import Throttled
from tidegate.identity.setup_code import fits
from tidegate.model import Admin, Origin
from tidegate.policy.second_factor import has_passkeys, totp_of
from tidegate.web.admin import passkey_site, sessions
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.visit import HEADERS, Visit, own_path
from tidegate.web.figures import span

MAX_CODE_CHARS: Final = 64
BY: Final = operator("setup", Channel.PAGE)
"""The actor of the first set-up."""

WRONG: Final = "Name or password is wrong."
WRONG_CODE: Final = "The code is wrong, or was used already."
AWAY: Final = "The data provider does not answer. Transfers go on; signing in works again when it does."
BUSY: Final = "The server is busy. Try again in a few seconds."

_log = logging.getLogger(__name__)


async def show(visit: Visit) -> Response:
    """The form for name and password."""
    if visit.session is not None:
        return _onward(visit)
    if visit.services.htpasswd is None and await _is_new(visit):
        return RedirectResponse(url("setup"), 303, headers=HEADERS)
    return login_page(visit, "")


async def sign_in(visit: Visit) -> Response:
    """Check name and password."""
    name = visit.form["name"].strip()
    services = visit.services
    if await _is_of_file(visit, name):
        return await _enter_of_file(visit, name)
    try:
        admin = await services.admins.by_password(visit.ip, name, visit.form["password"])
    except LoginRefused as error:
        if error.reason == "code_needed":
            return await _ask_code(visit, error.username)
        tell(visit, error, "password")
        return login_page(visit, text_of(error, WRONG), name=name, status=status_of(error))
    return await enter(visit, admin.username, "password")


async def _is_of_file(visit: Visit, name: str) -> bool:
    """True if a name is not that of an administrator, and there is a user file that may have it."""
    if visit.services.htpasswd is None or not name:
        return False
    return await visit.services.provider.admin(fold_name(name, visit.services.rules)) is None


async def _enter_of_file(visit: Visit, name: str) -> Response:
    """Sign in a user of `httpd.auth_user_file`, as REST does with each request of theirs."""
    services, ip = visit.services, visit.ip
    assert services.htpasswd is not None
    try:
        if wait := services.throttle.admit(f"htpasswd:{name}", ip, services.monotonic()):
            raise Throttled(wait, username=name)
        # Before the check: a hash that comes meanwhile is not that of the password, and ends the session.
        admin = sessions.file_user(name, await services.htpasswd.stored(name))
        if not await services.htpasswd.verify(ip, name, visit.form["password"]):
            raise LoginRefused("bad_credential", username=name)
    except LoginRefused as error:
        tell(visit, error, "password")
        return login_page(visit, text_of(error, WRONG), name=name, status=status_of(error))
    services.throttle.succeeded(f"htpasswd:{name}", ip, services.monotonic())
    return await _begin(visit, admin, "password", kind=sessions.OF_FILE)


async def show_code(visit: Visit) -> Response:
    """The form for a code."""
    waiting = await sessions.find(visit.request, visit.services, kind=sessions.WAITING)
    if waiting is None:
        return RedirectResponse(url("login"), 303, headers=HEADERS)
    return code_page(visit, waiting.admin, "")


async def check_code(visit: Visit) -> Response:
    """Check a one-time code, or a recovery code."""
    waiting = await sessions.find(visit.request, visit.services, kind=sessions.WAITING)
    if waiting is None:
        return RedirectResponse(url("login"), 303, headers=HEADERS)
    code = visit.form["code"].strip()[:MAX_CODE_CHARS]
    try:
        await visit.services.admins.by_code(visit.ip, waiting.admin, code)
    except LoginRefused as error:
        tell(visit, error, "code")
        return code_page(visit, waiting.admin, text_of(error, WRONG_CODE), status=status_of(error))
    return await enter(visit, waiting.admin.username, "password+code")


async def sign_out(visit: Visit) -> Response:
    """End the session."""
    await sessions.end(visit.request, visit.services)
    response = RedirectResponse(url("login"), 303, headers=HEADERS)
    sessions.forget(visit.request, response)
    _log.info("administrator %r signed out", visit.who.username)
    return response


# -- the first set-up ----------------------------------------------------------------------------------------


async def show_setup(visit: Visit) -> Response:
    """The form for the first administrator."""
    if not await _is_new(visit):
        return RedirectResponse(url("login"), 303, headers=HEADERS)
    return visit.html("setup.html", {"name": "", "code": visit.query("code"), "errors": {}})


async def set_up(visit: Visit) -> Response:
    """Add the first administrator, if the code is right."""
    if not await _is_new(visit):
        return RedirectResponse(url("login"), 303, headers=HEADERS)
    services, form = visit.services, visit.form
    wait = services.throttle.admit("setup", visit.ip, services.monotonic())
    if wait:
        raise Throttled(wait, username="setup")
    name, code, errors = form["name"].strip(), form["code"], {}
    if not fits(visit.setup_code(), code):
        errors["code"] = "Not the code that the server printed when it started."
        _log.info("first set-up from %s refused: wrong code", visit.ip)
    if form["password"] != form["again"]:
        errors["again"] = "The two passwords differ."
    if not errors:
        document = {"username": name, "permissions": ["*"], "status": 1}
        try:
            admin = await services.administration.admins.add(document, by=BY, password=form["password"])
        except BadRecord as error:
            field = error.field if error.field in ("username", "password") else "username"
            errors["name" if field == "username" else field] = f"{_capital(error.what)}."
        else:
            services.throttle.succeeded("setup", visit.ip, services.monotonic())
            return await enter(visit, admin.username, "setup")
    return visit.html("setup.html", {"name": name, "code": code, "errors": errors}, status=400)


# -- steps, also of signing in by passkey --------------------------------------------------------------------


def login_page(visit: Visit, error: str, *, name: str = "", status: int = 200) -> Response:
    """The form for name and password, with the way in by passkey where browsers have any."""
    keys = visit.services.loaded.settings.mfa.passkeys
    context = {
        "name": name,
        "error": error,
        "next": _wanted(visit),
        "rp_id": keys.domain,
        "offers": not passkey_site.obstacle(visit.request, keys),
    }
    return visit.html("login.html", context, status=status)


def code_page(visit: Visit, admin: Admin, error: str, *, status: int = 200) -> Response:
    """The form for a code, a recovery code or a passkey: what the administrator has."""
    context = {
        "error": error,
        "next": _wanted(visit),
        "rp_id": _domain(visit) if has_passkeys(admin.filters) else "",
        "codes": totp_of(admin.filters).enabled,
    }
    return visit.html("login_code.html", context, status=status)


def _wanted(visit: Visit) -> str:
    return visit.form["next"] or visit.query("next", longest=2_000)


def _domain(visit: Visit) -> str:
    return visit.services.loaded.settings.mfa.passkeys.domain


async def _is_new(visit: Visit) -> bool:
    """True if there is no administrator yet."""
    return not await visit.services.provider.admins(limit=1)


async def enter(visit: Visit, username: str, method: str) -> Response:
    """Begin the session of somebody who has proved who they are."""
    # Logging in may have upgraded the hash, which is part of what the session stands for.
    admin = await visit.services.provider.admin(username)
    if admin is None:
        raise LoginRefused("unknown_user", username=username)
    return await _begin(visit, admin, method, kind=sessions.KIND)


async def _begin(visit: Visit, admin: Admin, method: str, *, kind: str) -> Response:
    response = _onward(visit)
    await sessions.begin(visit.request, response, visit.services, admin, method=method, kind=kind)
    origin = Origin(username=admin.username, protocol="HTTP", ip=visit.ip)
    visit.services.emit(LoggedIn(origin=origin, method=method, encrypted=sessions.is_secure(visit.request)))
    who = "user of the file" if kind == sessions.OF_FILE else "administrator"
    _log.info("%s %r signed in from %s by %s", who, admin.username, visit.ip, method)
    return response


async def _ask_code(visit: Visit, username: str) -> Response:
    """Remember that the password was right, and ask for a code."""
    admin: Admin | None = await visit.services.provider.admin(username)
    if admin is None:
        raise LoginRefused("unknown_user", username=username)
    response = RedirectResponse(url("login", "code", next=visit.form["next"][:2_000]), 303, headers=HEADERS)
    await sessions.begin(
        visit.request, response, visit.services, admin, method="password", kind=sessions.WAITING
    )
    return response


def _onward(visit: Visit) -> Response:
    return RedirectResponse(own_path(_wanted(visit)), 303, headers=HEADERS)


def tell(visit: Visit, error: LoginRefused, kind: str) -> None:
    """Log a refused sign-in and emit its event; `kind` is what was tried."""
    if error.reason in ("busy", "provider_unavailable"):
        return
    _log.info("sign-in of administrator %r from %s refused: %s", error.username, visit.ip, error.reason)
    if not isinstance(error, Throttled):
        origin = Origin(username=error.username, protocol="HTTP", ip=visit.ip)
        visit.services.emit(LoginFailed(origin=origin, login_type=kind, reason=error.reason, rule=error.rule))


def text_of(error: LoginRefused, otherwise: str) -> str:
    """The sentence for the person; `otherwise` for reasons that are nobody else's business."""
    if isinstance(error, Throttled):
        return f"Too many attempts. Wait {span(max(error.retry_after, 1))}, then try again."
    if error.reason == "throttled":
        return "Too many wrong codes. Wait 15 minutes, then try again."
    return {"busy": BUSY, "provider_unavailable": AWAY}.get(error.reason, otherwise)


def status_of(error: LoginRefused) -> int:
    """The HTTP status of a refused sign-in."""
    if isinstance(error, Throttled) or error.reason == "throttled":
        return 429
    return 503 if error.reason in ("busy", "provider_unavailable") else 401


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


PAGES: Final = (
    Page(path="/login", show=show, act=sign_in, open_to_all=True),
    Page(path="/login/code", show=show_code, act=check_code, open_to_all=True),
    Page(path="/logout", act=sign_out, unsettled=True),
    Page(path="/setup", show=show_setup, act=set_up, open_to_all=True),
)
