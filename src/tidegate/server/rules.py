# SPDX-License-Identifier: Apache-2.0
"""Makes the event rules of a server, those of the configuration and of records, and who runs them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from tidegate.accounts.versions import Record
from tidegate.actions.accounts import Completer
from tidegate.actions.active import ActiveRules
from tidegate.actions.certificates import CertificateWatch
from tidegate.actions.commands import CommandActions
from tidegate.actions.deliveries import DeliveryTiming, RulesSink
from tidegate.actions.digest import Digests
from tidegate.actions.files import FileActions
from tidegate.actions.hooks import HookRunner
from tidegate.actions.inspector import RuleInspector
from tidegate.actions.messages import ChatActions, MailActions
from tidegate.actions.outcome import Outcome
from tidegate.actions.people import People
from tidegate.actions.requests import HttpActions
from tidegate.actions.retention import Retention
from tidegate.actions.runner import Runner
from tidegate.actions.schedule import Schedule
from tidegate.actions.upkeep import Upkeep
from tidegate.config.load import Loaded
from tidegate.errors import BadRecord, NotFound, ProviderUnavailable
from tidegate.events.batches import KeptUse
from tidegate.events.bus import Bus
from tidegate.events.documents import NAMES
from tidegate.events.outbox import Outbox
from tidegate.inspection.inspections import Inspections
from tidegate.model.listed import name_of_told
from tidegate.model.rule import ActionType, EventAction, Trigger
from tidegate.model.sealing import SecretPlace, is_sealed, open_value
from tidegate.outgoing.http import HttpCaller
from tidegate.rules.book import Rule, RuleBook, shown_rule
from tidegate.rules.conditions import Condition
from tidegate.rules.facts import Facts
from tidegate.server.administration import RULES_SINK
from tidegate.server.outgoing import command_options, create_caller, create_programs, http_options
from tidegate.server.rule_parts import (
    ServerParts,
    back_up,
    certificate_files,
    events_of,
    rotate_log,
    rules_of_configuration,
    smtp_options,
    stored_book,
)
from tidegate.server.secrets import sealing
from tidegate.store.contract import Provider
from tidegate.vfs.usage.lease import server_name

_ORIGIN: Final = "event_origin"
"""The setting with the beginning of ids of events of one data provider."""
PROGRAMS: Final = 32
WAITING: Final = 512
"""Programs that run at once, and that wait for one to end; requests likewise."""

log = logging.getLogger(__name__)


class EventRules:
    """Life: constructed (pure), `start`, `refresh`..., `stop`.

    Args:
        loaded: the configuration.
        provider: the data provider.
        bus: events go over it.
        parts: of the server, once it has them.

    Raises:
        ConfigError: an action of the configuration cannot be used.
    """

    def __init__(self, loaded: Loaded, provider: Provider, bus: Bus, parts: ServerParts) -> None:
        self._loaded = loaded
        self._provider = provider
        self._bus = bus
        self._configured = rules_of_configuration(loaded)
        self._programs = create_programs(loaded, at_once=PROGRAMS, waiting=WAITING)
        self._http = create_caller(loaded, at_once=PROGRAMS, waiting=WAITING)
        commands = command_options(loaded)
        self._origin = ""
        self._server = server_name(str(loaded.config_dir))
        self.active = ActiveRules(RuleBook(tuple(self._configured)))
        options = http_options(loaded).of_administrators()
        self._stored = HttpCaller(options, at_once=PROGRAMS, waiting=WAITING)
        self._insecure = HttpCaller(replace(options, verify=False), at_once=PROGRAMS, waiting=WAITING)
        self._digests = Digests()
        people = People(parts.find, provider)
        files = FileActions(parts.open_session, people)
        mail = MailActions(smtp_options(loaded), files.read, self._digests)
        self._mail = mail
        upkeep = Upkeep(
            provider,
            parts.administration,
            people,
            scans=parts,
            notify=self._notify,
            back_up=partial(back_up, loaded, provider),
            rotate=rotate_log,
        )
        requests = HttpActions(self._stored, self._insecure, self._open_secret, files.read)
        programs = CommandActions(self._programs, loaded.settings.common.event_manager.enabled_commands)
        self.runner = Runner(
            HookRunner(self._programs, self._http, commands),
            {
                ActionType.HTTP: requests.run,
                ActionType.COMMAND: programs.run,
                ActionType.EMAIL: mail.run,
                ActionType.CHAT: ChatActions(self._stored, self._open_secret, self._digests).run,
                ActionType.FILESYSTEM: files.run,
                ActionType.RETENTION: Retention(files.session, people).run,
                ActionType.BACKUP: upkeep.backup,
                ActionType.USER_QUOTA_RESET: upkeep.user_quota,
                ActionType.FOLDER_QUOTA_RESET: upkeep.folder_quota,
                ActionType.TRANSFER_QUOTA_RESET: upkeep.transfer_quota,
                ActionType.PASSWORD_EXPIRATION: upkeep.passwords,
                ActionType.USER_EXPIRATION: upkeep.expired,
                ActionType.INACTIVITY: upkeep.inactive,
                ActionType.ROTATE_LOG: upkeep.rotate_log,
            },
            Completer(parts.find, self._record),
        )
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
        self._schedule = Schedule(
            self.active,
            provider,
            self._start,
            server=self._server,
            local_time=loaded.settings.common.tz == "local",
        )
        self._certificates = CertificateWatch(
            self.active, provider, self._start, certificate_files(loaded), server=self._server
        )
        self._clocks: list[asyncio.Task[None]] = []

    def use(self) -> KeptUse:
        """The kept sink that hands events to rules."""
        active = self.active
        return KeptUse(RULES_SINK, self.sink, NAMES, active=active.names, wants=active.wants, documents=False)

    async def start(self, inspections: Inspections, make_outbox: Callable[[list[KeptUse]], Outbox]) -> None:
        """Read the records and follow their changes; a data provider that is away is asked again later.

        Args:
            inspections: rules are asked with them.
            make_outbox: makes one if there is none by the time that there are rules.
        """
        for rule in self._configured:
            log.info("event rule %s: %s", rule.name, events_of(rule))
        await self._take_over()
        self._inspections = inspections
        self.active.on_change(self._look)
        self._look()
        self._make_outbox = make_outbox
        self._clocks = [
            asyncio.create_task(self._schedule.run(), name="event rules: schedules"),
            asyncio.create_task(self._certificates.run(), name="event rules: certificates"),
        ]

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
        return await stored_book(self._loaded, self._provider)

    def shown(self) -> list[dict[str, object]]:
        """The active rules, those of the configuration included."""
        return [shown_rule(rule) for rule in self.active.book.rules]

    async def run_now(self, name: str) -> None:
        """Have a rule run that is there to be run on demand.

        Raises:
            NotFound: there is none of this name.
            BadRecord: it has another trigger, or is not active.
        """
        await self.refresh()
        record = await self._provider.event_rule(name)
        if record is None:
            raise NotFound(f"no such event rule: {name}")
        rule = self.active.book.find(name)
        if record.trigger is not Trigger.ON_DEMAND or rule is None:
            raise BadRecord("name", f"the rule {name!r} is not an active one to be run on demand")
        await self._start(rule, Facts(trigger=Trigger.ON_DEMAND, event="", at=time.time_ns()))

    async def _start(self, rule: Rule, facts: Facts) -> None:
        """Have a rule run that no event of the outbox sets off: its row is there before anybody is told."""
        facts = replace(facts, id=f"{await self._event_origin()}run-{secrets.token_hex(6)}")
        await self._provider.deliveries.add([self.sink.row_of(rule, facts)])
        self.sink.wake()

    def _open_secret(self, action: EventAction, section: str, key: str) -> str:
        value = (action.options.get(section) or {}).get(key, "")
        if is_sealed(value):
            place = SecretPlace("event_action", action.name).at(f"options.{section}.{key}")
            value = open_value(value, sealing(self._loaded), place)
        return value if isinstance(value, str) else ""

    async def _notify(self, address: str, subject: str, text: str) -> Outcome:
        options = {"email_config": {"recipients": [address], "subject": subject, "body": text}}
        action = EventAction(name="notice", type=ActionType.EMAIL, options=options)
        nobody = Facts(trigger=Trigger.ON_DEMAND, event="", at=time.time_ns())
        rule = Rule("notice", Condition(trigger=Trigger.ON_DEMAND), ())
        return await self._mail.run(action, nobody, rule)

    async def _record(self, kind: str, name: str) -> Record | None:
        match kind:
            case "user":
                return await self._provider.user(name)
            case "folder":
                return await self._provider.folder(name)
            case "group":
                return await self._provider.group(name)
            case "role":
                return await self._provider.role(name)
            case "admin":
                return await self._provider.admin(name)
            case "api_key":
                return await self._provider.api_key(name)
            case "event_action":
                return await self._provider.event_action(name)
            case "event_rule":
                return await self._provider.event_rule(name)
            case "ip_list_entry":
                return await self._provider.list_entry(name_of_told(name))
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
        for clock in self._clocks:
            clock.cancel()
        await asyncio.gather(*self._clocks, return_exceptions=True)
        self._clocks = []
        await self.runner.close()
        await self._digests.close()
        await self._programs.close()
        await self._http.close()
        await self._stored.close()
        await self._insecure.close()
