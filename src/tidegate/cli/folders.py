# SPDX-License-Identifier: Apache-2.0
"""``tidegate folder``: directories that several accounts can mount."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.documents import amount
from tidegate.cli.provider import run
from tidegate.cli.records import list_records, show_record
from tidegate.cli.spread import spread
from tidegate.cli.target import Document
from tidegate.cli.terminal import confirm, say
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument

app = flags.group("Directories that several accounts can mount.")

_HELP = "Directory of the server's host."


@app.command("list")
@spread
def list_folders(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List folders by name."""

    def row(f: Document) -> tuple[str, ...]:
        return (f["name"], f["mapped_path"], amount(f["used_quota_size"]), f["description"])

    list_records(
        where,
        lambda target: target.folders,
        ("name", "directory", "used", "description"),
        row,
        as_json=as_json,
    )


@app.command("show")
@spread
def show(*, name: flags.FolderName, where: Where, as_json: flags.AsJson = False) -> None:
    """Show one folder and who mounts it."""
    show_record(where, lambda target: target.folders, name, as_json=as_json)


@app.command("add")
@spread
def add(
    *,
    name: flags.FolderName,
    directory: Annotated[Path, typer.Argument(help=_HELP, show_default=False)],
    description: flags.Description = "",
    create: flags.Create = False,
    where: Where,
) -> None:
    """Add a folder. Accounts mount it with `user set NAME --document` and the field virtual_folders."""
    document = {"name": name, "mapped_path": _place(directory, where), "description": description}

    async def work() -> None:
        async with where.opened(create=create) as target:
            folder = await target.folders.add(document)
        say(f"added {folder['name']}: {folder['mapped_path']}")

    run(work())


@app.command("set")
@spread
def change(
    *,
    name: flags.FolderName,
    directory: Annotated[Path | None, typer.Option("--directory", metavar="DIR", help=_HELP)] = None,
    description: flags.NewDescription = None,
    where: Where,
) -> None:
    """Change a folder; what is not named stays. Files are not moved."""
    fields: Document = {}
    if directory is not None:
        fields["mapped_path"] = _place(directory, where)
    if description is not None:
        fields["description"] = description
    if not fields:
        raise InvalidArgument("nothing to change: name --directory or --description")

    async def work() -> None:
        async with where.opened() as target:
            folder = await target.folders.change(name, lambda stored: {**stored, **fields})
        say(f"changed {folder['name']}")

    run(work())


@app.command("del")
@spread
def delete(*, name: flags.FolderName, yes: flags.Yes = False, where: Where) -> None:
    """Remove a folder and every mount of it; its files stay."""

    async def work() -> None:
        async with where.opened() as target:
            read = await target.folders.get(name)
            folder, users = read.document, len(read.document["users"])
            confirm(f"Remove the folder {folder['name']}, mounted by {users} accounts (files stay)?", yes=yes)
            await target.folders.remove(folder["name"], version=read.version)
            say(f"removed {folder['name']}; files in {folder['mapped_path']} stay")

    run(work())


def _place(directory: Path, where: Where) -> str:
    """The directory as the server's host knows it.

    Raises:
        InvalidArgument: it is relative, and the host is another one.
    """
    if where.url and not directory.is_absolute():
        raise InvalidArgument(f"{directory}: name an absolute directory of the server's host")
    return str(directory.absolute())
