# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate admin``: those who may manage the server over REST."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from tidegate.cli import flags
from tidegate.cli.documents import when
from tidegate.cli.provider import opened, run
from tidegate.cli.terminal import confirm, read_password, say, say_json, say_table
from tidegate.errors import NotFound
from tidegate.model import Admin

PAGE: Final = 500
"""records read at a time"""

app = flags.group("Administrators of the REST API.")


@app.command("add")
def add(
    name: flags.AdminName,
    permission: Annotated[
        list[str] | None,
        typer.Option(
            "--permission", "-g", help="What they may do, for instance view_users; * is everything."
        ),
    ] = None,
    email: flags.Email = "",
    description: flags.Description = "",
    allowed_ip: flags.AllowedIp = None,
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    create: flags.Create = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Add an administrator, with all permissions unless some are named."""
    names = [word for text in permission or ["*"] for word in flags.listed(text)]
    document = {
        "username": name,
        "permissions": names,
        "email": email,
        "description": description,
        "filters": {"allow_list": allowed_ip or []},
    }
    password = read_password(name, stdin=password_stdin, file=password_file)

    async def work() -> None:
        from tidegate.store.documents import decode_admin

        async with opened(config_dir, config_file, create=create) as desk:
            document["password"] = desk.hash_password(password, admin=True)
            admin = await desk.provider.add_admin(decode_admin(document, rules=desk.rules))
            say(f"added administrator {admin.username}: may {', '.join(admin.permissions)}")

    run(work())


@app.command("list")
def list_admins(
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """List administrators by name."""

    async def work() -> None:
        from tidegate.store.documents import encode_admin

        found: list[Admin] = []
        async with opened(config_dir, config_file) as desk:
            while page := await desk.provider.admins(offset=len(found), limit=PAGE):
                found += page
        if as_json:
            say_json([encode_admin(admin, confidential=False) for admin in found])
            return
        rows = (
            (
                a.username,
                "enabled" if a.status == 1 else "disabled",
                ",".join(a.permissions),
                when(a.last_login) or "never",
            )
            for a in found
        )
        say_table(("name", "status", "may", "last login"), rows)

    run(work())


@app.command("del")
def delete(
    name: flags.AdminName,
    yes: flags.Yes = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Remove an administrator and their API keys; the last enabled one with all permissions stays."""

    async def work() -> None:
        from tidegate.accounts.administrators import check_owner_remains

        async with opened(config_dir, config_file) as desk:
            admin = await desk.provider.admin(name)
            if admin is None:
                raise NotFound(f"no such administrator: {name}")
            await check_owner_remains(desk.provider, admin, None)
            confirm(f"Remove the administrator {name}?", yes=yes)
            await desk.provider.delete_admin(name)
            say(f"removed administrator {name}")

    run(work())


@app.command("passwd")
def passwd(
    name: flags.AdminName,
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Set a new password."""

    async def work() -> None:
        from dataclasses import replace

        async with opened(config_dir, config_file) as desk:
            admin = await desk.provider.admin(name)
            if admin is None:
                raise NotFound(f"no such administrator: {name}")
            password = read_password(name, stdin=password_stdin, file=password_file)
            hashed = desk.hash_password(password, admin=True)
            await desk.provider.update_admin(replace(admin, password=hashed))
            say(f"changed the password of administrator {name}")

    run(work())
