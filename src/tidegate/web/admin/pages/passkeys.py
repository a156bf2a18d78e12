# SPDX-License-Identifier: Apache-2.0
"""Passkeys: one's own are added, removed and allowed to sign in by themselves; others' are removed."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.responses import JSONResponse, Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.accounts.passkeys import check_name
from tidegate.errors import BadRecord, Denied, LoginRefused, NotFound
from tidegate.identity.admins import Throttled
from tidegate.packages import load_beside
from tidegate.policy.passkeys import RelyingParty, passkeys_of
from tidegate.policy.second_factor import hash_recovery_code, recovery_codes_of
from tidegate.web.admin import passkey_site as site
from tidegate.web.admin import sessions
from tidegate.web.admin.pages import me
from tidegate.web.admin.registry import Page
from tidegate.web.admin.visit import HEADERS, Visit

CHECKS: Final = "tidegate.identity.passkeys"
"""Loaded by the first who uses passkeys, with the library."""

_log = logging.getLogger(__name__)


async def ready(visit: Visit) -> RelyingParty:
    """The site that passkeys belong to, with all that checks them loaded.

    Raises:
        Denied: browsers have no passkeys where the page was opened; the text says why.
    """
    keys = visit.services.loaded.settings.mfa.passkeys
    if problem := site.obstacle(visit.request, keys):
        raise Denied(problem, rule="mfa.passkeys.origins")
    await load_beside(CHECKS)
    return site.party_of(visit.request, keys)


def refused(text: str, status: int) -> Response:
    """The answer to the script of the page: a sentence for the person."""
    return JSONResponse({"error": text}, status, headers=HEADERS)


async def begin(visit: Visit) -> Response:
    """A challenge for a new passkey, and what the browser asks of authenticators; needs the password."""
    assert visit.session is not None
    try:
        party = await ready(visit)
        name = check_name(visit.form["name"])
        if any(one.name == name for one in passkeys_of(visit.who.filters).keys):
            raise BadRecord("name", "is the name of another passkey")
        await me.confirm(visit, visit.form["current_password"])
    except (BadRecord, Denied) as error:
        what = error.what if isinstance(error, BadRecord) else error.text
        text = {"is missing": "Give it a name."}.get(what, what)
        return refused(text[:1].upper() + text[1:], 403 if isinstance(error, Denied) else 400)
    except Throttled:
        return refused("Too many attempts. Wait a few minutes, then try again.", 429)
    except LoginRefused:
        return refused("The server is busy. Try again in a few seconds.", 503)
    from tidegate.identity import passkeys

    held = passkeys_of(visit.who.filters)
    challenge = await site.issue(
        visit.services.provider.browser_sessions,
        site.NEW,
        visit.session.row.id,
        username=visit.who.username,
        ip=visit.ip,
    )
    options = passkeys.creation_options(
        party,
        challenge,
        username=visit.who.username,
        # Bound to the session by the challenge; stored with the first passkey.
        handle=held.handle if held.keys else _first_handle(challenge),
        known=held.keys,
    )
    return JSONResponse(options, headers=HEADERS)


async def add(visit: Visit) -> Response:
    """Store the passkey that the browser has made; other sessions end."""
    assert visit.session is not None
    if not visit.form["credential"]:
        raise BadRecord("credential", "is missing: adding a passkey needs a browser that runs scripts")
    party = await ready(visit)
    from tidegate.identity import passkeys

    services, name = visit.services, visit.who.username
    store = services.provider.browser_sessions
    challenge = await site.take(store, site.NEW, visit.session.row.id)
    if challenge is None:
        return await me.show(visit, {"passkey": "That took longer than five minutes. Try again."})
    held = passkeys_of(visit.who.filters)
    try:
        made = passkeys.registered(
            party,
            challenge,
            visit.form["credential"],
            name=check_name(visit.form["name"]),
            now_ms=time.time_ns() // 1_000_000,
        )
        handle = held.handle if held.keys else _first_handle(challenge)
        await services.administration.admins.passkeys.add(name, made, handle=handle, by=visit.actor)
    except passkeys.BadPasskey as error:
        _log.warning("new passkey of administrator %r from %s refused: %s", name, visit.ip, error)
        return await me.show(visit, {"passkey": f"The passkey was not accepted: {error}."})
    except BadRecord as error:
        return await me.show(
            visit, {"passkey": f"The passkey was not accepted: its {error.field} {error.what}."}
        )
    _log.info("administrator %r added the passkey %r from %s", name, made.name, visit.ip)
    codes: list[str] = []
    if not any(not one.get("used") for one in recovery_codes_of(visit.who.filters)):
        from tidegate.identity import totp

        codes = totp.new_recovery_codes()
        hashes = [hash_recovery_code(one) for one in codes]
        await services.administration.admins.factors.set_recovery_codes(name, hashes, by=visit.actor)
    await store.remove_of(sessions.KIND, name)
    if codes:
        return await me.again(visit, visit.html("me_recovery.html", {"codes": codes}))
    return await me.again(visit, visit.go("me"), done=f"The passkey {made.name} is added.")


async def rename(visit: Visit) -> Response:
    """Give one of one's own passkeys another name; sessions go on."""
    verbs, form = visit.services.administration.admins.passkeys, visit.form
    try:
        await verbs.rename(visit.who.username, form["passkey"], form["name"], by=visit.actor)
    except (BadRecord, NotFound) as error:
        what = f"The name {error.what}." if isinstance(error, BadRecord) else "Choose a passkey first."
        return await me.show(visit, {"passkey": what})
    return visit.go("me", done=f"The passkey is called {form['name'].strip()}.")


