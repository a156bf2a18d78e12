# SPDX-License-Identifier: Apache-2.0
"""``tidegate quarantine``: uploads that were refused and are kept apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.provider import run
from tidegate.cli.spread import spread
from tidegate.cli.terminal import say, say_json, say_table
from tidegate.cli.where import Where

if TYPE_CHECKING:
    from tidegate.cli.target import Document

app = flags.group("Uploads that an inspector refused and that are kept apart.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the file, as `quarantine list` shows it.")]


@app.command("list")
@spread
def list_files(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List files in quarantine, oldest first."""

    async def work() -> None:
        async with where.opened() as target:
            found = await target.quarantine.all()
        if as_json:
            say_json(found)
            return
        rows = ((one["id"], one["username"], one["path"], str(one["size"]), one["reason"]) for one in found)
        say_table(("id", "user", "path", "bytes", "why"), rows)

    run(work())


@app.command("show")
@spread
def show(*, name: Id, where: Where, as_json: flags.AsJson = False) -> None:
    """Show whose upload a file was, where it came from, and who refused it."""

    async def work() -> None:
        async with where.opened() as target:
            found = await target.quarantine.get(name)
        if as_json:
            say_json(found)
            return
        say_table(("what", "value"), ((key, _text(key, value)) for key, value in found.items()))

    run(work())


def _text(key: str, value: object) -> str:
    if key == "at" and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="seconds")
    return str(value)


@app.command("release")
@spread
def release(
    *,
    name: Id,
    where: Where,
    to: Annotated[
        str, typer.Option("--to", metavar="PATH", help="Another path of the account.", show_default=False)
    ] = "",
) -> None:
    """Publish a file as an upload of its account, at a running server (--url).

    Its permissions, patterns and quotas hold; inspectors are not asked again.
    """

    async def work() -> None:
        async with where.opened() as target:
            said: Document = await target.quarantine.release(name, to)
        say(str(said["message"]))

    run(work())


@app.command("drop")
@spread
def drop(*, name: Id, where: Where) -> None:
    """Remove a file for good."""

    async def work() -> None:
        async with where.opened() as target:
            await target.quarantine.drop(name)
        say(f"removed {name}")

    run(work())
