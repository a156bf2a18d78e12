# SPDX-License-Identifier: Apache-2.0
"""Actions that the configuration names: programs and URLs with the payloads of SFTPGo."""

from __future__ import annotations

import json
from typing import Final

from tidegate.actions.outcome import DONE, Outcome, first_line
from tidegate.errors import OutsideBusy, OutsideFailed
from tidegate.outgoing.commands import CommandOptions
from tidegate.outgoing.http import HttpAnswer, HttpCaller
from tidegate.outgoing.programs import ProgramCall, ProgramResult, Programs
from tidegate.rules.facts import Facts
from tidegate.rules.hooks import HookCall, arguments, request, variables

PROGRAM_SECONDS: Final = 30.0
OLD_URL_SECONDS: Final = 15.0
TRY_AGAIN: Final = 75
"""Exit status by which a program asks to be run again later (EX_TEMPFAIL of sysexits.h)."""
ID_HEADER: Final = "Webhook-Id"
"""Header with the id of the event, which is the same at each try; named as by Standard Webhooks."""
_AGAIN_STATUS: Final = frozenset((408, 425, 429))
_MAX_SHOWN: Final = 64 * 1024


class HookRunner:
    """Runs programs and calls URLs of the configuration.

    Args:
        programs: runs programs.
        http: calls URLs.
        commands: settings of programs.
    """

    def __init__(
        self,
        programs: Programs,
        http: HttpCaller,
        commands: CommandOptions,
    ) -> None:
        self._programs = programs
        self._http = http
        self._commands = commands

    async def run(self, hook: HookCall, facts: Facts, *, waits: bool) -> Outcome:
        """Tell a program or URL.

        Args:
            hook: it.
            facts: what it is told.
            waits: a client waits for the answer; nobody tries again later.
        """
        if hook.is_url:
            return await self._url(hook, facts, waits=waits)
        call = self._commands.call(
            hook.target,
            "fs_actions" if hook.about == "files" else "provider_actions",
            variables(hook, facts),
            seconds=PROGRAM_SECONDS,
            args=_clean(arguments(hook, facts)),
        )
        return await run_program(self._programs, call)

    async def _url(self, hook: HookCall, facts: Facts, *, waits: bool) -> Outcome:
        wanted = request(hook, facts)
        headers = {ID_HEADER: facts.id} if facts.id else {}
        if wanted.content_type:
            headers["Content-Type"] = wanted.content_type
        try:
            answer = await self._http.call(
                wanted.method,
                wanted.url,
                body=wanted.body,
                headers=headers,
                seconds=OLD_URL_SECONDS if hook.era == "0.9" else None,
                retry=waits,
            )
        except OutsideFailed as error:
            return Outcome(error.detail or str(error), again=True)
        if waits and answer.status != 200:  # as in SFTPGo: nothing else lets the act go on
            return Outcome(f"status {answer.status}", text=said(answer))
        return of_status(answer)


async def run_program(programs: Programs, call: ProgramCall) -> Outcome:
    """Run a program; what it says on standard output is its text."""
    try:
        result = await programs.run(call)
    except OutsideBusy as error:
        return Outcome(error.detail or str(error), again=True)
    except OutsideFailed as error:
        return Outcome(error.detail or str(error), again=True)
    return of_program(call.argv[0], result)


def of_program(name: str, result: ProgramResult) -> Outcome:
    """The outcome of a program's end: `TRY_AGAIN` and signals ask for another try."""
    if result.exit_status == 0:
        return DONE
    how = f"signal {-result.exit_status}" if result.exit_status < 0 else f"exit status {result.exit_status}"
    errors = first_line(result.errors)
    text = f"{name}: {how}{f': {errors}' if errors else ''}"
    again = result.exit_status == TRY_AGAIN or result.exit_status < 0
    return Outcome(text, again=again, text=first_line(result.output))


def of_status(answer: HttpAnswer) -> Outcome:
    """The outcome of an answer: 2xx is success, and what may pass by itself is tried again."""
    if 200 <= answer.status < 300:
        return DONE
    again = answer.status >= 500 or answer.status in _AGAIN_STATUS
    return Outcome(f"status {answer.status}", again=again, text=said(answer))


def said(answer: HttpAnswer) -> str:
    """The text of an answer: ``message`` or ``error`` of a JSON object, or a line of plain text."""
    body = answer.body[:_MAX_SHOWN]
    if body.lstrip()[:1] == b"{":
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return ""
        text = found.get("message") or found.get("error") or ""
        return first_line(text.encode()) if isinstance(text, str) else ""
    return "" if b"<" in body else first_line(body)


def _clean(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.replace("\0", "\ufffd") for word in words)
