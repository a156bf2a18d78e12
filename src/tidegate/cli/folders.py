# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate folder``: directories that several accounts can mount."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from tidegate.cli import flags
from tidegate.cli.documents import amount, detail_rows
from tidegate.cli.provider import opened, run
from tidegate.cli.terminal import confirm, say, say_json, say_table
from tidegate.errors import NotFound
from tidegate.model import Folder

PAGE: Final = 500
"""records read at a time"""

app = flags.group("Directories that several accounts can mount.")


@app.command("list")
def list_folders(
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """List folders by name."""

    async def work() -> None:
        from tidegate.store.documents import encode_folder

        found: list[Folder] = []
        async with opened(config_dir, config_file) as desk:
            while page := await desk.provider.folders(offset=len(found), limit=PAGE):
                found += page
        if as_json:
            say_json([encode_folder(folder, confidential=False) for folder in found])
        else:
            rows = ((f.name, f.mapped_path, amount(f.used_quota_size), f.description) for f in found)
            say_table(("name", "directory", "used", "description"), rows)

    run(work())


@app.command("show")
def show(
    name: flags.FolderName,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Show one folder and who mounts it."""

    async def work() -> None:
        from tidegate.store.documents import encode_folder

        async with opened(config_dir, config_file) as desk:
            folder = await desk.provider.folder(name)
            if folder is None:
                raise NotFound(f"no such folder: {name}")
            users = await desk.provider.folder_users(name)
        document = encode_folder(folder, confidential=False, users=users)
        if as_json:
            say_json(document)
        else:
            say_table(("field", "value"), detail_rows(document))

    run(work())


@app.command("add")
def add(
    name: flags.FolderName,
    directory: Annotated[Path, typer.Argument(help="Directory of this host.", show_default=False)],
    description: flags.Description = "",
    create: flags.Create = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Add a folder. Accounts mount it with `user set NAME --document` and the field virtual_folders."""

    async def work() -> None:
        from tidegate.store.documents import decode_folder

        document = {"name": name, "mapped_path": str(directory.absolute()), "description": description}
        async with opened(config_dir, config_file, create=create) as desk:
            wanted = decode_folder(document, rules=desk.rules)
            await desk.giver.check_folder(wanted, None)
            folder = await desk.provider.add_folder(wanted)
        say(f"added {folder.name}: {folder.mapped_path}")

    run(work())


@app.command("del")
def delete(
    name: flags.FolderName,
    yes: flags.Yes = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Remove a folder and every mount of it; its files stay."""

    async def work() -> None:
        async with opened(config_dir, config_file) as desk:
            folder = await desk.provider.folder(name)
            if folder is None:
                raise NotFound(f"no such folder: {name}")
            users = await desk.provider.folder_users(name)
            confirm(f"Remove the folder {name}, mounted by {len(users)} accounts (files stay)?", yes=yes)
            await desk.provider.delete_folder(name)
            say(f"removed {name}; files in {folder.mapped_path} stay")

    run(work())
