# SPDX-License-Identifier: Apache-2.0
"""Event rules and their actions: list, form, on and off, and what a rule would do on an event."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.event_rules import every_action
from tidegate.errors import BadRecord
from tidegate.model.rule import ActionType, EventAction, EventRule, Trigger
from tidegate.rules.book import ready, shown_rule
from tidegate.rules.facts import decode_facts
from tidegate.rules.rehearse import rehearse
from tidegate.web.admin.field_values import Values
from tidegate.web.admin.pages.groups import use
from tidegate.web.admin.record_form import RecordForm
from tidegate.web.admin.record_pages import Records, Row, sentence
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import moment
from tidegate.web.admin.user_fields import UserField
from tidegate.web.admin.visit import Visit

NEEDS: Final = "manage_event_rules"
MAX_EVENT: Final = 64 * 1024
"""Characters of an event that is tried."""
TRIGGERS: Final = {
    Trigger.FILE: "a file is moved or changed",
    Trigger.PROVIDER: "a record is changed",
    Trigger.SCHEDULE: "the clock says so",
    Trigger.IP_BLOCKED: "an address is banned",
    Trigger.CERTIFICATE: "a certificate is renewed or ends",
    Trigger.ON_DEMAND: "somebody asks for it",
    Trigger.IDP_LOGIN: "a login of an identity provider",
    Trigger.LOGIN: "a login is accepted or refused",
    Trigger.QUOTA: "usage crosses a mark",
}


async def _changed(visit: Visit) -> None:
    if visit.services.event_rules is not None:
        await visit.services.event_rules.refresh()


# -- rules ---------------------------------------------------------------------------------------------------


def _state(rule: EventRule) -> tuple[str, str]:
    """The level and the words of a rule's state."""
    if rule.status != 1:
        return "", "off"
    if rule.muted_until > time.time() * 1000:
        return "soon", "muted"
    return "", "on"


def _words(conditions: Mapping[str, Any]) -> list[str]:
    """Conditions as texts: ``fs_events: upload``, ``names: *.csv``."""
    return [f"{key}: {', '.join(texts)}" for key, texts in _pairs(conditions)]


