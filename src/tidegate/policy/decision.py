# SPDX-License-Identifier: Apache-2.0
"""The gate's answer, and the trail that `explain` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidegate.errors import Denied, NotFound

Verdict = Literal["allow", "deny", "pass"]
"""``pass`` means: the rule was asked and has nothing against it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was asked.

    Attributes:
        rule: stable name with its place, for instance ``permissions[/in]`` or ``file_patterns[/in]``.
        verdict: what it said.
        why: one sentence for a person, for instance ``/in grants list, download; upload is not among them``.
        where: place in the account document that holds the rule, for instance ``permissions./in`` or
            ``filters.denied_ip[2]``; empty if it is not configurable.
        hint: for a refusal, what would have to change for the answer to change.
    """

    rule: str
    verdict: Verdict
    why: str
    where: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer.

    Attributes:
        allowed: True if the act may happen.
        rule: the rule that decided, as in `Step.rule`; empty if nothing objected.
        text: what the client is told when refused, for instance ``permission: upload on /in``.
        hidden: the refusal must look as if the path did not exist.
    """

    allowed: bool
    rule: str = ""
    text: str = ""
    hidden: bool = False

    def require(self) -> None:
        """Return if allowed.

        Raises:
            NotFound: refused, and the path is hidden.
            Denied: refused; carries the rule.
        """
        if self.allowed:
            return
        if self.hidden:
            raise NotFound
        raise Denied(self.text, rule=self.rule)


ALLOWED = Decision(allowed=True)
