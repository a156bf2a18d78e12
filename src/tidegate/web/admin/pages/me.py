# SPDX-License-Identifier: Apache-2.0
"""One's own sessions, password, profile and one-time codes."""

from __future__ import annotations

import logging
from typing import Final

from starlette.responses import HTMLResponse, JSONResponse, Response

from tidegate.errors import BadRecord, Denied, InvalidArgument, LoginRefused
from tidegate.identity.admins import Throttled
from tidegate.policy.passkeys import passkeys_of
from tidegate.policy.second_factor import (
    has_factor,
    has_passkeys,
    hash_recovery_code,
    recovery_codes_of,
    totp_of,
)
from tidegate.web.admin import sessions
from tidegate.web.admin.passkey_site import obstacle
from tidegate.web.admin.registry import Page, all_pages
from tidegate.web.admin.visit import HEADERS, Visit

_log = logging.getLogger(__name__)


async def show(visit: Visit, errors: dict[str, str] | None = None) -> Response:
    """Sessions, password, second factors and profile."""
    filters = visit.who.filters
    assert visit.session is not None
    rows = await visit.services.provider.browser_sessions.of(visit.session.row.kind, visit.who.username)
    codes, held = recovery_codes_of(filters), passkeys_of(filters)
    keys = visit.services.loaded.settings.mfa.passkeys
    context = {
        "errors": errors or {},
        "of_file": visit.session.of_file,
        "letters": ", ".join(sorted(page.nav.key for page in all_pages() if page.nav and page.nav.key)),
        "sessions": rows,
        "current": visit.session.row.id,
        "totp": totp_of(filters).enabled,
        "codes_left": sum(not one.get("used") for one in codes),
        "must_change": filters.require_password_change,
        "email": visit.who.email,
        "description": visit.who.description,
        "keys": filters.allow_api_key_auth,
        "passkeys": held,
        "rp_id": keys.domain,
        "obstacle": obstacle(visit.request, keys),
    }
    return visit.html("me.html", context, status=400 if errors else 200)


async def save_profile(visit: Visit) -> Response:
    """Change the mail address, the description and the use of API keys.

    Raises:
        Denied: they are a user of the file.
    """
    assert visit.session is not None
    if visit.session.of_file:
        raise Denied("users of httpd.auth_user_file have no profile")
    try:
        await visit.services.administration.admins.change_profile(
            by=visit.actor,
            email=visit.form.text("email"),
            description=visit.form.text("description"),
            allow_api_key_auth=bool(visit.form["keys"]),
        )
    except BadRecord as error:
        return await show(visit, {error.field: error.what})
    return visit.go("me", done="Your profile is saved.")


async def change_password(visit: Visit) -> Response:
    """Change one's own password; other sessions and tokens end."""
    form = visit.form
    if form["new_password"] != form["again"]:
        return await show(visit, {"again": "The two passwords differ."})
    if form["new_password"] == form["current_password"]:
        return await show(visit, {"new_password": "It is the same as before."})
    try:
        await confirm(visit, form["current_password"])
        await visit.services.administration.admins.change_own_password(form["new_password"], by=visit.actor)
    except BadRecord as error:
        return await show(visit, {error.field: error.what})
    await visit.services.provider.browser_sessions.remove_of(sessions.KIND, visit.who.username)
    return await again(visit, visit.go("me"), done="Your password is changed. Other sessions have ended.")


async def confirm(visit: Visit, password: str) -> None:
    """Return if somebody knows their own password.

    Raises:
        BadRecord: ``current_password`` is wrong.
        LoginRefused: the server is busy, or they tried too often.
    """
    try:
        await visit.services.admins.by_password(visit.ip, visit.who.username, password, code=None)
    except Throttled:
        raise
    except LoginRefused as error:
        if error.reason in ("busy", "provider_unavailable"):
            raise
        raise BadRecord("current_password", "That is not your password.") from None


async def end_session(visit: Visit) -> Response:
    """End one session of one's own, or all others."""
    store, name = visit.services.provider.browser_sessions, visit.who.username
    assert visit.session is not None
    wanted = visit.form["session"]
    if wanted == "others":
        ended = await store.remove_of(visit.session.row.kind, name, but=visit.session.row.id)
        _log.info("administrator %r ended %d other sessions", name, ended)
        return visit.go("me", done=f"{ended} other sessions have ended.")
    if wanted not in {row.id for row in await store.of(visit.session.row.kind, name)}:
        raise InvalidArgument("that session has ended already")
    await store.remove(wanted)
    _log.info("administrator %r ended a session", name)
    return visit.go("me", done="The session has ended.")


async def stay(visit: Visit) -> Response:
    """Keep the session; asking is a use of it."""
    assert visit.session is not None
    return JSONResponse({"idle_until": visit.session.row.idle_until}, headers=HEADERS)


# -- one-time codes ------------------------------------------------------------------------------------------


