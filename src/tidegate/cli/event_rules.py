# SPDX-License-Identifier: Apache-2.0
"""``tidegate rules`` and ``tidegate actions``: what happens on which events."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from tidegate.cli import flags
from tidegate.cli.event_files import read_document
from tidegate.cli.provider import run
from tidegate.cli.records import show_record
from tidegate.cli.spread import spread
from tidegate.cli.target import Document
from tidegate.cli.terminal import confirm, say, say_json, say_table
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument

app = flags.group("Event rules: which actions run on which events.")
actions = flags.group("Event actions, which event rules run.")

RuleName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the event rule.", show_default=False)]
ActionName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the event action.", show_default=False)
]
File = Annotated[
    str, typer.Argument(metavar="FILE", help="JSON document; - reads standard input.", show_default=False)
]


@app.command("list")
@spread
def list_rules(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List active rules, those that stand for actions of the configuration first."""

    async def work() -> None:
        async with where.opened() as target:
            rules = await target.events.active_rules()
        if as_json:
            say_json(rules)
            return
        say_table(("name", "from", "on", "does"), [_row(rule) for rule in rules])

    run(work())


def _row(rule: Document) -> tuple[str, ...]:
    muted = rule.get("muted_until", 0) > time.time() * 1000
    name = f"{rule['name']} (muted)" if muted else rule["name"]
    does = ", ".join(_does(step) for step in rule["actions"]) or "nothing"
    missing = "".join(f", MISSING {one}" for one in rule.get("missing", ()))
    return name, rule["source"], ", ".join(rule["events"]) or rule["trigger"], does + missing


def _does(step: dict[str, Any]) -> str:
    words = [word for word in ("sync", "failure", "stops") if step.get(word)]
    return f"{step['does']} ({', '.join(words)})" if words else str(step["does"])


@app.command("show")
@spread
def show(*, name: RuleName, where: Where, as_json: flags.AsJson = False) -> None:
    """Show one rule that is a record."""
    show_record(where, lambda target: target.event_rules, name, as_json=as_json)


@app.command("add")
@spread
def add(*, file: File, where: Where) -> None:
    """Add a rule: a JSON document in the shape of SFTPGo's REST API."""
    document = read_document(file)

    async def work() -> None:
        async with where.opened() as target:
            stored = await target.event_rules.add(document)
        say(f"added the rule {stored['name']}; a running server takes it over within seconds")

    run(work())


@app.command("set")
@spread
def change(*, name: RuleName, file: File, where: Where) -> None:
    """Replace a rule."""
    document = read_document(file)

    async def work() -> None:
        async with where.opened() as target:
            await target.event_rules.change(name, lambda _: document)
        say(f"changed the rule {name}")

    run(work())


@app.command("del")
@spread
def delete(*, name: RuleName, yes: flags.Yes = False, where: Where) -> None:
    """Remove a rule; its actions stay."""

    async def work() -> None:
        async with where.opened() as target:
            read = await target.event_rules.get(name)
            confirm(f"Remove the event rule {name}?", yes=yes)
            await target.event_rules.remove(name, version=read.version)
        say(f"removed the rule {name}")

    run(work())


@app.command("mute")
@spread
def mute(
    *,
    name: RuleName,
    minutes: Annotated[int, typer.Option("--for", metavar="MINUTES", min=0, help="0 ends it.")] = 60,
    where: Where,
) -> None:
    """Have a rule do nothing for a while; what happens meanwhile is not told later."""
    until = int((time.time() + minutes * 60) * 1000) if minutes else 0

    async def work() -> None:
        async with where.opened() as target:
            await target.event_rules.change(name, lambda stored: {**stored, "muted_until": until})
        say(f"the rule {name} does nothing for {minutes} minutes" if minutes else f"the rule {name} is heard")

    run(work())


@app.command("run")
@spread
def run_rule(*, name: RuleName, where: Where) -> None:
    """Run a rule that is there to be run on demand; needs --url, because a server runs it."""
    if not where.url:
        raise InvalidArgument("a running server runs rules: name it with --url")

    async def work() -> None:
        async with where.opened() as target:
            await target.events.run_rule(name)
        say(f"the server runs the rule {name} now")

    run(work())


# -- actions ---------------------------------------------------------------------------------------------


@actions.command("list")
@spread
def list_actions(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List event actions by name."""

    async def work() -> None:
        async with where.opened() as target:
            found = [document async for document in target.event_actions.all()]
        if as_json:
            say_json(found)
            return
        say_table(
            ("name", "type", "description"),
            [(one["name"], _type(one["type"]), one.get("description", "")) for one in found],
        )

    run(work())


def _type(number: int) -> str:
    from tidegate.model.rule import ActionType

    return ActionType(number).name.lower().replace("_", " ")


@actions.command("show")
@spread
def show_action(*, name: ActionName, where: Where, as_json: flags.AsJson = False) -> None:
    """Show one action; secrets are never shown."""
    show_record(where, lambda target: target.event_actions, name, as_json=as_json)


@actions.command("add")
@spread
def add_action(*, file: File, where: Where) -> None:
    """Add an action: a JSON document in the shape of SFTPGo's REST API."""
    document = read_document(file)

    async def work() -> None:
        async with where.opened() as target:
            stored = await target.event_actions.add(document)
        say(f"added the action {stored['name']}: {_type(stored['type'])}")

    run(work())


@actions.command("set")
@spread
def change_action(*, name: ActionName, file: File, where: Where) -> None:
    """Replace an action; secrets that the document does not give stay."""
    document = read_document(file)

    async def work() -> None:
        async with where.opened() as target:
            await target.event_actions.change(name, lambda _: document)
        say(f"changed the action {name}")

    run(work())


@actions.command("del")
@spread
def delete_action(*, name: ActionName, yes: flags.Yes = False, where: Where) -> None:
    """Remove an action that no rule uses."""

    async def work() -> None:
        async with where.opened() as target:
            read = await target.event_actions.get(name)
            confirm(f"Remove the event action {name}?", yes=yes)
            await target.event_actions.remove(name, version=read.version)
        say(f"removed the action {name}")

    run(work())
