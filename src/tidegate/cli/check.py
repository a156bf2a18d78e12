# SPDX-License-Identifier: Apache-2.0
"""``tidegate check``: is this configuration going to work, and what would listen where?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tidegate.cli import check_doors, check_rooms, flags
from tidegate.cli.check_files import files
from tidegate.cli.check_provider import provider
from tidegate.cli.check_sandbox import homes_outside, sandbox
from tidegate.cli.provider import load_settings, run
from tidegate.cli.terminal import say
from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded

PARTS: Final[tuple[Callable[[Loaded, list[Problem]], Iterator[str]], ...]] = (
    check_doors.ssh,
    check_doors.ftp,
    check_doors.webdav,
    check_doors.http,
    check_doors.other_doors,
    files,
    check_rooms.limits,
    check_rooms.identity,
    check_rooms.hooks,
    check_rooms.events,
    check_rooms.inspection,
    check_rooms.list_and_location_files,
    check_rooms.storages,
    check_rooms.secrets,
    check_rooms.cluster,
    check_rooms.syslog,
    sandbox,
)
"""Each adds what is wrong to a list, and yields what an operator wants to know."""


def check(
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
    storage: Annotated[
        bool,
        typer.Option(
            "--storage",
            help="Also ask the buckets and services that accounts and folders name. An object of some bytes "
            "is written to each, read and removed.",
        ),
    ] = False,
) -> None:
    """Check configuration and environment; changes nothing.

    Names the key and the file of every problem, and says what would listen where.
    """
    from tidegate.cli.terminal import note, say_json

    try:
        loaded = load_settings(config_dir, config_file, quiet=as_json)
    except ConfigError as error:
        if as_json:
            say_json(_verdict(error.problems))
        raise
    problems: list[Problem] = []
    facts: list[str] = [f"configuration: {loaded.file or 'none, defaults and environment'}"]
    for inspect in PARTS:
        facts += inspect(loaded, problems)
    notes = check_rooms.hook_notes(loaded)
    if loaded.settings.identity.openbridge.host:
        from tidegate.cli.openbridge import check_tables

        facts += run(check_tables(loaded, problems, notes))
    facts += run(provider(loaded, problems, notes))
    if loaded.settings.sandbox.mode != "off":
        run(homes_outside(loaded, notes))
    if storage and not problems:
        from tidegate.cli.storage_trial import try_storages

        facts += run(try_storages(config_dir, config_file, problems))
    if as_json:
        say_json(_verdict(problems, facts, [*loaded.notes, *notes]))
    else:
        for fact in facts:
            say(fact)
        for text in notes:
            note(text)
    if problems:
        raise ConfigError(problems)
    if not as_json:
        if count := len(loaded.notes) + len(notes):
            note(f"{count} remarks above")
        say("no problems found")


def _verdict(
    problems: Sequence[Problem], facts: Sequence[str] = (), notes: Sequence[str] = ()
) -> dict[str, object]:
    """The document of ``--json``."""
    return {
        "ok": not problems,
        "facts": list(facts),
        "notes": list(notes),
        "problems": [{"where": problem.where, "what": problem.what} for problem in problems],
    }