async def show_codes(visit: Visit) -> Response:
    """The set-up of one-time codes."""
    if totp_of(visit.who.filters).enabled:
        return visit.go("me")
    from tidegate.identity import totp

    return _codes_page(visit, totp.new_secret(), "")


async def save_codes(visit: Visit) -> Response:
    """Ask for codes from now on, once one was given; recovery codes are shown this once."""
    import time

    from tidegate.identity import totp
    from tidegate.policy.second_factor import decode_secret

    if totp_of(visit.who.filters).enabled:
        raise Denied("one-time codes are set up already; switch them off first", rule="second_factor")
    kind = visit.services.loaded.settings.mfa.totp[0]
    secret = visit.form["secret"]
    try:
        raw = decode_secret(secret)
    except ValueError as error:
        raise BadRecord("secret", str(error)) from None
    code = "".join(visit.form["code"].split())
    if totp.matching_step(raw, code, time.time(), kind.algo) is None:
        return _codes_page(visit, secret, "That is not the code of this moment. Is the phone's clock right?")
    factors = visit.services.administration.admins.factors
    name = visit.who.username
    await factors.enable(name, config_name=kind.name, secret=secret, protocols=(), by=visit.actor)
    made = totp.new_recovery_codes()
    await factors.set_recovery_codes(name, [hash_recovery_code(one) for one in made], by=visit.actor)
    await visit.services.provider.browser_sessions.remove_of(sessions.KIND, name)
    return await again(visit, visit.html("me_recovery.html", {"codes": made}))


async def drop_codes(visit: Visit) -> Response:
    """Ask for codes no more; needs the password."""
    if visit.who.filters.require_two_factor and not has_passkeys(visit.who.filters):
        raise Denied("one-time codes are required of you", rule="require_two_factor")
    try:
        await confirm(visit, visit.form["current_password"])
    except BadRecord as error:
        return await show(visit, {"drop_password": error.what})
    await visit.services.administration.admins.factors.disable(visit.who.username, by=visit.actor)
    return await again(visit, visit.go("me"), done="One-time codes are off.")


async def renew_recovery_codes(visit: Visit) -> Response:
    """New recovery codes, shown this once; the old ones are void. Needs the password.

    Raises:
        Denied: there is no second factor that they could stand for.
    """
    from tidegate.identity import totp

    if not has_factor(visit.who.filters):
        raise Denied("set up one-time codes or a passkey first", rule="second_factor")
    try:
        await confirm(visit, visit.form["current_password"])
    except BadRecord as error:
        return await show(visit, {"renew_password": error.what})
    made, name = totp.new_recovery_codes(), visit.who.username
    hashes = [hash_recovery_code(one) for one in made]
    await visit.services.administration.admins.factors.set_recovery_codes(name, hashes, by=visit.actor)
    return await again(visit, visit.html("me_recovery.html", {"codes": made}))


def _codes_page(visit: Visit, secret: str, error: str) -> Response:
    from tidegate.identity import totp
    from tidegate.web.admin.qr import drawing

    kinds = visit.services.loaded.settings.mfa.totp
    if not kinds:
        raise Denied("the configuration has no kind of one-time codes (mfa.totp)", rule="mfa.totp")
    kind = kinds[0]
    link = totp.uri(secret, issuer=kind.issuer, username=visit.who.username, algorithm=kind.algo)
    context = {"secret": secret, "link": link, "qr": drawing(link), "error": error}
    return visit.html("me_codes.html", context, status=400 if error else 200)


async def again(visit: Visit, response: Response, *, done: str = "") -> Response:
    """Begin the session anew after what it stands for has changed; `done` as in `Visit.go`."""
    admin = await visit.services.provider.admin(visit.who.username)
    assert visit.session is not None
    if admin is not None:
        method = visit.session.row.method
        fresh = await sessions.begin(visit.request, response, visit.services, admin, method=method)
        if done:
            visit.leave_note(response, fresh.secret, done)
        if isinstance(response, HTMLResponse):
            # The page was written for the session that has just ended.
            old, new = sessions.form_token(visit.session.secret), sessions.form_token(fresh.secret)
            response.body = bytes(response.body).replace(old.encode(), new.encode())
    return response


PAGES: Final = (
    Page(
        path="/me", show=show, act=save_profile, unsettled=True, action="Change your password, end sessions"
    ),
    Page(path="/me/password", act=change_password, unsettled=True, of_records=True),
    Page(path="/me/sessions", act=end_session, unsettled=True),
    Page(path="/me/stay", act=stay, unsettled=True),
    Page(
        path="/me/codes",
        show=show_codes,
        act=save_codes,
        unsettled=True,
        of_records=True,
        action="Set up one-time codes",
    ),
    Page(path="/me/recovery", act=renew_recovery_codes, unsettled=True, of_records=True),
    Page(path="/me/codes/drop", act=drop_codes, unsettled=True, of_records=True),
)
