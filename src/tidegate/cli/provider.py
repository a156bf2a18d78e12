# SPDX-License-Identifier: Apache-2.0
"""Opening what a command works on: the configuration, the data provider, the rules for records."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tidegate.cli.terminal import note
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.store.contract import Provider
    from tidegate.store.validate import Rules

T = TypeVar("T")


def load_settings(config_dir: Path, config_file: str, *, quiet: bool = False) -> Loaded:
    """The configuration; its notes go to standard error.

    Raises:
        ConfigError: with every problem.
    """
    from tidegate.config.load import load

    loaded = load(config_dir.absolute(), config_file, os.environ)
    if not quiet:
        for text in loaded.notes:
            note(text)
    return loaded


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command on accounts works with.

    Attributes:
        loaded: the configuration.
        provider: the open data provider.
    """

    loaded: Loaded
    provider: Provider

    @property
    def rules(self) -> Rules:
        """What a valid record is, by the configuration."""
        from tidegate import wiring

        return wiring.record_rules(self.loaded.settings)

    def hash_password(self, password: str, *, admin: bool = False, least_bits: float = 0.0) -> str:
        """A new password's hash.

        Args:
            password: in plain.
            admin: of an administrator; else of a user.
            least_bits: what the account itself asks for, beside the configuration.

        Raises:
            InvalidArgument: the password is too weak for the configuration or the account.
        """
        from tidegate import wiring
        from tidegate.policy.strength import weakness

        rules = self.loaded.settings.data_provider.password_validation
        least = max((rules.admins if admin else rules.users).min_entropy, least_bits)
        if (weak := weakness(password, least)) is not None:
            raise InvalidArgument(f"the password {weak}")
        return wiring.password_hasher(self.loaded)(password)


@asynccontextmanager
async def opened(
    config_dir: Path, config_file: str, *, migrate: bool = True, quiet: bool = False
) -> AsyncIterator[Desk]:
    """The data provider, open.

    Raises:
        ConfigError, ProviderError: it cannot be opened.
    """
    from tidegate import wiring
    from tidegate.store.factory import create_provider

    loaded = load_settings(config_dir, config_file, quiet=quiet)
    options = wiring.provider_options(loaded)
    if loaded.settings.data_provider.driver == "memory":
        note("the memory provider forgets changes when this command ends")
    provider = create_provider(options)
    await provider.open(migrate=migrate)
    try:
        yield Desk(loaded, provider)
    finally:
        await provider.close()


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's coroutine."""
    return asyncio.run(work)