def _pairs(values: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _pairs(value)
        elif isinstance(value, list | tuple):
            if value:
                yield key, [_item(one) for one in value]
        elif value not in ("", 0, None, False):
            yield key, [str(value)]


def _item(one: Any) -> str:
    if not isinstance(one, Mapping):
        return str(one)
    if set(one) <= {"pattern", "inverse_match"}:
        return f"{'not ' if one.get('inverse_match') else ''}{one.get('pattern', '')}"
    return " ".join(str(value) for value in one.values())


async def _rule_row(visit: Visit, rule: EventRule) -> Row:
    del visit
    level, state = _state(rule)
    events = [text for word in ("fs_events", "provider_events") for text in rule.conditions.get(word) or ()]
    then = ", ".join(one.name for one in sorted(rule.actions, key=lambda one: one.order)) or "nothing"
    when = TRIGGERS[rule.trigger] + (f": {', '.join(map(str, events))}" if events else "")
    cells = (state, when, then, moment(rule.updated_at))
    return Row(name=rule.name, sub=rule.description, cells=cells, level=level)


async def _rule_more(visit: Visit, rule: EventRule | None) -> Mapping[str, Any]:
    if rule is None:
        return {"shown": None, "tried": None, "event": "", "event_error": ""}
    actions = await every_action(visit.services.provider)
    shown: dict[str, Any] = dict(shown_rule(ready(rule, actions)))
    given = visit.form["event"][:MAX_EVENT] if "event" in visit.form else ""
    tried, mistake = None, ""
    if given:
        try:
            tried = rehearse(ready(rule, actions), decode_facts(given))
        except (ValueError, RecursionError) as error:
            mistake = sentence(str(error) or "is not JSON")
        except BadRecord as error:
            mistake = sentence(error.text)
    return {
        "shown": {**shown, "missing": shown.get("missing", [])},
        "when": TRIGGERS[rule.trigger],
        "conditions": _words(rule.conditions),
        "rule_state": _state(rule),
        "tried": tried,
        "event": given or _sample(rule, shown["events"]),
        "event_error": mistake,
    }


def _sample(rule: EventRule, events: list[str]) -> str:
    """An event that the rule may be tried on."""
    sample = {
        "event": events[0] if events else "upload",
        "trigger": int(rule.trigger),
        "name": "mara",
        "virtual_path": "/in/report.csv",
        "size": 1024,
        "protocol": "SFTP",
        "ip": "192.0.2.1",
    }
    return json.dumps(sample, indent=2)


class RulePages(Records):
    """Pages of event rules; the list shows those of the configuration too."""

    async def list_more(self, visit: Visit) -> Mapping[str, Any]:
        """The rules that stand for actions of the configuration."""
        host = visit.services.event_rules
        shown: list[dict[str, Any]] = [] if host is None else host.shown()
        stored = await visit.services.provider.existing("event_rule", [str(one["name"]) for one in shown])
        return {"configured": [one for one in shown if one["name"] not in stored], "runs": host is not None}

    async def try_out(self, visit: Visit) -> Response:
        """Tell what the rule would do on the event of the form; nothing is run."""
        return await self.show(visit)

    async def switch(self, visit: Visit) -> Response:
        """Switch a rule on or off."""
        status = 1 if visit.form["status"] == "1" else 0

        def edit(stored: EventRule) -> dict[str, Any]:
            from tidegate.rules.documents import encode_rule

            return {**encode_rule(stored), "status": status}

        rule = await visit.services.administration.event_rules.change(visit.name(), edit, by=visit.actor)
        await _changed(visit)
        return visit.go(self.path, rule.name, done=f"{rule.name} is {'on' if status else 'off'}.")

    async def run(self, visit: Visit) -> Response:
        """Run a rule that is there to be run on demand.

        Raises:
            BadRecord: this server runs no rules, or not this one on demand.
        """
        host = visit.services.event_rules
        if host is None:
            raise BadRecord("name", "this server runs no event rules")
        await host.run_rule(visit.name())
        return visit.go(self.path, visit.name(), done=f"{visit.name()} is started.")


RULES: Final = RulePages(
    path="rules",
    new_path="new-rule",
    noun="event rule",
    plural="event rules",
    needs=NEEDS,
    nav=Nav(group="What follows", label="Event rules", icon="workflow", order=10, key="r"),
    form=RecordForm(
        (
            UserField(name="description", path="description", label="Description", section="record"),
            UserField(
                name="trigger",
                path="trigger",
                label="When",
                kind="code",
                section="record",
                choices=tuple((str(int(one)), text) for one, text in TRIGGERS.items()),
            ),
            UserField(name="enabled", path="status", label="On", kind="switch", section="record"),
            UserField(
                name="conditions",
                path="conditions",
                label="Conditions",
                kind="json",
                section="record",
                help='JSON: {"fs_events": ["upload"], "options": {"fs_paths": [{"pattern": "/in/*"}]}}.',
            ),
            UserField(
                name="actions",
                path="actions",
                label="Actions",
                kind="json",
                section="record",
                help='JSON: [{"name": "notify", "order": 1, "relation_options": {"execute_sync": true}}].',
            ),
        ),
        sections=(("record", "Rule"),),
    ),
    blank={"status": 1, "trigger": 1, "conditions": {"fs_events": ["upload"]}, "actions": []},
    verbs=lambda visit: visit.services.administration.event_rules,
    page=lambda visit, offset, limit: visit.services.provider.event_rules(offset=offset, limit=limit),
    columns=("State", "When", "Then", "Changed"),
    row=_rule_row,
    lede="What follows when something happens.",
    empty=(
        "No event rule yet",
        "A rule runs actions when something happens, such as a mail on an upload.",
        "",
    ),
    template="rule.html",
    list_template="rules.html",
    more=_rule_more,
    changed=_changed,
    gone="What happens from now on sets nothing off. Its actions stay.",
)


# -- actions -------------------------------------------------------------------------------------------------


class ActionForm(RecordForm):
    """The form of an action; of its options the sections that hold something are shown."""

    def values_of(self, document: Mapping[str, Any]) -> Values:
        """The fields for a document."""
        options = {key: _filled(value) for key, value in (document.get("options") or {}).items()}
        return super().values_of({**document, "options": {key: one for key, one in options.items() if one}})


def _filled(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: one for key, one in value.items() if one not in ({}, [], "", None)}


async def _action_rules(visit: Visit, action: EventAction | None) -> Mapping[str, Any]:
    if action is None:
        return {}
    rules = await visit.services.administration.event_actions.rules_using(action.name)
    return {"used_by": [use(rules, "rules", "rules", NEEDS)] if rules else []}


async def _action_row(visit: Visit, action: EventAction) -> Row:
    rules = await visit.services.administration.event_actions.rules_using(action.name)
    kind = action.type.name.lower().replace("_", " ")
    cells = (kind, ", ".join(rules) or "none", moment(action.updated_at))
    return Row(name=action.name, sub=action.description, cells=cells)


ACTIONS: Final = Records(
    path="actions",
    new_path="new-action",
    noun="action",
    plural="actions",
    needs=NEEDS,
    nav=Nav(group="What follows", label="Actions", icon="zap", order=20),
    form=ActionForm(
        (
            UserField(name="description", path="description", label="Description", section="record"),
            UserField(
                name="type",
                path="type",
                label="Kind",
                kind="code",
                section="record",
                choices=tuple((str(int(one)), one.name.lower().replace("_", " ")) for one in ActionType),
            ),
            UserField(
                name="options",
                path="options",
                label="Options",
                kind="json",
                section="record",
                help="JSON with the section of the kind, as in REST. A secret that is Redacted stays.",
            ),
        ),
        sections=(("record", "Action"),),
    ),
    blank={"type": 1, "options": {"http_config": {"endpoint": "https://", "method": "POST", "timeout": 20}}},
    verbs=lambda visit: visit.services.administration.event_actions,
    page=lambda visit, offset, limit: visit.services.provider.event_actions(offset=offset, limit=limit),
    columns=("Kind", "Rules", "Changed"),
    row=_action_row,
    lede="Requests, programs, mails and more, that event rules run.",
    empty=("No action yet", "An action is what a rule runs; several rules may share one.", ""),
    more=_action_rules,
    changed=_changed,
    gone="Only an action that no rule uses can be deleted.",
)

PAGES: Final = (
    *RULES.pages(),
    Page(path="/rules/{name:path}/dry-run", act=RULES.try_out, needs=NEEDS),
    Page(path="/rules/{name:path}/status", act=RULES.switch, needs=NEEDS),
    Page(path="/rules/{name:path}/run", act=RULES.run, needs=NEEDS),
    *ACTIONS.pages(),
)
