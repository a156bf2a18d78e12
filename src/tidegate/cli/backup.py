# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate dumpdata`` and ``loaddata``: backup and restore of the data provider."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.provider import Desk, opened, run
from tidegate.cli.terminal import note, say, say_json, say_table
from tidegate.errors import InvalidArgument
from tidegate.model import Account, Admin, Folder


def dumpdata(
    file: Annotated[Path, typer.Argument(help="File to write; - is standard output.", show_default=False)],
    scopes: Annotated[
        str | None,
        typer.Option("--scopes", help="Only these, comma separated: users,folders,admins,api_keys."),
    ] = None,
    indent: Annotated[bool, typer.Option("--indent", help="Write for people to read.")] = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Write all accounts, folders, administrators and keys into one JSON file.

    The file holds password hashes: it is made readable for you alone.
    """

    async def work() -> None:
        from tidegate.store.dump import SCOPES, dump

        wanted = SCOPES if scopes is None else flags.listed(scopes)
        async with opened(config_dir, config_file) as desk:
            chunks = dump(desk.provider, wanted, indent=indent)
            if str(file) == "-":
                async for chunk in chunks:
                    sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
                return
            target = file.absolute()
            # Beside the target and renamed over it: a dump that broke off never replaces a good one.
            fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                with open(fd, "wb") as output:
                    async for chunk in chunks:
                        output.write(chunk)
                    output.flush()
                    os.fsync(output.fileno())
                Path(name).replace(target)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
            say(f"wrote {target}, {target.stat().st_size} bytes")

    run(work())


def loaddata(
    file: Annotated[Path, typer.Argument(help="Dump of Tidegate, or SFTPGo 0.9 to 2.x.", show_default=False)],
    mode: Annotated[
        int,
        typer.Option("--mode", min=0, max=2, help="0 adds and updates, 1 adds what is missing, 2 as 0."),
    ] = 0,
    scan_quota: Annotated[
        int,
        typer.Option(
            "--scan-quota",
            min=0,
            max=2,
            help="Count files again at the next start: 0 nobody's, 1 everybody's, 2 of loaded users "
            "with a quota.",
        ),
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    create: flags.Create = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Read a dump into the data provider: all of it, or nothing if any record is wrong."""

    async def work() -> None:
        from tidegate import wiring
        from tidegate.store.dump import load_file

        if file.is_dir():
            raise InvalidArgument(f"{file} is a directory; name a dump in it{_dumps_in(file)}")
        if not file.is_file():
            raise InvalidArgument(f"{file}: no such file")
        async with opened(config_dir, config_file, create=create) as desk:
            if scan_quota and not desk.loaded.settings.data_provider.track_quota:
                raise InvalidArgument("--scan-quota: usage is not tracked, data_provider.track_quota is 0")
            if dry_run:
                rows, notes = await _compare(desk, file, mode)
            else:
                report = await load_file(
                    desk.provider,
                    file,
                    mode=mode,
                    rules=desk.rules,
                    hash_password=wiring.password_hasher(desk.loaded),
                )
                rows, notes = list(report.rows), list(report.notes)
                if scan_quota:
                    marked = await _mark_for_scan(desk, rows, everybody=scan_quota == 1)
                    note(f"files of {marked} users are counted when the server starts")
        for text in notes:
            note(text)
        if as_json:
            say_json([dict(zip(("kind", "name", "action"), row, strict=True)) for row in rows])
        else:
            say_table(("kind", "name", "action"), rows)
            say("nothing was changed (dry run)" if dry_run else f"loaded {len(rows)} records")

    run(work())


def _dumps_in(directory: Path) -> str:
    """The newest file that may be meant, as the end of a sentence."""
    found = [path for path in directory.glob("*.json") if path.is_file()]
    return f", for instance {max(found, key=lambda path: path.stat().st_mtime)}" if found else ""


async def _compare(desk: Desk, file: Path, mode: int) -> tuple[list[tuple[str, str, str]], list[str]]:
    """What a load would do, record by record; every record is decoded and checked as in a load."""
    from tidegate import wiring
    from tidegate.accounts.administrators import owners, owners_kept
    from tidegate.store.dump import file_batches

    options = wiring.provider_options(desk.loaded)
    provider, rows, notes = desk.provider, list[tuple[str, str, str]](), list[str]()
    async with (
        contextlib.aclosing(file_batches(file, options, notes)) as read,
        contextlib.aclosing(owners_kept(read, await owners(provider), add_only=mode == 1)) as batches,
    ):
        async for batch in batches:
            for record in batch:
                stored: object
                match record:
                    case Account():
                        kind, name = "user", record.username
                        stored = await provider.user(name)
                    case Folder():
                        kind, name = "folder", record.name
                        stored = await provider.folder(name)
                    case Admin():
                        kind, name = "admin", record.username
                        stored = await provider.admin(name)
                    case _:
                        kind, name = "api_key", record.id
                        stored = await provider.api_key(name)
                action = "added" if stored is None else "kept" if mode == 1 else "updated"
                rows.append((kind, name, action))
    return rows, notes


async def _mark_for_scan(desk: Desk, rows: list[tuple[str, str, str]], *, everybody: bool) -> int:
    """Mark accounts as uncounted; the server counts marked ones when it starts."""
    marked = 0
    if everybody:
        names = [account.username async for account in desk.provider.iter_users()]
    else:
        names = []
        for kind, name, action in rows:
            if kind == "user" and action != "kept":
                account = await desk.provider.user(name)
                if account is not None and (account.quota_size or account.quota_files):
                    names.append(name)
    for name in names:
        await desk.provider.mark_usage(name, dirty=True)
        marked += 1
    return marked
