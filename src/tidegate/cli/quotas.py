# SPDX-License-Identifier: Apache-2.0
"""``tidegate quota``: what accounts have used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from tidegate.cli import flags, names
from tidegate.cli.counting import scan_all, scan_one
from tidegate.cli.documents import amount, when
from tidegate.cli.provider import run
from tidegate.cli.spread import spread
from tidegate.cli.terminal import say, say_json, say_table
from tidegate.cli.where import Where

app = flags.group("What accounts have used of their quotas.")

Folder = Annotated[
    str,
    typer.Option("--folder", metavar="NAME", help="This folder instead.", autocompletion=names.folders),
]

_FIELDS = (
    "quota_size",
    "quota_files",
    "used_quota_size",
    "used_quota_files",
    "last_quota_update",
    "upload_data_transfer",
    "download_data_transfer",
    "total_data_transfer",
    "used_upload_data_transfer",
    "used_download_data_transfer",
)


@app.command("show")
@spread
def show(*, name: flags.UserName, where: Where, as_json: flags.AsJson = False) -> None:
    """Show what an account may use and has used; a running server knows what is under way too."""

    async def work() -> None:
        async with where.opened() as target:
            account = (await target.users.get(name)).document
        if as_json:
            say_json({"username": account["username"], **{field: account[field] for field in _FIELDS}})
            return
        mega = 1024 * 1024
        moved_up, moved_down = account["used_upload_data_transfer"], account["used_download_data_transfer"]
        rows = (
            ("bytes stored", amount(account["used_quota_size"]), _limit(account["quota_size"], amount)),
            ("files stored", str(account["used_quota_files"]), _limit(account["quota_files"], str)),
            ("uploaded", amount(moved_up), _limit(account["upload_data_transfer"] * mega, amount)),
            ("downloaded", amount(moved_down), _limit(account["download_data_transfer"] * mega, amount)),
            ("both", amount(moved_up + moved_down), _limit(account["total_data_transfer"] * mega, amount)),
        )
        say_table(("", "used", "limit"), rows)
        say(f"counted last: {when(account['last_quota_update']) or 'never'}")

    run(work())


@app.command("scan")
@spread
def scan(
    *,
    name: flags.UserName = "",
    folder: Folder = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Count every account and every folder, one after the other.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Show how far the server is and what it counted, or only start."
        ),
    ] = True,
    where: Where,
) -> None:
    """Count files again: at once on a running server (--url), else when the server starts."""
    if bool(name) + bool(folder) + everything != 1:
        raise typer.BadParameter("give the name of a user, --folder NAME or --all", param_hint="NAME")
    if everything and not wait:
        raise typer.BadParameter("the server counts one after the other", param_hint="--all with --no-wait")

    async def work() -> None:
        async with where.opened() as target:
            if everything:
                say(await scan_all(target))
            elif folder:
                say(await scan_one(target, "folder", folder, wait=wait))
            else:
                say(await scan_one(target, "user", name, wait=wait))

    run(work())


@app.command("cancel")
@spread
def cancel(*, name: flags.UserName = "", folder: Folder = "", where: Where) -> None:
    """End the count of a user or a folder that a running server makes (--url); what was recorded stays."""
    if bool(name) == bool(folder):
        raise typer.BadParameter("give the name of a user, or --folder NAME", param_hint="NAME")

    async def work() -> None:
        async with where.opened() as target:
            say(await target.quotas.cancel("folder" if folder else "user", folder or name))

    run(work())


@app.command("scans")
@spread
def scans(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List what a running server counts now, and how far it is."""

    async def work() -> None:
        async with where.opened() as target:
            found = await target.quotas.running()
        if as_json:
            say_json(found)
            return
        rows = (
            (
                scan["kind"],
                scan["name"],
                when(scan["start_time"]),
                str(scan["used_quota_files"]),
                amount(scan["used_quota_size"]),
            )
            for scan in found
        )
        say_table(("kind", "name", "since", "files", "bytes"), rows)

    run(work())


def _limit(number: int, shown: Callable[[int], str]) -> str:
    return shown(number) if number else "none"
