# SPDX-License-Identifier: Apache-2.0
"""Figures of the server for its pages: sampled once for everybody who looks, not once for each browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "soon", "now"]
"""Well, can wait, act now."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of the server in one word and one sentence.

    Attributes:
        level: of `Level`.
        text: for the foot of the navigation.
    """

    level: Level = "ok"
    text: str = "Serving normally."


class Sampler:
    """Samples while somebody looks."""

    def state(self) -> State:
        """The state of the server as it was sampled last."""
        return State()

    def wake(self) -> None:
        """Somebody looks."""

    async def close(self) -> None:
        """Stop."""
