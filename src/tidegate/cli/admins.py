# SPDX-License-Identifier: Apache-2.0
"""``tidegate admin``: those who may manage the server over REST."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import flags, second_factors
from tidegate.cli.documents import when
from tidegate.cli.provider import run
from tidegate.cli.records import list_records, show_record
from tidegate.cli.spread import spread
from tidegate.cli.target import Document
from tidegate.cli.terminal import (
    confirm,
    read_password,
    say,
)
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument

app = flags.group("Administrators of the REST API.")

Permissions = Annotated[
    list[str] | None,
    typer.Option("--permission", "-g", help="What they may do, for instance view_users; * is everything."),
]

AllowApiKeys = Annotated[
    bool | None,
    typer.Option(
        "--allow-api-keys/--no-api-keys", help="Whether API keys may act as them; a new one says no."
    ),
]


@app.command("totp")
@spread
def totp(
    *, name: flags.AdminName, given: second_factors.TotpFlags, where: Where, as_json: flags.AsJson = False
) -> None:
    """Show whether one-time codes are asked of an administrator, after switching them on or off."""
    second_factors.show(run(second_factors.totp("admin", name, given, [], where)), as_json=as_json)


@app.command("passkeys")
@spread
def passkeys(
    *,
    name: flags.AdminName,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="ID", help="Remove the passkey with this id.")
    ] = None,
    remove_all: Annotated[
        bool, typer.Option("--remove-all", help="Remove every passkey, for somebody who has lost theirs.")
    ] = False,
    where: Where,
    as_json: flags.AsJson = False,
) -> None:
    """List the passkeys of an administrator, after removing some. They are added in the web admin."""
    from tidegate.cli import passkeys as work

    found = run(work.passkeys(name, remove or [], where, everything=remove_all))
    work.show(name, found, as_json=as_json)


@app.command("add")
@spread
def add(
    *,
    name: flags.AdminName,
    permission: Permissions = None,
    email: flags.Email = "",
    description: flags.Description = "",
    allowed_ip: flags.AllowedIp = None,
    allow_api_keys: AllowApiKeys = None,
    role: flags.RoleOf = None,
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    create: flags.Create = False,
    where: Where,
) -> None:
    """Add an administrator, with all permissions unless some are named.

    One with a role sees and changes only the accounts that have it, and needs permissions to be named.
    """
    document = {
        "username": name,
        "permissions": _names(permission or ["*"]),
        "email": email,
        "role": role or "",
        "description": description,
        "filters": {"allow_list": allowed_ip or [], "allow_api_key_auth": bool(allow_api_keys)},
    }
    password = read_password(name, stdin=password_stdin, file=password_file)

    async def work() -> None:
        async with where.opened(create=create) as target:
            admin = await target.admins.add(document, password=password)
        say(f"added administrator {admin['username']}: may {', '.join(admin['permissions'])}")

    run(work())


@app.command("set")
@spread
def change(
    *,
    name: flags.AdminName,
    permission: Permissions = None,
    email: flags.NewEmail = None,
    description: flags.NewDescription = None,
    allowed_ip: flags.AllowedIp = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether they may log in.")
    ] = None,
    allow_api_keys: AllowApiKeys = None,
    role: flags.RoleOf = None,
    where: Where,
) -> None:
    """Change an administrator; what is not named stays. Their tokens become void."""
    fields: Document = {
        "permissions": _names(permission) if permission else None,
        "email": email,
        "role": role,
        "description": description,
        "status": None if enabled is None else int(enabled),
    }
    fields = {field: value for field, value in fields.items() if value is not None}
    filters: Document = {}
    if allowed_ip is not None:
        filters["allow_list"] = [item for item in allowed_ip if item]
    if allow_api_keys is not None:
        filters["allow_api_key_auth"] = allow_api_keys
    if not fields and not filters:
        raise InvalidArgument("nothing to change: name at least one flag (see tidegate admin set --help)")

    def edit(stored: Document) -> Document:
        return {**stored, **fields, "filters": {**stored["filters"], **filters}}

    async def work() -> None:
        async with where.opened() as target:
            admin = await target.admins.change(name, edit)
        say(f"changed administrator {admin['username']}")

    run(work())


@app.command("list")
@spread
def list_admins(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List administrators by name."""

    def row(admin: Document) -> tuple[str, ...]:
        return (
            admin["username"],
            "enabled" if admin["status"] == 1 else "disabled",
            ",".join(admin["permissions"]),
            when(admin["last_login"]) or "never",
        )

    list_records(
        where, lambda target: target.admins, ("name", "status", "may", "last login"), row, as_json=as_json
    )


@app.command("show")
@spread
def show(*, name: flags.AdminName, where: Where, as_json: flags.AsJson = False) -> None:
    """Show one administrator; their password is never shown."""
    show_record(where, lambda target: target.admins, name, as_json=as_json)


@app.command("del")
@spread
def delete(*, name: flags.AdminName, yes: flags.Yes = False, where: Where) -> None:
    """Remove an administrator and their API keys; the last enabled one with all permissions stays."""

    async def work() -> None:
        async with where.opened() as target:
            read = await target.admins.get(name)
            username = read.document["username"]
            confirm(f"Remove the administrator {username}?", yes=yes)
            await target.admins.remove(username, version=read.version)
            say(f"removed administrator {username}")

    run(work())


@app.command("passwd")
@spread
def passwd(
    *,
    name: flags.AdminName,
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    where: Where,
) -> None:
    """Set a new password."""

    async def work() -> None:
        async with where.opened() as target:
            username = (await target.admins.get(name)).document["username"]
            password = read_password(username, stdin=password_stdin, file=password_file)
            await target.admins.change(username, lambda stored: stored, password=password)
            say(f"changed the password of administrator {username}")

    run(work())


def _names(texts: list[str]) -> list[str]:
    return [word for text in texts for word in flags.listed(text)]
