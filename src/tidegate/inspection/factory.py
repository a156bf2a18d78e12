# SPDX-License-Identifier: Apache-2.0
"""Inspectors by name; see `tidegate.plugins`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.contracts.inspection import Inspected
from tidegate.inspection.inspections import InspectorUse
from tidegate.plugins import create_parts

GROUP: Final = "tidegate.inspectors"
"""The entry point group."""


@dataclass(frozen=True, slots=True)
class InspectorKey:
    """An inspector as it is configured."""

    use: str
    name: str
    acts: tuple[str, ...]
    seconds: float
    allow_on_error: bool
    options: Mapping[str, Any] = field(default_factory=dict)


def create_inspectors(wanted: Sequence[InspectorKey]) -> list[InspectorUse]:
    """Make inspectors; importing may take a while, so call it off the loop.

    Raises:
        ConfigError: one cannot be found or made; every problem is named.
    """
    parts = create_parts(
        [(one.use, one.options) for one in wanted],
        where="inspection.inspectors",
        word="inspector",
        group=GROUP,
        methods=("open", "inspect", "close"),
    )
    return [
        InspectorUse(
            one.name or one.use, part, frozenset(map(Inspected, one.acts)), one.seconds, one.allow_on_error
        )
        for one, part in zip(wanted, parts, strict=True)
    ]
