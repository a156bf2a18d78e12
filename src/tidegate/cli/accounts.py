# SPDX-License-Identifier: Apache-2.0
"""``tidegate user``: accounts, of the provider here or of a running server."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tidegate import hints
from tidegate.cli import flags, second_factors
from tidegate.cli.account_flags import AccountFlags
from tidegate.cli.documents import account_rows, parse_permissions, read_document, read_keys
from tidegate.cli.progress import meter
from tidegate.cli.provider import run
from tidegate.cli.records import show_record
from tidegate.cli.spread import spread
from tidegate.cli.target import Document, Target
from tidegate.cli.terminal import (
    confirm,
    read_password,
    say,
    say_json,
    say_json_stream,
    say_stream,
    say_table,
)
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument, NotFound

app = flags.group("Add, show, change and remove accounts.")

PRIMARY: Final = 1
"""The kind of a group that gives home and permissions, as documents have it."""
DEFAULT_PERMISSIONS: Final = ("list", "download")


@app.command("add")
@spread
def add(
    *,
    name: flags.UserName,
    given: AccountFlags,
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    create: flags.Create = False,
    where: Where,
    as_json: flags.AsJson = False,
) -> None:
    """Add an account. Asks for a password unless a key or another way is given, or it needs none."""
    fields = {**read_document(given.document), **given.fields(), "username": name}
    inherits = any(use.get("type", 1) == PRIMARY for use in fields.get("groups", ()))
    if not inherits:
        fields.setdefault("permissions", {"/": list(DEFAULT_PERMISSIONS)})
    written = fields.get("filters", {})
    filters = {**written, **given.filters(), **given.locations(written)}
    if filters:
        fields["filters"] = filters
    has_key = bool(fields.get("public_keys"))
    needs_none = bool(filters.get("is_anonymous"))
    password = ""
    given_way = has_key or needs_none or fields.get("password")
    if password_stdin or password_file is not None or not given_way:
        password = read_password(name, stdin=password_stdin, file=password_file)

    async def work() -> None:
        async with where.opened(create=create) as target:
            if not inherits and not fields.get("home_dir") and (home := target.default_home(name)):
                fields["home_dir"] = home
            account = await target.users.add(fields, password=password)
        if as_json:
            say_json(account)
            return
        if inherits:
            say(f"added {account['username']}: what it does not say itself comes from its groups")
            return
        allowed = ", ".join(account["permissions"]["/"])
        say(f"added {account['username']}: home {account['home_dir']}, may {allowed} in /")
        if account["permissions"] == {"/": list(DEFAULT_PERMISSIONS)} and not needs_none:
            more = hints.typed("user", "set", account["username"], "--permission", "/:*")
            say(f"to allow more: {more}")

    run(work())


@app.command("set")
@spread
def change(*, name: flags.UserName, given: AccountFlags, where: Where, as_json: flags.AsJson = False) -> None:
    """Change an account; what is not named stays.

    A directory named with --permission replaces its own entry only; /dir: alone removes one. Keys replace
    all keys; `user key` adds and removes single ones.
    """
    written = read_document(given.document)
    fields = {**written, **given.fields()}
    filters = given.filters()
    if not fields and not filters and not given.locations({}):
        raise InvalidArgument("nothing to change: name at least one flag (see tidegate user set --help)")
    if fields.get("username", name) != name:
        raise InvalidArgument("--document: username cannot be changed")

    def edit(stored: Document) -> Document:
        merged: dict[str, Any] = {**stored, **fields}
        if given.permission:
            kept: dict[str, list[str]] = written.get("permissions") or stored["permissions"]
            table = {**kept, **parse_permissions(given.permission)}
            merged["permissions"] = {path: names for path, names in table.items() if names or path == "/"}
        kept_filters = {**stored["filters"], **fields.get("filters", {})}
        merged["filters"] = {**kept_filters, **filters, **given.locations(kept_filters)}
        return merged

    async def work() -> None:
        async with where.opened() as target:
            account = await target.users.change(name, edit)
        if as_json:
            say_json(account)
        else:
            say(f"changed {account['username']}")

    run(work())


@app.command("list")
@spread
def list_users(
    *,
    match: Annotated[
        str, typer.Option("--match", metavar="PATTERN", help="Only names like this, for instance 'acme*'.")
    ] = "",
    status: Annotated[
        str, typer.Option("--status", help="Only these: enabled or disabled.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0 all.")] = 0,
    where: Where,
    as_json: flags.AsJson = False,
) -> None:
    """List accounts by name."""
    if status not in ("", "enabled", "disabled"):
        raise typer.BadParameter(f"{status!r} is not enabled or disabled", param_hint="--status")

    async def work() -> None:
        from fnmatch import fnmatchcase

        async def found(target: Target) -> AsyncGenerator[Document, None]:
            left = limit or -1
            with meter("listing", "users", await target.users.count()) as progress:
                async for account in target.users.all():
                    if not sys.stdout.isatty():  # there the list itself shows how far it is
                        progress.advance()
                    if match and not fnmatchcase(account["username"], match):
                        continue
                    if status and bool(account["status"]) is not (status == "enabled"):
                        continue
                    yield account
                    left -= 1
                    if not left:
                        return

        async with where.opened() as target, contextlib.aclosing(found(target)) as accounts:
            if as_json:
                await say_json_stream(accounts)
            else:
                headers = ("name", "status", "home", "in / may", "used", "last login")
                await say_stream(headers, (account_rows(account) async for account in accounts))

    run(work())


@app.command("show")
@spread
def show(*, name: flags.UserName, where: Where, as_json: flags.AsJson = False) -> None:
    """Show one account; its password is never shown."""
    show_record(where, lambda target: target.users, name, as_json=as_json)


@app.command("del")
@spread
def delete(*, name: flags.UserName, yes: flags.Yes = False, where: Where) -> None:
    """Remove an account; its files stay."""

    async def work() -> None:
        async with where.opened() as target:
            read = await target.users.get(name)
            username, home = read.document["username"], read.document["home_dir"]
            confirm(f"Remove the account {username} (files in {home} stay)?", yes=yes)
            await target.users.remove(username, version=read.version)
            say(f"removed {username}; files in {home} stay")

    run(work())


@app.command("passwd")
@spread
def passwd(
    *,
    name: flags.UserName,
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    where: Where,
) -> None:
    """Set a new password."""

    async def work() -> None:
        async with where.opened() as target:
            username = (await target.users.get(name)).document["username"]
            password = read_password(username, stdin=password_stdin, file=password_file)
            await target.users.change(username, lambda stored: stored, password=password)
            say(f"changed the password of {username}")

    run(work())


@app.command("totp")
@spread
def totp(
    *,
    name: flags.UserName,
    given: second_factors.TotpFlags,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", help="Door that asks for codes: SSH, FTP, HTTP; all if none is named."),
    ] = None,
    where: Where,
    as_json: flags.AsJson = False,
) -> None:
    """Show whether one-time codes are asked of a user, after switching them on or off."""
    doors = [one.upper() for one in protocol or ["SSH", "FTP", "HTTP"]]
    second_factors.show(run(second_factors.totp("user", name, given, doors, where)), as_json=as_json)


@app.command("key")
@spread
def key(
    *,
    name: flags.UserName,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            "--add", metavar="FILE", help="File with public keys to add; - is standard input. Repeatable."
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="FINGERPRINT", help="Key to remove, as SHA256:... Repeatable."),
    ] = None,
    where: Where,
    as_json: flags.AsJson = False,
) -> None:
    """List an account's public keys, after adding and removing some."""

    async def work() -> None:
        from tidegate.accounts.keys import fingerprint, key_blob, parse_public_keys

        added = read_keys(add or [])

        def edit(stored: list[str]) -> list[str]:
            keys = {fingerprint(line): line for line in stored}
            for wanted in remove or []:
                if keys.pop(wanted, None) is None:
                    raise NotFound(f"{name} has no key {wanted}")
            known = {key_blob(line) for line in keys.values()}
            return [*keys.values(), *(line for line in added if key_blob(line) not in known)]

        async with where.opened() as target:
            lines = (await target.users.get(name)).document["public_keys"]
            if edit(lines) != lines:
                lines = (await target.users.set_keys(name, edit))["public_keys"]
        found = [(fingerprint(line), parse_public_keys(line)[0]) for line in lines]
        rows = [
            (mark, " ".join((",".join(one.options), one.algorithm)).strip(), one.comment)
            for mark, one in found
        ]
        if as_json:
            say_json([dict(zip(("fingerprint", "type", "comment"), row, strict=True)) for row in rows])
        else:
            say_table(("fingerprint", "type", "comment"), rows)

    run(work())
