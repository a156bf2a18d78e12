# SPDX-License-Identifier: Apache-2.0
"""``tidegate quota``: what accounts have used."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.cli import flags
from tidegate.cli.documents import amount, when
from tidegate.cli.provider import run
from tidegate.cli.spread import spread
from tidegate.cli.terminal import say, say_json, say_table
from tidegate.cli.where import Where

app = flags.group("What accounts have used of their quotas.")

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
def scan(*, name: flags.UserName, where: Where) -> None:
    """Count an account's files again: at once on a running server (--url), else when the server starts."""

    async def work() -> None:
        async with where.opened() as target:
            said = await target.quotas.scan(name)
        say(said)

    run(work())


def _limit(number: int, shown: Callable[[int], str]) -> str:
    return shown(number) if number else "none"
