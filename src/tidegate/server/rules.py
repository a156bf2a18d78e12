# SPDX-License-Identifier: Apache-2.0
"""Makes the event rules of a server, those of the configuration and of records, and who runs them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from tidegate.accounts.versions import Record
from tidegate.actions.accounts import Completer
from tidegate.actions.active import ActiveRules
from tidegate.actions.deliveries import DeliveryTiming, RulesSink
from tidegate.actions.hooks import HookRunner
from tidegate.actions.inspector import RuleInspector
from tidegate.actions.runner import Runner
from tidegate.config.load import Loaded
from tidegate.errors import ConfigError, ProviderUnavailable
from tidegate.events.bus import Bus
from tidegate.events.documents import NAMES
from tidegate.events.outbox import KeptUse, Outbox
from tidegate.inspection.inspections import Inspections
from tidegate.model import Account
from tidegate.outgoing.http import HttpCaller
from tidegate.outgoing.programs import Programs
from tidegate.rules.book import Rule, RuleBook
from tidegate.rules.translate import configured_rules
from tidegate.store.contract import Provider
from tidegate.vfs.usage.lease import server_name

SINK: Final = "event rules"
"""The name of the cursor in the outbox."""
_ORIGIN: Final = "event_origin"
"""The setting with the beginning of ids of events of one data provider."""
PROGRAMS: Final = 32
WAITING: Final = 512
"""Programs that run at once, and that wait for one to end; requests likewise."""

log = logging.getLogger(__name__)


def rules_of_configuration(loaded: Loaded) -> list[Rule]:
    """The rules that the configuration's actions stand for.

    Raises:
        ConfigError: naming each mistake.
    """
    settings = loaded.settings
    rules, problems = configured_rules(
        settings.common.actions.model_dump(), settings.data_provider.actions.model_dump()
    )
    if problems:
        raise ConfigError(problems)
    return rules


class EventRules:
    """Life: constructed (pure), `start`, `refresh`..., `stop`.

    Args:
        loaded: the configuration.
        provider: the data provider.
        bus: events go over it.
        find: an account by name, stored or not.

    Raises:
        ConfigError: an action of the configuration cannot be used.
    """

    def __init__(
        self, loaded: Loaded, provider: Provider, bus: Bus, find: Callable[[str], Awaitable[Account | None]]
    ) -> None:
        self._loaded = loaded
        self._provider = provider
        self._bus = bus
        self._configured = rules_of_configuration(loaded)
        self._programs = Programs(PROGRAMS, WAITING, directory=str(loaded.config_dir.absolute()))
        self._http = HttpCaller(at_once=PROGRAMS, waiting=WAITING)
        self._origin = ""
        self._server = server_name(str(loaded.config_dir))
        self.active = ActiveRules(RuleBook(tuple(self._configured)))
        self.runner = Runner(HookRunner(self._programs, self._http), {}, Completer(find, self._record))
        events = loaded.settings.events
        self.sink = RulesSink(
            self.active,
            self.runner,
            provider.deliveries,
            server=self._server,
            origin=self._event_origin,
            limit=events.outbox_limit,
            timing=DeliveryTiming(give_up_seconds=events.give_up_hours * 3600.0),
        )
        self.inspector = RuleInspector(self.active, self.runner)
        self._inspections: Inspections | None = None
        self._make_outbox: Callable[[list[KeptUse]], Outbox] | None = None

    def use(self) -> KeptUse:
        """The kept sink that hands events to rules."""
        return KeptUse(SINK, self.sink, NAMES, active=self.active.names, wants=self.active.wants)

    async def start(self, inspections: Inspections, make_outbox: Callable[[list[KeptUse]], Outbox]) -> None:
        """Read the records and follow their changes; a data provider that is away is asked again later.

        Args:
            inspections: rules are asked with them.
            make_outbox: makes one if there is none by the time that there are rules.
        """
        for rule in self._configured:
            log.info("event rule %s: %s", rule.name, _shown(rule))
        await self._take_over()
        self._inspections = inspections
        self.active.on_change(self._look)
        self._look()
        self._make_outbox = make_outbox

    def _look(self) -> None:
        if self._inspections is not None:
            self._inspections.replace(self.inspector.use())
        self._bus.look()

    async def refresh(self) -> None:
        """Read the records again, and have the outbox opened if there are rules by now."""
        await self._take_over()
        if self.active.book and self._bus.outbox is None and self._make_outbox is not None:
            await self._bus.keep_in(self._make_outbox([self.use()]))

    async def _take_over(self) -> None:
        try:
            book = await self._book()
        except ProviderUnavailable as error:
            log.warning("event rules cannot be read: %s", error)
            return
        self.active.replace(book)

    async def _book(self) -> RuleBook:
        return RuleBook(tuple(self._configured))

    async def _record(self, kind: str, name: str) -> Record | None:
        match kind:
            case "user":
                return await self._provider.user(name)
            case "folder":
                return await self._provider.folder(name)
            case "admin":
                return await self._provider.admin(name)
            case "api_key":
                return await self._provider.api_key(name)
            case _:
                return None

    async def _event_origin(self) -> str:
        """The beginning of ids, the same for all servers of a data provider."""
        if not self._origin:
            found = await self._provider.setting(_ORIGIN)
            if found is None:
                await self._provider.set_setting(_ORIGIN, secrets.token_hex(4))
                found = await self._provider.setting(_ORIGIN)
            self._origin = f"{found}-"
        return self._origin

    async def stop(self) -> None:
        """End what runs; the outbox is closed by then, or closed by the bus later."""
        await self._programs.close()
        await self._http.close()


def _shown(rule: Rule) -> str:
    events = ", ".join(sorted(rule.condition.events)) or "every event"
    return f"on {events}: {', '.join(step.name for step in rule.steps)}"
