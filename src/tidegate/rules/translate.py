# SPDX-License-Identifier: Apache-2.0
"""Actions of the configuration (`common.actions`, `data_provider.actions`) as rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from tidegate.errors import Problem
from tidegate.model.rule import Trigger
from tidegate.rules.book import Rule, Step
from tidegate.rules.conditions import Condition
from tidegate.rules.facts import FILE_EVENTS, OK, PRE_EVENTS, PROVIDER_EVENTS, SYNC_EVENTS
from tidegate.rules.hooks import Era, HookCall

OLD_EVENTS: Final = frozenset(("download", "upload", "delete", "rename", "ssh_cmd"))
OBJECTS: Final = (
    "user", "folder", "group", "admin", "api_key", "share", "event_action", "event_rule", "role",
    "ip_list_entry", "configs",
)  # fmt: skip
_FILE_KEYS: Final = frozenset(("execute_on", "execute_sync", "hook", "command", "http_notification_url"))
_RECORD_KEYS: Final = frozenset(("execute_on", "execute_for", "hook", "command", "http_notification_url"))


def configured_rules(
    files: Mapping[str, Any], records: Mapping[str, Any]
) -> tuple[list[Rule], list[Problem]]:
    """Rules that stand for the actions of the configuration, and what is wrong with those.

    Args:
        files: the value of `common.actions`.
        records: the value of `data_provider.actions`.
    """
    problems: list[Problem] = []
    rules = [*_rules("common.actions", files, problems), *_rules("data_provider.actions", records, problems)]
    return rules, problems


def _rules(where: str, value: Mapping[str, Any], problems: list[Problem]) -> list[Rule]:
    about_files = where == "common.actions"
    known = _FILE_KEYS if about_files else _RECORD_KEYS
    problems += [
        Problem(f"{where}.{key}", f"there is no such key; there are {', '.join(sorted(known))}")
        for key in value
        if key not in known
    ]
    events = _texts(where, "execute_on", value, FILE_EVENTS if about_files else PROVIDER_EVENTS, problems)
    # SFTPGo takes any event here. Of what is done already no client can be refused: it is told afterwards.
    named = _texts(where, "execute_sync", value, FILE_EVENTS, problems) if about_files else ()
    waited = [event for event in named if event in SYNC_EVENTS]
    objects = _texts(where, "execute_for", value, OBJECTS, problems) if not about_files else ()
    rules: list[Rule] = []
    targets: list[tuple[str, Era]] = [("command", "0.9"), ("http_notification_url", "0.9"), ("hook", "2")]
    for key, era in targets:
        target = value.get(key, "")
        if not isinstance(target, str):
            problems.append(Problem(f"{where}.{key}", "should be a text"))
            continue
        if not target or not events:
            continue
        if (text := _target_problem(key, target)) is not None:
            problems.append(Problem(f"{where}.{key}", text))
            continue
        hook = HookCall(target, era, "files" if about_files else "records")
        if about_files:
            rules += _about_files(f"{where}.{key}", key, hook, events, waited)
        else:
            rules += _about_records(f"{where}.{key}", key, hook, events, objects)
    return rules


def _about_records(
    name: str, key: str, hook: HookCall, events: Sequence[str], objects: Sequence[str]
) -> list[Rule]:
    wanted = frozenset(("user",)) if hook.era == "0.9" else frozenset(objects)
    if not wanted:
        return []  # as in SFTPGo: nothing is told of
    condition = Condition(trigger=Trigger.PROVIDER, events=frozenset(events), objects=wanted)
    return [Rule(name, condition, (Step(key, hook),), source="config")]


def _about_files(
    name: str, key: str, hook: HookCall, events: Sequence[str], waited: Sequence[str]
) -> list[Rule]:
    old = hook.era == "0.9"
    later = [event for event in events if event not in PRE_EVENTS and event not in waited]
    sync = [event for event in events if event in PRE_EVENTS or event in waited]
    if old:
        later, sync = [event for event in events if event in OLD_EVENTS], []
    rules: list[Rule] = []
    for suffix, chosen, waits in (("", later, False), (" (waited for)", sync, True)):
        if chosen:
            condition = Condition(
                trigger=Trigger.FILE,
                events=frozenset(chosen),
                statuses=frozenset((OK,)) if old else frozenset(),
                every_status=not old,
            )
            rules.append(Rule(f"{name}{suffix}", condition, (Step(key, hook, sync=waits),), source="config"))
    return rules


def _texts(
    where: str, key: str, value: Mapping[str, Any], known: Sequence[str], problems: list[Problem]
) -> list[str]:
    given = value.get(key) or []
    if isinstance(given, str):  # from the environment
        given = [part.strip() for part in given.split(",") if part.strip()]
    if not isinstance(given, list):
        problems.append(Problem(f"{where}.{key}", "should be a list of texts"))
        return []
    found: list[str] = []
    for index, one in enumerate(given):
        if one not in known:
            problems.append(Problem(f"{where}.{key}[{index}]", f"{one!r} is not one of {', '.join(known)}"))
        else:
            found.append(one)
    return found


def _target_problem(key: str, target: str) -> str | None:
    is_url = target.startswith(("http://", "https://"))
    if key == "http_notification_url" and not is_url:
        return f"{target!r} is no http or https URL"
    if key == "command" and is_url:
        return "a program is wanted here; a URL belongs to http_notification_url"
    if is_url:
        try:
            return None if urlsplit(target).hostname else f"{target!r} names no host"
        except ValueError as error:
            return f"{target!r} is no URL: {error}"
    return None if target.startswith("/") else f"{target!r} is no absolute path"
