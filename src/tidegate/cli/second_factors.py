# SPDX-License-Identifier: Apache-2.0
"""``totp`` of ``tidegate user`` and ``tidegate admin``: one-time codes and recovery codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tidegate.cli.terminal import say, say_json
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.config.schema.mfa import TotpKeys
    from tidegate.model import Account, Admin

Kind = Literal["user", "admin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TotpFlags:
    """Flags of the command."""

    enable: Annotated[
        bool, typer.Option("--enable", help="Make a new secret, print it, and ask for its codes from now on.")
    ] = False
    disable: Annotated[
        bool,
        typer.Option("--disable", help="Ask for codes no more; secret and recovery codes go."),
    ] = False
    recovery_codes: Annotated[
        bool, typer.Option("--recovery-codes", help="Make new recovery codes and print them; old ones go.")
    ] = False
    config: Annotated[
        str, typer.Option("--kind", metavar="NAME", help="Entry of `mfa.totp`; the first one if not named.")
    ] = ""


async def totp(kind: Kind, name: str, given: TotpFlags, protocols: list[str], where: Where) -> dict[str, Any]:
    """Do what the flags say; returns what is to be shown. Without flags only shows how things are.

    Raises:
        InvalidArgument: flags contradict each other, or are not for a server elsewhere.
    """
    if given.disable and (given.enable or given.recovery_codes):
        raise InvalidArgument("--disable: not together with --enable or --recovery-codes")
    if where.url:
        return await _elsewhere(kind, name, given, where)
    from tidegate.accounts.names import fold_name
    from tidegate.cli.provider import opened
    from tidegate.identity import totp as codes
    from tidegate.policy.second_factor import recovery_codes_of, totp_of

    async with opened(where.config_dir, where.config_file) as context:
        verbs: Any = context.administration.users if kind == "user" else context.administration.admins
        factors, actor = verbs.factors, context.actor
        name = fold_name(name, context.rules)
        shown: dict[str, Any] = {"username": name}
        if given.enable:
            config = _config(context.loaded, given.config)
            secret = codes.new_secret()
            await factors.enable(name, config_name=config.name, secret=secret, protocols=protocols, by=actor)
            url = codes.uri(secret, issuer=config.issuer, username=name, algorithm=config.algo)
            shown |= {"secret": secret, "url": url}
        if given.recovery_codes:
            shown["recovery_codes"] = await _codes(verbs, name, actor)
        if given.disable:
            await factors.disable(name, by=actor)
        record: Account | Admin = await verbs.get(name)
    held = totp_of(record.filters)
    left = sum(not one.get("used") for one in recovery_codes_of(record.filters))
    more = {"protocols": list(held.protocols)} if kind == "user" else {}
    return {**shown, "enabled": held.enabled, "config_name": held.config_name, **more, "codes_left": left}


def _config(loaded: Loaded, wanted: str) -> TotpKeys:
    kinds = {one.name: one for one in loaded.settings.mfa.totp}
    if not kinds:
        raise InvalidArgument("mfa.totp has no entry: one-time codes are switched off")
    config = kinds.get(wanted or next(iter(kinds)))
    if config is None:
        raise InvalidArgument(f"--kind: {wanted!r} is not one of {', '.join(kinds)} (mfa.totp)")
    return config


async def _codes(verbs: Any, name: str, actor: Any) -> list[str]:
    from tidegate.identity import totp as codes
    from tidegate.policy.second_factor import hash_recovery_code, totp_of

    if not totp_of((await verbs.get(name)).filters).enabled:
        raise InvalidArgument(f"--recovery-codes: {name} has no one-time codes; add --enable")
    made = codes.new_recovery_codes()
    await verbs.factors.set_recovery_codes(name, [hash_recovery_code(one) for one in made], by=actor)
    return made


async def _elsewhere(kind: Kind, name: str, given: TotpFlags, where: Where) -> dict[str, Any]:
    """Switch codes off on a running server; people set theirs up themselves."""
    if not given.disable:
        raise InvalidArgument(
            "--url: only --disable; people set codes up by themselves (POST /api/v2/user/totp/save), or a "
            "command on the server does"
        )
    from tidegate.cli.remote import RemoteTarget

    async with where.opened() as target:
        assert isinstance(target, RemoteTarget)
        await target.disable_second_factor(f"{kind}s", name)
    return {"username": name, "enabled": False}


def show(document: dict[str, Any], *, as_json: bool) -> None:
    """Print the answer of `totp`."""
    if as_json:
        say_json(document)
        return
    state = "asked for" if document["enabled"] else "not asked for"
    where = f" over {', '.join(document['protocols'])}" if document.get("protocols") else ""
    say(f"{document['username']}: one-time codes are {state}{where}")
    if "secret" in document:
        say(f"secret {document['secret']}")
        say(f"url {document['url']}")
        say("Shown only now: hand it to the user, who types it into an authenticator program.")
    if "recovery_codes" in document:
        say("recovery codes, each good once, shown only now:")
        for code in document["recovery_codes"]:
            say(f"  {code}")
    elif document.get("codes_left"):
        say(f"{document['codes_left']} recovery codes are left")
