# SPDX-License-Identifier: Apache-2.0
"""Documents of event rules, in the shape of SFTPGo's dumps and REST API; those of actions beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate.model.rule import EventAction, EventRule, RuleAction, Trigger
from tidegate.rules.action_documents import decode_action, encode_action
from tidegate.rules.book import MAX_ACTIONS
from tidegate.rules.facts import FILE_EVENTS, LOGIN_EVENTS, PRE_EVENTS, PROVIDER_EVENTS, SYNC_EVENTS
from tidegate.rules.patterns import MAX_PATTERNS, pattern_problem
from tidegate.rules.reading import MAX_NAME, Document, Reader, filled, record_name
from tidegate.rules.schedules import cron_of, schedule
from tidegate.rules.translate import OBJECTS

__all__ = ["PROTOCOLS", "cron_of", "decode_action", "decode_rule", "encode_action", "encode_rule"]

PROTOCOLS: Final = ("SFTP", "SCP", "SSH", "FTP", "DAV", "HTTP", "HTTPShare", "OIDC")


def decode_rule(document: object, *, base: EventRule | None = None, where: str = "") -> EventRule:
    """Read and check an event rule; whether its actions exist is not known here.

    Raises:
        BadRecord: with the place of the first mistake.
    """
    read = Reader(document, where)
    name = record_name(read, base.name if base is not None else "")
    number = read.value.get("trigger", base.trigger if base is not None else 0)
    try:
        trigger = Trigger(number)
    except ValueError:
        raise read.bad("trigger", f"{number!r} is no trigger") from None
    conditions = _conditions(read.section("conditions"), trigger)
    actions = _uses(read)
    _check_sync(read, trigger, conditions, actions)
    status = read.number("status", 0, 1, default=base.status if base is not None else 0)
    return EventRule(
        name=name,
        trigger=trigger,
        status=status,
        description=read.text("description", limit=4096),
        conditions=conditions,
        actions=actions,
        muted_until=read.number("muted_until"),
        id=base.id if base is not None else read.number("id"),
        created_at=base.created_at if base is not None else read.number("created_at"),
        updated_at=base.updated_at if base is not None else read.number("updated_at"),
    )


def encode_rule(
    rule: EventRule, actions: Mapping[str, EventAction] | None = None, *, confidential: bool = False
) -> Document:
    """The document of a rule; with `actions` each use shows its action too."""
    uses = []
    for use in rule.actions:
        action = (actions or {}).get(use.name)
        shown: Document = {"name": use.name}
        if action is not None:
            shown = encode_action(action, confidential=confidential)
        uses.append(
            {
                **shown,
                "order": use.order,
                "relation_options": {
                    "is_failure_action": use.is_failure_action,
                    "stop_on_failure": use.stop_on_failure,
                    "execute_sync": use.execute_sync,
                },
            }
        )
    document: Document = {
        "id": rule.id,
        "name": rule.name,
        "status": rule.status,
        **filled(description=rule.description),
        "created_at": rule.created_at,
        "updated_at": rule.updated_at,
        "trigger": int(rule.trigger),
        "conditions": {**rule.conditions, "options": rule.conditions.get("options", {})},
        "actions": uses,
    }
    if rule.muted_until:
        document["muted_until"] = rule.muted_until
    return document


def _uses(read: Reader) -> tuple[RuleAction, ...]:
    found: list[RuleAction] = []
    orders: set[int] = set()
    for index, one in enumerate(read.objects("actions")):
        relation = one.section("relation_options")
        name = one.text("name", limit=MAX_NAME)
        if not name:
            raise one.bad("name", "is required")
        order = one.number("order", 0, 1_000_000, default=index + 1)
        if order in orders:
            raise one.bad("order", f"{order} is given twice")
        orders.add(order)
        found.append(
            RuleAction(
                name=name,
                order=order,
                is_failure_action=relation.flag("is_failure_action"),
                stop_on_failure=relation.flag("stop_on_failure"),
                execute_sync=relation.flag("execute_sync"),
            )
        )
    if not found:
        raise read.bad("actions", "at least one action is required")
    if len(found) > MAX_ACTIONS:
        raise read.bad("actions", f"more than {MAX_ACTIONS} actions")
    if all(use.is_failure_action for use in found):
        raise read.bad("actions", "at least one action that is no failure action is required")
    return tuple(sorted(found, key=lambda use: use.order))


def _check_sync(
    read: Reader, trigger: Trigger, conditions: Mapping[str, Any], actions: Sequence[RuleAction]
) -> None:
    events = set(conditions.get("fs_events") or ())
    if any(use.execute_sync and use.is_failure_action for use in actions):
        raise read.bad("actions", "a failure action cannot be waited for")
    waits = any(use.execute_sync for use in actions)
    allowed = (trigger is Trigger.FILE and events <= SYNC_EVENTS) or trigger is Trigger.IDP_LOGIN
    if waits and not allowed:
        raise read.bad(
            "actions", "execute_sync is only for upload, pre-* events and identity provider logins"
        )
    if not waits and events & PRE_EVENTS:
        raise read.bad("actions", f"{min(events & PRE_EVENTS)} needs an action with execute_sync")


def _conditions(read: Reader, trigger: Trigger) -> Document:
    found: Document = {}
    match trigger:
        case Trigger.FILE:
            found["fs_events"] = _events(read, "fs_events", FILE_EVENTS)
        case Trigger.PROVIDER:
            found["provider_events"] = _events(read, "provider_events", PROVIDER_EVENTS)
        case Trigger.LOGIN:
            found["login_events"] = _events(read, "login_events", LOGIN_EVENTS)
        case Trigger.SCHEDULE:
            found["schedules"] = [schedule(one) for one in read.objects("schedules")]
            if not found["schedules"]:
                raise read.bad("schedules", "at least one is required")
        case Trigger.IDP_LOGIN:
            found |= filled(idp_login_event=read.number("idp_login_event", 0, 2))
        case _:
            pass
    options = read.section("options")
    for key in ("group_names", "role_names"):
        _patterns(options, key)
    low, high = options.number("min_size"), options.number("max_size")
    if high and low > high:
        raise options.bad("max_size", "is less than min_size")
    chosen = filled(
        names=_patterns(options, "names"),
        group_names=_patterns(options, "group_names"),
        role_names=_patterns(options, "role_names"),
        fs_paths=_patterns(options, "fs_paths"),
        protocols=options.texts("protocols", PROTOCOLS),
        provider_objects=options.texts("provider_objects", OBJECTS),
        min_size=low,
        max_size=high,
        event_statuses=_statuses(options),
        concurrent_execution=options.flag("concurrent_execution"),
    )
    if chosen:
        found["options"] = chosen
    return found


def _events(read: Reader, key: str, known: Sequence[str]) -> list[str]:
    events = list(dict.fromkeys(read.texts(key, known)))
    if not events:
        raise read.bad(key, "at least one event is required")
    return events


def _statuses(options: Reader) -> list[int]:
    found = list(options.items("event_statuses"))
    for index, one in enumerate(found):
        if one not in (1, 2, 3) or isinstance(one, bool):
            raise options.bad(f"event_statuses[{index}]", "should be 1, 2 or 3")
    return found


def _patterns(options: Reader, key: str) -> list[Document]:
    found = []
    if len(options.items(key)) > MAX_PATTERNS:
        raise options.bad(key, f"more than {MAX_PATTERNS} patterns")
    for one in options.objects(key):
        text = one.text("pattern", limit=4096)
        if (problem := pattern_problem(text)) is not None:
            raise one.bad("pattern", problem)
        found.append({"pattern": text, **filled(inverse_match=one.flag("inverse_match"))})
    return found
