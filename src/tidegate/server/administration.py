# SPDX-License-Identifier: Apache-2.0
"""The administration service with what a process has to hand in: a server, a command, or a start."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from tidegate.accounts.actor import Actor, Channel, operator
from tidegate.accounts.administration import Administration
from tidegate.accounts.needs import (
    DisconnectsUsers,
    Emits,
    HashesPasswords,
    Needs,
    NoConnections,
    NoEvents,
    NoScans,
    NoTokens,
    RevokesTokens,
    StartsScans,
)
from tidegate.accounts.options import AdministrationOptions
from tidegate.config.load import Loaded
from tidegate.events.batches import KeptUse
from tidegate.events.documents import encode, name_of
from tidegate.events.factory import create_sinks
from tidegate.events.kinds import Event
from tidegate.server.sandbox import sandbox_places
from tidegate.server.secrets import sealing
from tidegate.server.wiring import homes, password_hasher, record_rules, sink_uses
from tidegate.store.contract import Provider

if TYPE_CHECKING:
    from tidegate.vfs.usage.scan import Scans


RULES_SINK: Final = "event rules"
"""The cursor of event rules in the outbox."""


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
    scans: StartsScans | None = None,
    events: Emits | None = None,
) -> Administration:
    """The administration of a provider, by the configuration; what is left out does without a server."""
    validation = loaded.settings.data_provider.password_validation
    places = sandbox_places(loaded)
    return Administration(
        provider,
        AdministrationOptions(
            rules=record_rules(loaded),
            user_bits=validation.users.min_entropy,
            admin_bits=validation.admins.min_entropy,
            endpoints=tuple(loaded.settings.storage.allowed_endpoints),
            homes=homes(loaded),
            outside=None if places is None else places.refusal,
            commands=tuple(loaded.settings.common.event_manager.enabled_commands),
        ),
        Needs(
            hashes=hashes or ThreadHasher(password_hasher(loaded)),
            connections=connections or NoConnections(),
            tokens=tokens or NoTokens(),
            scans=scans or NoScans(),
            events=events or NoEvents(),
        ),
        sealing(loaded),
    )


class ScansInTurn:
    """Counts by the scans of a running server."""

    def __init__(self, scans: Scans) -> None:
        self._scans = scans

    async def scan(self, kind: Literal["user", "folder"], name: str) -> None:
        """Start one and wait for its end."""
        start = self._scans.start_user if kind == "user" else self._scans.start_folder
        scan = await start(name)
        if scan.task is not None:
            await asyncio.wait((scan.task,))


class StoredEvents:
    """Puts events of a command into the provider's outbox, from where a server hands them on.

    Args:
        provider: open.
        uses: the kept sinks of the configuration.
        rules: tells if event rules want an event; asked once there is one.
    """

    def __init__(
        self,
        provider: Provider,
        uses: Sequence[KeptUse],
        rules: Callable[[], Awaitable[Callable[[Event], bool] | None]],
    ) -> None:
        self._provider = provider
        self._names = [use.name for use in uses]
        self._wanted = frozenset[str]().union(*(use.events for use in uses))
        self._rules = rules
        self._rules_want: Callable[[Event], bool] | None = None
        self._asked = False
        self._waiting: list[str] = []
        self._turn = asyncio.Lock()
        self._registered = False

    async def record(self, *events: Event) -> None:
        """Store events that a sink wants; what is recorded at the same time goes into one transaction."""
        if not self._asked:
            self._asked = True
            self._rules_want = await self._rules()
            if self._rules_want is not None:
                self._names.append(RULES_SINK)
        want = self._rules_want
        wanted = [
            encode(event)
            for event in events
            if name_of(event) in self._wanted or (want is not None and want(event))
        ]
        if not wanted:
            return
        self._waiting += wanted
        async with self._turn:
            batch, self._waiting = self._waiting, []
            if not batch:
                return  # whoever had the turn before has stored it
            try:
                if not self._registered:
                    # A sink that no server has opened yet gets what comes from now on.
                    await self._provider.outbox.register(self._names)
                    self._registered = True
                await self._provider.outbox.append(batch)
            except BaseException:
                self._waiting = [*batch, *self._waiting]
                raise


def kept_events(loaded: Loaded, provider: Provider) -> Emits:
    """The receivers of a command's events: to the kept sinks of the configuration; others belong to a server.

    Raises:
        ConfigError: a sink cannot be found or made.
    """
    _, kept = create_sinks(sink_uses(loaded))

    async def rules() -> Callable[[Event], bool] | None:
        if not loaded.settings.data_provider.actions.execute_on and not await provider.event_rules(limit=1):
            return None
        from tidegate.actions.active import ActiveRules
        from tidegate.server.rule_parts import stored_book

        return ActiveRules(await stored_book(loaded, provider)).wants

    return StoredEvents(provider, kept, rules)


def at_shell(channel: Channel = Channel.CLI) -> Actor:
    """Whoever runs this process."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = "operator"
    return operator(name, channel)
