# SPDX-License-Identifier: Apache-2.0
"""One-time codes and recovery codes: one's own, of users and administrators, and switched off for others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from tidegate.accounts.actor import Actor, Channel
from tidegate.errors import BadRecord, Denied
from tidegate.model import Account, Admin
from tidegate.policy.second_factor import (
    decode_secret,
    has_passkeys,
    hash_recovery_code,
    recovery_codes_of,
    totp_of,
)
from tidegate.web.api import schemas
from tidegate.web.api.access import DisableFactors, Enrolling, Ip, Owner, User, With, actor
from tidegate.web.api.bodies import Json, message, read_model
from tidegate.web.api.paging import Name
from tidegate.web.api.routes import BASE
from tidegate.web.api.services import Services

router = APIRouter(prefix=BASE, tags=["second factors"])

_DONE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": schemas.ApiResponse}}
_NEW: Final[dict[int | str, dict[str, Any]]] = {200: {"model": schemas.NewTotp}}
_KINDS: Final[dict[int | str, dict[str, Any]]] = {200: {"model": list[schemas.TotpKind]}}
_CODES: Final[dict[int | str, dict[str, Any]]] = {200: {"model": list[schemas.RecoveryCode]}}
_TEXTS: Final[dict[int | str, dict[str, Any]]] = {200: {"model": list[str]}}


# -- users about themselves --------------------------------------------------------------------------------


@router.get("/user/totp/configs", responses=_KINDS)
async def user_totp_configs(services: With, who: User) -> Response:
    """The kinds of one-time codes that there are."""
    del who
    return _kinds(services)


@router.post("/user/totp/generate", responses=_NEW, openapi_extra=schemas.body("TotpQuestion"))
async def user_totp_generate(request: Request, services: With, who: User) -> Response:
    """A new secret; nothing is stored before it is saved."""
    return await _generate(request, services, _person(who).username)


@router.post("/user/totp/validate", responses=_DONE, openapi_extra=schemas.body("TotpProof"))
async def user_totp_validate(request: Request, services: With, who: User) -> Response:
    """Check that a code is one of a secret, before it is saved."""
    _person(who)
    return await _validate(request, services)


@router.post("/user/totp/save", responses=_DONE, openapi_extra=schemas.body("TotpSettings"))
async def user_totp_save(request: Request, services: With, who: User, ip: Ip) -> Response:
    """Ask for codes at some doors from now on, or no more."""
    _require_factor(request, who)
    given = await read_model(request, schemas.TotpSettings)
    required = _person(who).filters.two_factor_protocols
    missing = [door for door in required if not given.enabled or door not in given.protocols]
    if missing:
        raise BadRecord("protocols", f"one-time codes are required for {', '.join(missing)}")
    if given.enabled and not given.protocols:
        raise BadRecord("protocols", "is empty: name at least one of SSH, FTP, HTTP")
    return await _save(services.administration.users.factors, services, given, who.username, _self(who, ip))


@router.get("/user/2fa/recoverycodes", responses=_CODES)
async def user_recovery_codes(who: User) -> Response:
    """List which recovery codes are used; the codes themselves are stored as hashes."""
    return _codes(who)


@router.post("/user/2fa/recoverycodes", responses=_TEXTS)
async def user_new_recovery_codes(request: Request, services: With, who: User, ip: Ip) -> Response:
    """New recovery codes, shown only now; the old ones are void."""
    _person(who)
    _require_factor(request, who)
    return await _new_codes(services.administration.users.factors, who, _self(who, ip))


# -- administrators about themselves -----------------------------------------------------------------------


@router.get("/admin/totp/configs", responses=_KINDS)
async def admin_totp_configs(services: With, who: Enrolling) -> Response:
    """The kinds of one-time codes that there are."""
    del who
    return _kinds(services)


@router.post("/admin/totp/generate", responses=_NEW, openapi_extra=schemas.body("TotpQuestion"))
async def admin_totp_generate(request: Request, services: With, who: Enrolling) -> Response:
    """A new secret; nothing is stored before it is saved."""
    return await _generate(request, services, who.name)


@router.post("/admin/totp/validate", responses=_DONE, openapi_extra=schemas.body("TotpProof"))
async def admin_totp_validate(request: Request, services: With, who: Enrolling) -> Response:
    """Check that a code is one of a secret, before it is saved."""
    del who
    return await _validate(request, services)


@router.post("/admin/totp/save", responses=_DONE, openapi_extra=schemas.body("TotpSettings"))
async def admin_totp_save(request: Request, services: With, who: Enrolling, ip: Ip) -> Response:
    """Ask for codes from now on, or no more."""
    assert who.admin is not None
    given = await read_model(request, schemas.TotpSettings)
    needed = who.admin.filters.require_two_factor and not has_passkeys(who.admin.filters)
    if not given.enabled and needed:
        raise BadRecord("enabled", "one-time codes are required of you")
    given = given.model_copy(update={"protocols": []})
    factors = services.administration.admins.factors
    return await _save(factors, services, given, who.admin.username, actor(who, ip))


@router.get("/admin/2fa/recoverycodes", responses=_CODES)
async def admin_recovery_codes(who: Enrolling) -> Response:
    """List which recovery codes are used; the codes themselves are stored as hashes."""
    assert who.admin is not None
    return _codes(who.admin)


@router.post("/admin/2fa/recoverycodes", responses=_TEXTS)
async def admin_new_recovery_codes(services: With, who: Enrolling, ip: Ip) -> Response:
    """New recovery codes, shown only now; the old ones are void."""
    assert who.admin is not None
    return await _new_codes(services.administration.admins.factors, who.admin, actor(who, ip))


# -- administrators about others ---------------------------------------------------------------------------


@router.put("/users/{username}/2fa/disable", responses=_DONE)
async def disable_user(services: With, who: DisableFactors, ip: Ip, username: Name) -> Response:
    """Ask a user for codes no more; secret and recovery codes are forgotten."""
    await services.administration.users.factors.disable(username, by=actor(who, ip))
    return message("2FA disabled")


@router.put("/admins/{username}/2fa/disable", responses=_DONE)
async def disable_admin(services: With, who: Owner, ip: Ip, username: Name) -> Response:
    """Ask an administrator for codes no more; secret and recovery codes are forgotten."""
    if who.way != "token":
        raise Denied("this needs a token: GET /api/v2/token")
    await services.administration.admins.factors.disable(username, by=actor(who, ip))
    return message("2FA disabled")


# -- steps -------------------------------------------------------------------------------------------------


def _person(who: Account) -> Account:
    """The user, who may manage their second factor.

    Raises:
        Denied: an administrator forbade it (``web_client`` has ``mfa-disabled``).
    """
    denied = who.filters.extra.get("web_client")
    if isinstance(denied, list) and "mfa-disabled" in denied:
        raise Denied("you may not change your second factor", rule="filters.web_client")
    return who


def _require_factor(request: Request, who: Account) -> None:
    """Return if a user may change codes that are asked for: whoever knows only their password may not.

    Raises:
        Denied: the token was given without a code, though codes were set up.
    """
    if request.state.claims.bare and totp_of(who.filters).enabled:
        what = "get a token with a code first: X-SFTPGO-OTP at GET /api/v2/user/token"
        raise Denied(what, rule="second_factor")


def _self(who: Account, ip: str) -> Actor:
    return Actor(name=who.username, channel=Channel.REST, permissions=frozenset(), ip=ip)


def _kinds(services: Services) -> Response:
    kinds = services.loaded.settings.mfa.totp
    return Json([{"name": one.name, "issuer": one.issuer, "algo": one.algo} for one in kinds])


def _kind(services: Services, name: str) -> Any:
    found = next((one for one in services.loaded.settings.mfa.totp if one.name == name), None)
    if found is None:
        raise BadRecord("config_name", f"{name[:60]!r} is no kind of one-time codes; see totp/configs")
    return found


async def _generate(request: Request, services: Services, username: str) -> Response:
    from tidegate.identity import totp

    kind = _kind(services, (await read_model(request, schemas.TotpQuestion)).config_name)
    secret = totp.new_secret()
    url = totp.uri(secret, issuer=kind.issuer, username=username, algorithm=kind.algo)
    return Json({"config_name": kind.name, "issuer": kind.issuer, "secret": secret, "url": url})


async def _validate(request: Request, services: Services) -> Response:
    from tidegate.identity import totp

    given = await read_model(request, schemas.TotpProof)
    kind = _kind(services, given.config_name)
    code = "".join(given.passcode.split())
    if totp.matching_step(_secret(given.secret), code, time.time(), kind.algo) is None:
        raise BadRecord("passcode", "is not one of this secret now")
    return message("Passcode successfully validated")


async def _save(
    factors: Any, services: Services, given: schemas.TotpSettings, username: str, by: Actor
) -> Response:
    if not given.enabled:
        await factors.disable(username, by=by)
        return message("TOTP configuration saved")
    kind = _kind(services, given.config_name)
    secret = given.secret
    if isinstance(secret, dict):
        if secret.get("status") not in ("Plain", "", None):
            raise BadRecord("secret", "should be in plain text (status Plain)")
        secret = secret.get("payload", "")
    if not isinstance(secret, str):
        raise BadRecord("secret", "should be a text in base32")
    _secret(secret)
    await factors.enable(username, config_name=kind.name, secret=secret, protocols=given.protocols, by=by)
    return message("TOTP configuration saved")


def _secret(text: str) -> bytes:
    try:
        return decode_secret(text)
    except ValueError as error:
        raise BadRecord("secret", str(error)) from None


def _codes(record: Account | Admin) -> Response:
    codes: Sequence[dict[str, Any]] = recovery_codes_of(record.filters)
    return Json([{"code": "", "used": bool(one.get("used"))} for one in codes])


async def _new_codes(factors: Any, record: Account | Admin, by: Actor) -> Response:
    from tidegate.identity import totp

    passkeys = isinstance(record, Admin) and has_passkeys(record.filters)
    if not totp_of(record.filters).enabled and not passkeys:
        raise BadRecord("", "one-time codes are not set up")
    made = totp.new_recovery_codes()
    await factors.set_recovery_codes(record.username, [hash_recovery_code(one) for one in made], by=by)
    return Json(made)
