# SPDX-License-Identifier: Apache-2.0
"""The answer to a client that is not let in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection or request that was not let in.

    Attributes:
        rule: the limit or list that decided, as the configuration names it.
        text: one sentence for the log.
        unreported: refusals by this rule since the last one reported.
        wait_seconds: of a rate limit, when the next one may come; 0 of every other rule.
        banned: True if the address is banned or on a list of those that never get in.
    """

    rule: str
    text: str
    unreported: int = 0
    wait_seconds: float = 0.0
    banned: bool = False
