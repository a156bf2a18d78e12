# SPDX-License-Identifier: Apache-2.0
"""``tidegate initprovider``, ``revertprovider``, ``resetprovider``: the data provider's schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate import hints
from tidegate.cli import flags
from tidegate.cli.provider import load_settings, require_database, run
from tidegate.cli.terminal import confirm, say

if TYPE_CHECKING:
    from tidegate.store.options import ProviderOptions


Sql = Annotated[
    bool, typer.Option("--sql", help="Print the SQL statements and change nothing; no database is asked.")
]
FromVersion = Annotated[
    str,
    typer.Option(
        "--from-version",
        metavar="N",
        help="With --sql: the schema version that the database has; 0 is an empty database.",
    ),
]
Driver = Annotated[
    str,
    typer.Option(
        "--driver",
        metavar="DRIVER",
        help="With --sql: the kind of database: sqlite, postgresql or mysql (MariaDB too). By default "
        "that of the configuration.",
        show_default=False,
    ),
]


def initprovider(
    *,
    sql: Sql = False,
    from_version: FromVersion = "0",
    to_version: Annotated[
        str,
        typer.Option(
            "--to-version",
            metavar="N",
            help="With --sql: the schema version to reach; by default the newest.",
            show_default=False,
        ),
    ] = "",
    driver: Driver = "",
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Make the data provider's tables, or bring them up to date. Safe to run again."""
    from tidegate.store import factory

    options = _options(config_dir, config_file)
    if sql:
        _print_sql(options, driver, from_version, to_version, up=True)
        return
    _refuse_without_sql(from_version=from_version != "0", to_version=bool(to_version), driver=bool(driver))
    say(run(factory.initialise(options)))


def revertprovider(
    *,
    to_version: Annotated[
        str,
        typer.Option("--to-version", metavar="N", help="Schema version to go back to.", show_default=False),
    ],
    yes: flags.Yes = False,
    sql: Sql = False,
    from_version: Annotated[
        str,
        typer.Option(
            "--from-version",
            metavar="N",
            help="With --sql: the schema version that the database has; by default the newest.",
            show_default=False,
        ),
    ] = "",
    driver: Driver = "",
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Take the schema back to an older version, before going back to an older Tidegate."""
    from tidegate.store import factory

    options = _options(config_dir, config_file)
    if sql:
        _print_sql(options, driver, from_version, to_version, up=False)
        return
    _refuse_without_sql(from_version=bool(from_version), driver=bool(driver))
    run(require_database(options))
    confirm(f"Take the schema of {_name(options)} back to version {to_version}?", yes=yes)
    say(run(factory.revert(options, to_version)))


def resetprovider(
    yes: flags.Yes = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Remove all accounts, folders, administrators and the schema. Users' files stay."""
    from tidegate.store import factory

    options = _options(config_dir, config_file)
    run(require_database(options))
    confirm(f"Remove everything in {_name(options)}?", yes=yes)
    run(factory.revert(options, "0"))
    say(f"{_name(options)} is empty; {hints.typed('initprovider')} makes it anew")


def _print_sql(options: ProviderOptions, driver: str, before: str, after: str, *, up: bool) -> None:
    """Print the statements between two versions; empty is the newest.

    Raises:
        ProviderError: a version is unknown, or the order of both is not that of the command.
    """
    from tidegate.errors import ProviderError
    from tidegate.store import factory

    newest = factory.newest_schema()
    before, after = before or newest, after or newest
    text = factory.statements(replace(options, driver=driver or options.driver), before, after)
    if (int(before) > int(after)) is up:
        other = "revertprovider" if up else "initprovider"
        raise ProviderError(f"from version {before} to version {after} is the way of {other}")
    say(text.rstrip())


def _refuse_without_sql(**given: bool) -> None:
    """Refuse flags that would be without effect.

    Raises:
        BadParameter: one was given.
    """
    for name, there in given.items():
        if there:
            raise typer.BadParameter(f"--{name.replace('_', '-')} goes with --sql")


def _options(config_dir: Path, config_file: str) -> ProviderOptions:
    from tidegate.server import wiring

    return wiring.provider_options(load_settings(config_dir, config_file, quiet=True))


def _name(options: ProviderOptions) -> str:
    where = str(options.file) if options.driver in ("sqlite", "bolt", "memory") else options.name
    return f"the {options.driver} provider {where}"
