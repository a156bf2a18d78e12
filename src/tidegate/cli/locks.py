# SPDX-License-Identifier: Apache-2.0
"""``tidegate locks``: write locks of clients at a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.provider import run
from tidegate.cli.spread import spread
from tidegate.cli.terminal import say, say_json, say_table
from tidegate.cli.where import Where

app = flags.group("Write locks of clients (WebDAV) at a running server (--url).")


@app.command("list")
@spread
def list_locks(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List locks: who keeps which file from being changed, and for how long."""

    async def work() -> None:
        async with where.opened() as target:
            found = await target.locks.all()
        if as_json:
            say_json(found)
            return
        rows = (
            (
                lock["token"],
                lock["username"],
                lock["path"],
                lock["scope"],
                lock["depth"],
                f"{lock['expires_in']:.0f} s",
                lock["owner"],
            )
            for lock in found
        )
        say_table(("token", "user", "path", "scope", "depth", "ends in", "owner"), rows)

    run(work())


@app.command("remove")
@spread
def remove(
    *,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Of the lock, as `locks list` shows it.")],
    where: Where,
) -> None:
    """End a lock; whoever holds it cannot change the file by it any more."""

    async def work() -> None:
        async with where.opened() as target:
            await target.locks.remove(token)
        say(f"removed lock {token}")

    run(work())
