# SPDX-License-Identifier: Apache-2.0
"""Asks rules before an act counts: the `pre-` events, and `upload` where it is waited for."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Final

from tidegate.actions.active import ActiveRules
from tidegate.actions.runner import Runner
from tidegate.contracts.inspection import ALLOWED, Inspected, InspectedAct, Verdict
from tidegate.inspection.inspections import RULE_PROTOCOL, InspectorUse
from tidegate.model.rule import Trigger
from tidegate.rules.facts import Facts

NAME: Final = "event rules"
SECONDS: Final = 3600.0
"""Time that all rules together may take; each program and URL has a shorter time of its own."""
_EVENTS: Final = {
    Inspected.OPEN_UPLOAD: "pre-upload",
    Inspected.UPLOAD: "upload",
    Inspected.DOWNLOAD: "pre-download",
    Inspected.DELETE: "pre-delete",
}


class RuleInspector:
    """An inspector whose answer is that of the rules; a rule that fails refuses."""

    def __init__(self, active: ActiveRules, runner: Runner) -> None:
        self._active = active
        self._runner = runner

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to release."""

    async def inspect(self, act: InspectedAct) -> Verdict:
        """Ask every rule that wants to be asked, in their order; the first that fails decides."""
        facts = facts_of_act(act, time.time_ns())
        if facts is None or facts.protocol == RULE_PROTOCOL:
            return ALLOWED
        rules = self._active.book.asked(facts)
        if not rules:
            return ALLOWED
        facts = replace(facts, id=secrets.token_hex(11))
        now = time.time()
        for rule in rules:
            if rule.muted_until > now:
                continue
            result = await self._runner.run(rule, facts, rule.sync_steps(facts.event), waits=True)
            if not result.ok:
                return Verdict(allowed=False, text=result.text, reason=f"rule {rule.name}: {result.error}")
        return ALLOWED

    def use(self) -> InspectorUse:
        """The inspector, with the acts that rules want to be asked about now."""
        book = self._active.book
        acts = frozenset(kind for kind, event in _EVENTS.items() if book.asks_of(event))
        return InspectorUse(NAME, self, acts, SECONDS, keeps_old=True, named=True, wants=self.wants)

    def wants(self, act: InspectedAct) -> bool:
        """True if some rule is asked about an act, as far as is known before accounts are looked up."""
        facts = facts_of_act(act, 0)
        return facts is not None and facts.protocol != RULE_PROTOCOL and bool(self._active.book.asked(facts))


def facts_of_act(act: InspectedAct, at: int) -> Facts | None:
    """Facts of an act that somebody asks about; None of a login, a size, a directory. `at`: nanoseconds."""
    event = _EVENTS.get(act.kind)
    if event is None or act.resized:  # no file has arrived
        return None
    if event == "pre-delete" and act.size is None:  # a directory: SFTPGo asks about files alone
        return None
    size = -1 if act.size is None or event == "pre-download" else act.size
    origin = act.origin
    return Facts(
        trigger=Trigger.FILE,
        event=event,
        name=origin.username,
        virtual_path=act.path,
        fs_path=act.location,
        size=size,
        protocol=origin.door,
        ip=origin.ip,
        session_id=origin.connection_id,
        open_flags=act.open_flags,
        at=at,
        client_gone=not act.complete,
    )
