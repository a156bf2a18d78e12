# SPDX-License-Identifier: Apache-2.0
"""The administration service with what a process has to hand in: a server, a command, or a start."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable

from tidegate.accounts.actor import Actor, Channel, operator
from tidegate.accounts.administration import Administration
from tidegate.accounts.needs import (
    DisconnectsUsers,
    Emits,
    HashesPasswords,
    Needs,
    NoConnections,
    NoEvents,
    NoTokens,
    RevokesTokens,
)
from tidegate.accounts.options import AdministrationOptions
from tidegate.config.load import Loaded
from tidegate.server.wiring import password_hasher, record_rules
from tidegate.store.contract import Provider


class ThreadHasher:
    """Hashes passwords in threads, where no server bounds how many there are: commands, and starting."""

    def __init__(self, hash_password: Callable[[str], str]) -> None:
        self._hash = hash_password

    async def hash(self, password: str, *, source: str = "") -> str:
        """The hash."""
        del source
        return await asyncio.to_thread(self._hash, password)


def administration(
    loaded: Loaded,
    provider: Provider,
    *,
    hashes: HashesPasswords | None = None,
    connections: DisconnectsUsers | None = None,
    tokens: RevokesTokens | None = None,
    events: Emits | None = None,
) -> Administration:
    """The administration of a provider, by the configuration; what is left out does without a server."""
    validation = loaded.settings.data_provider.password_validation
    return Administration(
        provider,
        AdministrationOptions(
            rules=record_rules(loaded),
            user_bits=validation.users.min_entropy,
            admin_bits=validation.admins.min_entropy,
        ),
        Needs(
            hashes=hashes or ThreadHasher(password_hasher(loaded)),
            connections=connections or NoConnections(),
            tokens=tokens or NoTokens(),
            events=events or NoEvents(),
        ),
    )


def at_shell(channel: Channel = Channel.CLI) -> Actor:
    """Whoever runs this process."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = "operator"
    return operator(name, channel)
