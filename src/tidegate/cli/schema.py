# SPDX-License-Identifier: Apache-2.0
"""``tidegate initprovider``, ``revertprovider``, ``resetprovider``: the data provider's schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate import hints
from tidegate.cli import flags
from tidegate.cli.provider import load_settings, require_database, run
from tidegate.cli.terminal import confirm, say

if TYPE_CHECKING:
    from tidegate.store.options import ProviderOptions


def initprovider(
    config_dir: flags.ConfigDir = flags.HERE, config_file: flags.ConfigFile = flags.FILE
) -> None:
    """Make the data provider's tables, or bring them up to date. Safe to run again."""
    from tidegate.store import factory

    say(run(factory.initialise(_options(config_dir, config_file))))


def revertprovider(
    to_version: Annotated[
        str,
        typer.Option("--to-version", metavar="N", help="Schema version to go back to.", show_default=False),
    ],
    yes: flags.Yes = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Take the schema back to an older version, before going back to an older Tidegate."""
    from tidegate.store import factory

    options = _options(config_dir, config_file)
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


def _options(config_dir: Path, config_file: str) -> ProviderOptions:
    from tidegate.server import wiring

    return wiring.provider_options(load_settings(config_dir, config_file, quiet=True))


def _name(options: ProviderOptions) -> str:
    where = str(options.file) if options.driver in ("sqlite", "bolt", "memory") else options.name
    return f"the {options.driver} provider {where}"
