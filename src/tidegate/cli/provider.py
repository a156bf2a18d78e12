# SPDX-License-Identifier: Apache-2.0
"""Opening what a command works on: the configuration, the data provider, the rules for records."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from tidegate.cli.terminal import note
from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.accounts.actor import Actor
    from tidegate.accounts.administration import Administration
    from tidegate.accounts.rules import Rules
    from tidegate.config.load import Loaded
    from tidegate.store.contract import Provider
    from tidegate.store.options import ProviderOptions

T = TypeVar("T")

GARBAGE_OBJECTS: Final = 50_000
"""New objects after which a command looks for garbage; after the usual 700 that takes a tenth of a load."""


def load_settings(config_dir: Path, config_file: str, *, quiet: bool = False) -> Loaded:
    """The configuration; its notes go to standard error.

    Raises:
        ConfigError: with every problem.
    """
    from tidegate.config.load import load

    if not config_dir.is_dir():
        raise ConfigError([Problem("--config-dir", f"{config_dir} is not a directory")])
    require_access(config_dir.absolute())
    loaded = load(config_dir.absolute(), config_file, os.environ)
    if not quiet:
        for text in loaded.notes:
            note(text)
    return loaded


@dataclass(frozen=True, slots=True)
class AdminContext:
    """The surroundings of a command on accounts.

    Attributes:
        loaded: the configuration.
        provider: the open data provider.
    """

    loaded: Loaded
    provider: Provider

    @property
    def rules(self) -> Rules:
        """The rules for valid records, by the configuration."""
        from tidegate.server import wiring

        return wiring.record_rules(self.loaded)

    @property
    def administration(self) -> Administration:
        """The administration without a server: a running one notices changes by itself."""
        from tidegate.server.administration import administration, kept_events

        return administration(self.loaded, self.provider, events=kept_events(self.loaded, self.provider))

    @property
    def actor(self) -> Actor:
        """Whoever runs the command."""
        from tidegate.server.administration import at_shell

        return at_shell()


@asynccontextmanager
async def opened(
    config_dir: Path, config_file: str, *, migrate: bool = True, create: bool = False, quiet: bool = True
) -> AsyncIterator[AdminContext]:
    """The data provider, open.

    Args:
        config_dir: directory of the configuration.
        config_file: name of its file.
        migrate: bring the schema up to date.
        create: make the database if there is none.
        quiet: leave out the configuration's notes, which `serve` and `check` tell.

    Raises:
        ConfigError, ProviderError: it cannot be opened, or there is none.
    """
    from tidegate.server import wiring
    from tidegate.store.factory import create_provider

    loaded = load_settings(config_dir, config_file, quiet=quiet)
    options = wiring.provider_options(loaded)
    if not create:
        await require_database(options)
    if loaded.settings.data_provider.driver == "memory":
        note("the memory provider forgets changes when this command ends")
    provider = create_provider(options)
    await provider.open(migrate=migrate)
    collections = gc.get_threshold()
    gc.set_threshold(GARBAGE_OBJECTS, *collections[1:])
    try:
        yield AdminContext(loaded, provider)
    finally:
        gc.set_threshold(*collections)
        await provider.close()


async def require_database(options: ProviderOptions) -> None:
    """Return if there is a database of accounts: only `serve`, `initprovider` and ``--create`` make one.

    Raises:
        ConfigError: there is none; says where it was looked for and what to type.
    """
    from tidegate import hints
    from tidegate.store.factory import database_file, has_schema

    file = database_file(options)
    if file is not None and file.exists():
        require_access(file)
    if await has_schema(options):
        return
    make = hints.typed("initprovider")
    if file is None:
        what = f"the {options.driver} database has no tables of Tidegate; to make them: {make}"
        raise ConfigError([Problem("data_provider", what)])
    what = (
        f"no database of accounts here ({file.name}). Name the server's directory with -c DIR or "
        f"TIDEGATE_CONFIG_DIR; to make a database here: {make}"
    )
    raise ConfigError([Problem(str(file.parent), what)])


def require_access(path: Path) -> None:
    """Return if a file or directory of the server can be used by whoever runs this.

    Raises:
        ConfigError: it belongs to another user; says which.
    """
    from tidegate import hints

    wanted = os.X_OK | os.R_OK if path.is_dir() else os.R_OK | os.W_OK
    if os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids):
        return
    user = hints.owner(path)
    what = f"belongs to user {user} and cannot be used by this one; try: sudo -u {user} {hints.again()}"
    raise ConfigError([Problem(str(path), what)])


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's coroutine."""
    return asyncio.run(work)
