# SPDX-License-Identifier: Apache-2.0
"""``tidegate api-key``: keys by which programs use the REST API."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from tidegate.cli import flags
from tidegate.cli.documents import parse_expiry, when
from tidegate.cli.provider import run
from tidegate.cli.records import list_records, show_record
from tidegate.cli.spread import spread
from tidegate.cli.target import Document
from tidegate.cli.terminal import (
    confirm,
    note,
    say,
    say_json,
)
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument

app = flags.group("Keys by which programs use the REST API.")

_AS_ADMIN: Final = 1
_AS_USER: Final = 2

AdminFlag = Annotated[
    str | None,
    typer.Option(
        "--admin",
        metavar="NAME",
        help="Administrator that the key acts as; they must allow keys (admin set NAME --allow-api-keys). "
        "Without one, a program appends .NAME to the key.",
    ),
]
UserFlag = Annotated[str | None, typer.Option("--user", metavar="NAME", help="User that the key acts as.")]


@app.command("add")
@spread
def add(
    *,
    name: Annotated[str, typer.Argument(help="What the key is for.", show_default=False)],
    admin: AdminFlag = None,
    user: UserFlag = None,
    description: flags.Description = "",
    expires: flags.Expires = None,
    where: Where,
    as_json: flags.AsJson = False,
) -> None:
    """Make a key. Standard output gets the key alone, this once: only a hash of it is stored."""
    document: Document = {"name": name, "scope": _AS_ADMIN, "description": description}
    document |= _bound(admin, user)
    if expires is not None:
        document["expires_at"] = parse_expiry(expires)

    async def work() -> None:
        async with where.opened() as target:
            made = await target.api_keys.add(document)
        if as_json:
            say_json(made)
            return
        say(made["key"])
        note(f"added API key {made['id']}; keep it now, it is not shown again")

    run(work())


@app.command("set")
@spread
def change(
    *,
    key_id: flags.KeyId,
    name: Annotated[str | None, typer.Option("--name", help="What the key is for.")] = None,
    admin: AdminFlag = None,
    user: UserFlag = None,
    description: flags.NewDescription = None,
    expires: flags.Expires = None,
    where: Where,
) -> None:
    """Change a key; what is not named stays, and so does its secret. --admin '' binds it to nobody."""
    given = {"name": name, "description": description}
    fields: Document = {field: value for field, value in given.items() if value is not None}
    fields |= _bound(admin, user)
    if expires is not None:
        fields["expires_at"] = parse_expiry(expires)
    if not fields:
        raise InvalidArgument("nothing to change: name at least one flag (see tidegate api-key set --help)")

    async def work() -> None:
        async with where.opened() as target:
            changed = await target.api_keys.change(key_id, lambda stored: {**stored, **fields})
        say(f"changed API key {changed['id']}")

    run(work())


@app.command("list")
@spread
def list_keys(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List keys by id; secrets are never shown."""

    def row(key: Document) -> tuple[str, ...]:
        return (
            key["id"],
            key["name"],
            _acts_as(key),
            when(key["expires_at"]) or "never",
            when(key["last_use_at"]) or "never",
        )

    list_records(
        where,
        lambda target: target.api_keys,
        ("id", "name", "acts as", "expires", "last use"),
        row,
        as_json=as_json,
    )


@app.command("show")
@spread
def show(*, key_id: flags.KeyId, where: Where, as_json: flags.AsJson = False) -> None:
    """Show one key; its secret is never shown."""
    show_record(where, lambda target: target.api_keys, key_id, as_json=as_json)


@app.command("del")
@spread
def delete(*, key_id: flags.KeyId, yes: flags.Yes = False, where: Where) -> None:
    """Remove a key; it is void at once."""

    async def work() -> None:
        async with where.opened() as target:
            read = await target.api_keys.get(key_id)
            key = read.document
            confirm(f"Remove the API key {key['id']} ({key['name']})?", yes=yes)
            await target.api_keys.remove(key["id"], version=read.version)
            say(f"removed API key {key['id']}")

    run(work())


def _bound(admin: str | None, user: str | None) -> Document:
    """The fields that say whom a key acts as; none if nobody is named.

    Raises:
        InvalidArgument: two are named.
    """
    if admin and user:
        raise InvalidArgument("--user: a key acts as an administrator or as a user, not as both")
    if user:
        return {"scope": _AS_USER, "admin": "", "user": user}
    if admin is not None or user is not None:
        return {"scope": _AS_ADMIN, "admin": admin or "", "user": ""}
    return {}


def _acts_as(key: Document) -> str:
    if key["scope"] == _AS_USER:
        return f"user {key['user']}" if key["user"] else "any user"
    return f"administrator {key['admin']}" if key["admin"] else "any administrator"
