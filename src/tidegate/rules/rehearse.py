# SPDX-License-Identifier: Apache-2.0
"""Tells what a rule would do on an event, with every text filled in; runs nothing and shows no secret."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from tidegate.model.rule import ActionType, EventAction
from tidegate.rules.book import Rule, Step
from tidegate.rules.facts import ABOUT_SOMEBODY, Facts
from tidegate.rules.hooks import HookCall, arguments, request, variables
from tidegate.rules.placeholders import render

MAX_SHOWN: Final = 2_000
"""Characters of a text that are shown."""


def rehearse(rule: Rule, facts: Facts) -> dict[str, Any]:
    """The work of a rule: `refusal` (why nothing would run), `waits`, and `steps` in their order."""
    refusal = rule.condition.refusal(facts)
    if not refusal and facts.trigger in ABOUT_SOMEBODY:
        refusal = rule.condition.account_refusal(facts.groups, facts.role)
    steps = rule.sync_steps(facts.event)
    waits = bool(steps)
    steps = (*steps, *(step for step in rule.later_steps(facts.event) if step not in steps))
    if not refusal and rule.missing:
        refusal = f"the action {rule.missing[0]!r} does not exist"
    return {
        "rule": rule.name,
        "refusal": refusal,
        "waits": waits,
        "steps": [] if refusal else [_step(step, facts) for step in steps if not step.failure],
        "on_failure": [] if refusal else [_step(step, facts) for step in steps if step.failure],
    }


def _step(step: Step, facts: Facts) -> dict[str, Any]:
    shown = _hook(step.work, facts) if isinstance(step.work, HookCall) else _action(step.work, facts)
    return {
        "name": step.name,
        "does": step.does,
        "stops_on_failure": step.stops,
        "with": {key: value[:MAX_SHOWN] for key, value in shown.items() if value},
    }


def _hook(hook: HookCall, facts: Facts) -> dict[str, str]:
    if hook.is_url:
        asked = request(hook, facts)
        return {"method": asked.method, "query": asked.url.partition("?")[2], "body": asked.body.decode()}
    env = {key: value for key, value in variables(hook, facts).items() if key.startswith("SFTPGO_")}
    return {
        "arguments": shlex.join(arguments(hook, facts)),
        "variables": " ".join(
            f"{key}={shlex.quote(value)}" for key, value in env.items() if "PASSWORD" not in key
        ),
    }


def _action(action: EventAction, facts: Facts) -> dict[str, str]:
    options: Mapping[str, Any] = action.options
    match action.type:
        case ActionType.HTTP:
            http = options["http_config"]
            query = "&".join(
                f"{one['key']}={render(one['value'], facts)}" for one in http.get("query_parameters", ())
            )
            return {"method": http["method"], "query": query, "body": render(http.get("body", ""), facts)}
        case ActionType.COMMAND:
            command = options["cmd_config"]
            return {
                "arguments": shlex.join(render(word, facts) for word in command.get("args", ())),
                "variables": " ".join(
                    f"{one['key']}={shlex.quote(render(one['value'], facts))}"
                    for one in command.get("env_vars", ())
                ),
            }
        case ActionType.EMAIL:
            mail = options["email_config"]
            return {
                "to": ", ".join(render(one, facts) for one in mail["recipients"]),
                "subject": render(mail["subject"], facts),
                "body": render(mail["body"], facts),
                "subject of digests": render(mail.get("digest_subject", ""), facts),
            }
        case ActionType.CHAT:
            chat = options["chat_config"]
            return {
                "text": render(chat["text"], facts),
                "title of digests": render(chat.get("digest_title", ""), facts),
            }
        case ActionType.FILESYSTEM:
            files = options["fs_config"]
            pairs = [*files.get("renames", ()), *files.get("copy", ())]
            shown = [f"{render(one['key'], facts)} -> {render(one['value'], facts)}" for one in pairs]
            for key in ("deletes", "mkdirs", "exist"):
                shown += [render(path, facts) for path in files.get(key, ())]
            if files.get("compress"):
                inside = ", ".join(render(path, facts) for path in files["compress"]["paths"])
                shown.append(f"{inside} -> {render(files['compress']['name'], facts)}")
            return {"paths": "; ".join(shown)}
        case _:
            return {}
