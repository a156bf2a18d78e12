# SPDX-License-Identifier: Apache-2.0
"""``tidegate events``: deliveries of event rules that are not over, and trying a rule on an event."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import typer

from tidegate.cli import flags
from tidegate.cli.event_files import read_document
from tidegate.cli.provider import run
from tidegate.cli.spread import spread
from tidegate.cli.target import Document
from tidegate.cli.terminal import confirm, say, say_json, say_table
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument

app = flags.group("Deliveries of event rules, and trying a rule on an event.")

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Of deliveries.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="Every delivery that was given up.")]


@app.command("list")
@spread
def list_events(
    *,
    state: Annotated[
        Literal["all", "waiting", "dead"],
        typer.Option("--state", metavar="STATE", help="waiting (for the next try), dead (given up) or all."),
    ] = "all",
    where: Where,
    as_json: flags.AsJson = False,
) -> None:
    """List deliveries that have not reached their receiver, the oldest first."""

    async def work() -> None:
        async with where.opened() as target:
            rows = await target.events.deliveries("" if state == "all" else state)
        if as_json:
            say_json(rows)
            return
        say_table(("id", "rule", "state", "tries", "next try", "event", "path", "error"), map(_row, rows))

    run(work())


def _row(row: Document) -> tuple[str, ...]:
    wait = max(int(row["next_try"] / 1000 - time.time()), 0)
    due = "" if row["state"] == "dead" else f"in {wait} s"
    event = f"{row['event']} {row['username']}".strip()
    return (row["id"], row["rule"], row["state"], str(row["tries"]), due, event, row["path"], row["error"])


@app.command("retry")
@spread
def retry(*, ids: Ids = None, everything: All = False, where: Where) -> None:
    """Send deliveries again now; a running server does it within seconds."""
    chosen = _chosen(ids, everything=everything)

    async def work() -> None:
        async with where.opened() as target:
            count = await target.events.retry(chosen)
        say(f"{count} deliveries are tried again")

    run(work())


@app.command("drop")
@spread
def drop(*, ids: Ids = None, everything: All = False, yes: flags.Yes = False, where: Where) -> None:
    """Forget deliveries: their receivers are never told."""
    chosen = _chosen(ids, everything=everything)

    async def work() -> None:
        async with where.opened() as target:
            confirm(
                f"Drop {'every dead delivery' if chosen is None else f'{len(chosen)} deliveries'}?", yes=yes
            )
            count = await target.events.drop(chosen)
        say(f"{count} deliveries are dropped")

    run(work())


def _chosen(ids: list[str] | None, *, everything: bool) -> list[str] | None:
    if bool(ids) == everything:
        raise InvalidArgument("name deliveries by their ids, or give --all")
    return None if everything else ids


@app.command("test")
@spread
def try_rule(
    *,
    name: Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule.", show_default=False)],
    event: Annotated[
        str,
        typer.Option(
            "--event", metavar="FILE", help="JSON: fields of an event (docs/reference/event-rules.md)."
        ),
    ],
    where: Where,
    as_json: flags.AsJson = False,
) -> None:
    """Tell what a rule would do on an event; nothing is run."""
    document = read_document(event)

    async def work() -> Document:
        async with where.opened() as target:
            return await target.events.test(name, document, event)

    outcome = run(work())
    if as_json:
        say_json(outcome)
        return
    if outcome["refusal"]:
        say(f"NOTHING  {name}: {outcome['refusal']}")
        return
    say(f"RUNS  {name}{' before the client is answered' if outcome['waits'] else ''}")
    for index, step in enumerate(outcome["steps"], start=1):
        say(f"  {index}. {step['name']}: {step['does']}")
        for key, value in step["with"].items():
            say(f"     {key}  {value}")
