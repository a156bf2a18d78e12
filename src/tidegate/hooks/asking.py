# SPDX-License-Identifier: Apache-2.0
"""Asks hooks: a program by its environment, a URL by a request; and reads JSON that they answer."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.errors import OutsideFailed
from tidegate.hooks.settings import Hook
from tidegate.model.observe import Observe
from tidegate.nesting import deeper_than
from tidegate.outgoing.commands import CommandOptions
from tidegate.outgoing.http import HttpCaller
from tidegate.outgoing.programs import ProgramCall, Programs

PREFIXES: Final = ("SFTPGO_", "TIDEGATE_")
"""Each variable is given under both."""
MAX_LEVELS: Final = 32
"""Nesting of JSON that is read."""
_SHOWN_BYTES: Final = 500
"""Of what a program says on standard error, in the log."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a hook.

    Attributes:
        variables: of a program, without their prefix.
        method: of a request; ``POST`` sends the body.
        query: of a request, put in the order of the names.
        body: of a request, a JSON document.
        source: address of the client, whose share of places it takes.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a hook.

    Attributes:
        status: of HTTP; 200 of a program that ended with exit status 0, 0 of any other.
        body: what it answered.
        problem: why it is no success, in one line.
    """

    status: int
    body: bytes = field(repr=False)
    problem: str = ""

    @property
    def ok(self) -> bool:
        """True if a program succeeded, or HTTP answered 200."""
        return self.status == 200


def unobserved(name: str, kind: str, seconds: float, ok: bool) -> None:
    """Nobody counts."""


class Asker:
    """Asks hooks. `close` ends all calls.

    Args:
        programs: runs them.
        caller: calls URLs.
        commands: settings of programs.
        observe: told of each call: name of the hook, ``program`` or ``http``, seconds, and True if there was
            an answer.
    """

    def __init__(
        self,
        programs: Programs,
        caller: HttpCaller,
        commands: CommandOptions,
        observe: Observe = unobserved,
    ) -> None:
        self._observe = observe
        self.programs = programs
        self.caller = caller
        self._commands = commands

    def program_call(self, hook: Hook, question: Question) -> ProgramCall:
        """The call of a hook that is a program."""
        env = {prefix + name: value for name, value in question.variables.items() for prefix in PREFIXES}
        return self._commands.call(hook.target, hook.name, env, seconds=hook.seconds, source=question.source)

    async def ask(self, hook: Hook, question: Question, *, retry: bool = False) -> Reply:
        """Ask a hook.

        Args:
            retry: a URL may be called again after a failure.

        Raises:
            OutsideFailed: it cannot be asked, takes too long or answers too much.
            OutsideBusy: too many calls wait.
        """
        started, answered = time.monotonic(), False
        try:
            reply = await self._ask(hook, question, retry=retry)
            answered = True
            return reply
        finally:
            kind = "http" if hook.is_http else "program"
            self._observe(hook.name, kind, time.monotonic() - started, answered)

    async def _ask(self, hook: Hook, question: Question, *, retry: bool) -> Reply:
        if hook.is_http:
            headers = {"Content-Type": "application/json"} if question.body else {}
            answer = await self.caller.call(
                question.method,
                hook.target,
                body=question.body,
                headers=headers,
                query={name: unicode_only(value) for name, value in sorted(question.query.items())},
                retry=retry,
                source=question.source,
            )
            problem = "" if answer.status == 200 else f"{hook.shown} answered HTTP status {answer.status}"
            return Reply(answer.status, answer.body, problem)
        result = await self.programs.run(self.program_call(hook, question))
        said = _printable(result.errors)
        if result.exit_status == 0:
            if said:
                _log.info("%s said: %s", hook.target, said)
            return Reply(200, result.output)
        how = (
            f"signal {-result.exit_status}" if result.exit_status < 0 else f"exit status {result.exit_status}"
        )
        problem = f"{hook.target} ended by {how}" + (f" and said: {said}" if said else "")
        return Reply(0, result.output, problem)

    async def close(self) -> None:
        """End all calls."""
        await self.programs.close()
        await self.caller.close()


def read_object(hook: Hook, body: bytes) -> dict[str, Any]:
    """The JSON object that a hook answered.

    Raises:
        OutsideFailed: it is none, or nested deeper than `MAX_LEVELS`.
    """
    try:
        text = body.decode("utf-8")
        if deeper_than(text, MAX_LEVELS):
            raise OutsideFailed(detail=f"{hook.shown} answered JSON nested deeper than {MAX_LEVELS} levels")
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else "not UTF-8"
        raise OutsideFailed(detail=f"{hook.shown} answered no JSON: {what}") from None
    if not isinstance(document, dict):
        raise OutsideFailed(detail=f"{hook.shown} answered JSON that is no object")
    return document


def compact(document: object) -> str:
    """JSON as SFTPGo writes it: without blanks, text in UTF-8, the signs of HTML escaped.

    Bytes of a client that were no UTF-8 are U+FFFD: JSON cannot have them (RFC 8259 section 8.1).
    """
    text = unicode_only(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def unicode_only(text: str) -> str:
    """A text whose bytes that were no UTF-8 are U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _printable(said: bytes) -> str:
    text = said[:_SHOWN_BYTES].decode("utf-8", "replace").strip()
    return "".join(char if char.isprintable() else " " for char in text)