async def remove(visit: Visit) -> Response:
    """Remove one of one's own passkeys; needs the password. Other sessions end."""
    name, key_id = visit.who.username, visit.form["passkey"]
    found = passkeys_of(visit.who.filters).find(key_id)
    try:
        await me.confirm(visit, visit.form["current_password"])
    except BadRecord as error:
        return await me.show(visit, {"passkey": error.what})
    await visit.services.administration.admins.passkeys.remove(name, key_id, by=visit.actor)
    await visit.services.provider.browser_sessions.remove_of(sessions.KIND, name)
    label = found.name if found is not None else key_id[:20]
    return await me.again(visit, visit.go("me"), done=f"The passkey {label} is removed.")


async def allow_alone(visit: Visit) -> Response:
    """Let one's passkeys sign in without name and password, or no more; needs the password."""
    wanted = bool(visit.form["alone"])
    try:
        await me.confirm(visit, visit.form["current_password"])
        await visit.services.administration.admins.passkeys.set_alone(
            visit.who.username, wanted, by=visit.actor
        )
    except BadRecord as error:
        return await me.show(visit, {"passkey": error.what})
    await visit.services.provider.browser_sessions.remove_of(sessions.KIND, visit.who.username)
    said = "Your passkeys sign in by themselves." if wanted else "Your passkeys follow the password."
    return await me.again(visit, visit.go("me"), done=said)


async def remove_of(visit: Visit) -> Response:
    """Remove a passkey of another administrator."""
    name, key_id = visit.name(), visit.form["passkey"]
    await visit.services.administration.admins.passkeys.remove(name, key_id, by=visit.actor)
    return visit.go("admins", name, done=f"A passkey of {name} is removed.")


def _first_handle(challenge: bytes) -> str:
    """The handle of somebody who has no passkey yet: random as the challenge, and known again with it."""
    import hashlib

    from tidegate.policy.passkeys import HANDLE_BYTES, encode

    return encode(hashlib.blake2b(challenge, digest_size=HANDLE_BYTES, person=b"tidegate-handle").digest())


PAGES: Final = (
    Page(path="/me/passkeys/begin", act=begin, unsettled=True, of_records=True),
    Page(path="/me/passkeys", act=add, unsettled=True, of_records=True),
    Page(path="/me/passkeys/rename", act=rename, unsettled=True, of_records=True),
    Page(path="/me/passkeys/remove", act=remove, unsettled=True, of_records=True),
    Page(path="/me/passkeys/alone", act=allow_alone, unsettled=True, of_records=True),
    Page(path="/admins/{name:path}/passkeys", act=remove_of, needs=EVERYTHING),
)
