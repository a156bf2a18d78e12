# SPDX-License-Identifier: Apache-2.0
"""Command actions: programs that the configuration enables, with arguments and variables of placeholders."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tidegate.actions.hooks import run_program
from tidegate.actions.outcome import Outcome
from tidegate.model.rule import EventAction
from tidegate.outgoing.programs import ProgramCall, Programs
from tidegate.rules.book import Rule
from tidegate.rules.facts import Facts
from tidegate.rules.hooks import EVENT_ID
from tidegate.rules.placeholders import render


class CommandActions:
    """Runs programs.

    Args:
        programs: runs them.
        enabled: absolute paths of those that may be run.
    """

    def __init__(self, programs: Programs, enabled: Collection[str]) -> None:
        self._programs = programs
        self._enabled = frozenset(enabled)

    async def run(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Run one; see `tidegate.actions.runner.ActionWork`."""
        del rule
        config: Mapping[str, Any] = action.options["cmd_config"]
        program = config["cmd"]
        if program not in self._enabled:
            return Outcome(f"{program} is not in common.event_manager.enabled_commands")
        words = [_clean(render(word, facts)) for word in config.get("args", ())]
        env = {one["key"]: _clean(render(one["value"], facts)) for one in config.get("env_vars", ())}
        call = ProgramCall(
            (program, *words), env={EVENT_ID: facts.id, **env}, seconds=float(config["timeout"])
        )
        return await run_program(self._programs, call)


def _clean(text: str) -> str:
    """A word that a program can be given: no NUL."""
    return text.replace("\0", "\ufffd")
