# SPDX-License-Identifier: Apache-2.0
"""``tidegate connections``: who is connected to a running server."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from tidegate.cli import flags
from tidegate.cli.documents import amount, when
from tidegate.cli.provider import run
from tidegate.cli.spread import spread
from tidegate.cli.target import Document
from tidegate.cli.terminal import confirm, say, say_json, say_table
from tidegate.cli.where import Where
from tidegate.errors import NotFound

MOVE: Final = "MOVE"
"""The protocol of what is no connection, but a move of files to other storage."""
app = flags.group("Who is connected to a running server (--url).")


@app.command("list")
@spread
def list_connections(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List live connections, oldest first, and moves to other storage that run."""

    async def work() -> None:
        async with where.opened() as target:
            found = await target.connections.all()
        if as_json:
            say_json(found)
            return
        rows = (
            (
                connection["connection_id"],
                connection["username"],
                connection["protocol"],
                connection["remote_address"],
                when(connection["connection_time"]),
                when(connection["last_activity"]),
                ", ".join(_moving(moving) for moving in connection["active_transfers"] or ()),
            )
            for connection in found
        )
        say_table(("id", "user", "protocol", "from", "since", "last activity", "moving"), rows)

    run(work())


def _moving(moving: Document) -> str:
    """For instance ``rename /new (3 of 10 files, 1.5 MiB of 2.0 GiB)``."""
    counts: list[str] = []
    files, all_files = moving.get("files", 0), moving.get("total_files", 0)
    if files or all_files > 1:
        counts.append(f"{files} of {all_files} files" if all_files else f"{files} files")
    total = moving.get("total_size", 0)
    counts.append(f"{amount(moving['size'])} of {amount(total)}" if total else amount(moving["size"]))
    return f"{moving['operation_type']} {moving['path']} ({', '.join(counts)})"


@app.command("close")
@spread
def close(
    *,
    who: Annotated[
        str,
        typer.Argument(metavar="ID|USERNAME", help="Id of a connection, or a user name for all of theirs."),
    ],
    yes: flags.Yes = False,
    where: Where,
) -> None:
    """End a connection, or every connection of a user; what they move is cut off.

    The id of a move to other storage stops it; the name of its user does not.
    """

    async def work() -> None:
        async with where.opened() as target:
            found = await target.connections.all()
            wanted = [one for one in found if one["connection_id"] == who] or [
                one for one in found if one["username"] == who and one["protocol"] != MOVE
            ]
            if not wanted:
                raise NotFound(f"no connection has the id {who}, and no user of that name is connected")
            users = ", ".join(sorted({one["username"] for one in wanted}))
            confirm(f"End {len(wanted)} connections of {users}?", yes=yes)
            closed = 0
            for one in wanted:
                try:
                    await target.connections.close(one["connection_id"])
                except NotFound:
                    continue  # it ended by itself meanwhile
                closed += 1
            say(f"ended {closed} connections of {users}")

    run(work())
