# SPDX-License-Identifier: Apache-2.0
"""``tidegate group`` and ``tidegate role``: settings that accounts have in common, and sets of accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from tidegate.cli import flags
from tidegate.cli.documents import parse_home, parse_permissions, read_document
from tidegate.cli.provider import run
from tidegate.cli.records import list_records, show_record
from tidegate.cli.spread import spread
from tidegate.cli.target import Document
from tidegate.cli.terminal import confirm, say
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument

app = flags.group("Settings that several accounts inherit.")
roles = flags.group("Sets of accounts that administrators can be limited to.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFlags:
    """Values of the flags about a group; None is not given."""

    home: Annotated[
        str | None,
        typer.Option("--home", metavar="DIR", help="Home of its accounts, for instance /srv/%username%."),
    ] = None
    permission: flags.Permissions = None
    quota_size: flags.QuotaSize = None
    quota_files: flags.QuotaFiles = None
    max_sessions: flags.MaxSessions = None
    upload_bandwidth: flags.UploadBandwidth = None
    download_bandwidth: flags.DownloadBandwidth = None
    expires_in: Annotated[
        int | None,
        typer.Option(
            "--expires-in", min=0, metavar="DAYS", help="Accounts expire so long after they were made."
        ),
    ] = None
    allowed_ip: flags.AllowedIp = None
    denied_ip: flags.DeniedIp = None
    mount: Annotated[
        list[str] | None,
        typer.Option(
            "--mount", metavar="FOLDER:PATH", help="Folder that its accounts mount. Repeatable; replaces all."
        ),
    ] = None
    description: flags.NewDescription = None
    document: flags.Document = None

    def edit(self, stored: Document) -> Document:
        """The document of a group with what the flags say.

        Raises:
            InvalidArgument, BadRecord: a flag cannot be understood.
        """
        written = read_document(self.document)
        merged: dict[str, Any] = {**stored, **written}
        settings = {**(stored.get("user_settings") or {}), **(written.get("user_settings") or {})}
        filters = dict(settings.get("filters") or {})
        given = {
            "home_dir": None if self.home is None else parse_home(self.home) if self.home else "",
            "quota_size": None if self.quota_size is None else flags.size(self.quota_size),
            "quota_files": self.quota_files,
            "max_sessions": self.max_sessions,
            "upload_bandwidth": self.upload_bandwidth,
            "download_bandwidth": self.download_bandwidth,
            "expires_in": self.expires_in,
        }
        settings |= {name: value for name, value in given.items() if value is not None}
        if self.permission:
            table = {**(settings.get("permissions") or {}), **parse_permissions(self.permission)}
            settings["permissions"] = {path: names for path, names in table.items() if names}
        for name, value in (("allowed_ip", self.allowed_ip), ("denied_ip", self.denied_ip)):
            if value is not None:
                filters[name] = [item for item in value if item]
        if filters:
            settings["filters"] = filters
        if settings:
            merged["user_settings"] = settings
        if self.mount is not None:
            merged["virtual_folders"] = [_mount(text) for text in self.mount if text]
        if self.description is not None:
            merged["description"] = self.description
        return merged


def _mount(text: str) -> Document:
    folder, colon, path = text.partition(":")
    if not colon or not path.startswith("/"):
        raise InvalidArgument(f"--mount: {text[:80]!r} is not of the form FOLDER:/path")
    return {"name": folder, "virtual_path": path}


@app.command("list")
@spread
def list_groups(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List groups by name."""

    def row(group: Document) -> tuple[str, ...]:
        home = group["user_settings"]["home_dir"]
        return (group["name"], home, str(len(group["users"])), group["description"])

    list_records(
        where,
        lambda target: target.groups,
        ("name", "home", "accounts", "description"),
        row,
        as_json=as_json,
    )


@app.command("show")
@spread
def show(*, name: flags.GroupName, where: Where, as_json: flags.AsJson = False) -> None:
    """Show one group and the accounts that have it."""
    show_record(where, lambda target: target.groups, name, as_json=as_json)


@app.command("add")
@spread
def add(*, name: flags.GroupName, given: GroupFlags, create: flags.Create = False, where: Where) -> None:
    """Add a group. Accounts get it with `user add NAME --group GROUP` or `user set`."""
    document = given.edit({"name": name})

    async def work() -> None:
        async with where.opened(create=create) as target:
            group = await target.groups.add(document)
        say(f"added the group {group['name']}")

    run(work())


@app.command("set")
@spread
def change(*, name: flags.GroupName, given: GroupFlags, where: Where) -> None:
    """Change a group; what is not named stays. The next login of each account sees it."""
    if given == GroupFlags():
        raise InvalidArgument("nothing to change: name at least one flag (see tidegate group set --help)")

    async def work() -> None:
        async with where.opened() as target:
            group = await target.groups.change(name, given.edit)
        say(f"changed the group {group['name']}, which {_accounts(group)}")

    run(work())


@app.command("del")
@spread
def delete(*, name: flags.GroupName, yes: flags.Yes = False, where: Where) -> None:
    """Remove a group that no account has."""

    async def work() -> None:
        async with where.opened() as target:
            read = await target.groups.get(name)
            confirm(f"Remove the group {read.document['name']}?", yes=yes)
            await target.groups.remove(read.document["name"], version=read.version)
            say(f"removed the group {read.document['name']}")

    run(work())


@roles.command("list")
@spread
def list_roles(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List roles by name."""

    def row(role: Document) -> tuple[str, ...]:
        return (role["name"], str(len(role["users"])), ", ".join(role["admins"]), role["description"])

    list_records(
        where,
        lambda target: target.roles,
        ("name", "accounts", "administrators", "description"),
        row,
        as_json=as_json,
    )


@roles.command("show")
@spread
def show_role(*, name: flags.RoleName, where: Where, as_json: flags.AsJson = False) -> None:
    """Show one role, with the accounts and administrators that have it."""
    show_record(where, lambda target: target.roles, name, as_json=as_json)


@roles.command("add")
@spread
def add_role(
    *, name: flags.RoleName, description: flags.Description = "", create: flags.Create = False, where: Where
) -> None:
    """Add a role. Accounts and administrators get it with --role."""

    async def work() -> None:
        async with where.opened(create=create) as target:
            role = await target.roles.add({"name": name, "description": description})
        say(f"added the role {role['name']}")

    run(work())


@roles.command("set")
@spread
def change_role(*, name: flags.RoleName, description: flags.Description = "", where: Where) -> None:
    """Change the description of a role."""

    async def work() -> None:
        async with where.opened() as target:
            role = await target.roles.change(name, lambda stored: {**stored, "description": description})
        say(f"changed the role {role['name']}")

    run(work())


@roles.command("del")
@spread
def delete_role(*, name: flags.RoleName, yes: flags.Yes = False, where: Where) -> None:
    """Remove a role that nobody has."""

    async def work() -> None:
        async with where.opened() as target:
            read = await target.roles.get(name)
            confirm(f"Remove the role {read.document['name']}?", yes=yes)
            await target.roles.remove(read.document["name"], version=read.version)
            say(f"removed the role {read.document['name']}")

    run(work())


def _accounts(group: Document) -> str:
    count = len(group["users"])
    return "one account has" if count == 1 else f"{count} accounts have"
