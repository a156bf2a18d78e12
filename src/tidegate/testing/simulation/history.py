# SPDX-License-Identifier: Apache-2.0
"""A history as data: what each client does, when, what goes wrong, and how the schedule is drawn.

Each step has a seed of its own, so that leaving one out changes no other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tidegate.testing.simulation.faults import KINDS, Fault, Where
from tidegate.testing.simulation.operations import OPERATIONS

LIMITS: Final = (0, 12_000, 30_000)
"""Bytes of the quotas that are drawn; 0 is none."""
_WHO: Final = (("alice",), ("alice", "alice"), ("alice", "bob"), ("alice", "alice", "bob"))
_WAITS: Final = (0.0, 0.0, 0.0, 0.0005, 0.002, 0.01, 0.3)


@dataclass(frozen=True, slots=True)
class Step:
    """One act of one client.

    Attributes:
        act: a name of `OPERATIONS`.
        seed: of what it draws.
        wait: seconds before it begins.
        alone: True if the client waits for its end before it goes on.
        cut: the client's line breaks when this act waits for the n-th time; 0 for never.
    """

    act: str
    seed: int
    wait: float = 0.0
    alone: bool = True
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """The acts of one client."""

    username: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The kinds of acts and faults that a history may have.

    Attributes:
        acts: names of `OPERATIONS`; empty for all that have a weight.
        kinds: kinds of faults.
        modes: upload modes.
        cuts: True if lines break.
        early: True if clients may come while a start still counts again.
        links: True if there are links.
        clients: True if more than one client may come.
        overlap: True if a client may begin an act before its last one has ended.
        steps: most steps of one client.
    """

    acts: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    modes: tuple[int, ...] = (0, 1, 2)
    cuts: bool = True
    early: bool = True
    links: bool = True
    clients: bool = True
    overlap: bool = True
    steps: int = 14


@dataclass(frozen=True, slots=True)
class History:
    """One history.

    Attributes:
        seed: what it was made from.
        mode: upload mode.
        track_quota: as in the configuration.
        limits: quota_size of alice, of bob, and of the shared folder as each mounts it.
        quick_share: storage calls of a hundred that are answered without waiting.
        divided: True if the accounts have rules that differ from place to place.
        early: True if clients come while a start still counts again.
        links: True if there are links.
        scripts: the clients.
        faults: what goes wrong.
        schedule: seed of all pauses.
    """

    seed: int
    mode: int
    track_quota: int
    limits: tuple[int, int, int]
    quick_share: int
    scripts: tuple[Script, ...]
    faults: tuple[Fault, ...] = ()
    schedule: int = field(default=0)
    divided: bool = False
    early: bool = False
    links: bool = True

    @property
    def steps(self) -> int:
        """The number of acts."""
        return sum(len(script.steps) for script in self.scripts)

    def __str__(self) -> str:
        settings = (
            f"mode {self.mode}, track_quota {self.track_quota}, limits {self.limits}",
            f"{self.quick_share} % of storage calls at once, divided {self.divided}",
            f"early {self.early}, links {self.links}, schedule {self.schedule}",
        )
        lines = [f"seed {self.seed}: {', '.join(settings)}"]
        lines += [f"  fault: call {fault.nth} to the {fault.where}: {fault.kind}" for fault in self.faults]
        for number, script in enumerate(self.scripts):
            lines.append(f"  client {number} ({script.username}):")
            lines += [f"    {step}" for step in script.steps]
        return "\n".join(lines)


def generate(seed: int, rules: Rules | None = None) -> History:
    """The history of a seed."""
    rules = rules or Rules()
    draw = random.Random(seed)  # noqa: S311  (no secret)
    names = rules.acts or tuple(OPERATIONS)
    weights = [OPERATIONS[name].weight or bool(rules.acts) for name in names]
    mode = draw.choice(rules.modes)
    track = draw.choice((1, 2, 2))
    limits = (draw.choice(LIMITS), draw.choice(LIMITS), draw.choice(LIMITS))
    quick = draw.choice((0, 0, 50, 90, 100))
    scripts = []
    who = draw.choice(_WHO)
    for username in who if rules.clients else who[:1]:
        steps = tuple(
            Step(
                act=draw.choices(names, weights)[0],
                seed=draw.randrange(1 << 30),
                wait=draw.choice(_WAITS),
                alone=draw.random() < 0.6 or not rules.overlap,
                cut=draw.randrange(1, 12) if rules.cuts and draw.random() < 0.07 else 0,
            )
            for _ in range(draw.randint(2, rules.steps))
        )
        scripts.append(Script(username, steps))
    faults: set[Fault] = set()
    for _ in range(draw.choice((0, 1, 1, 2, 3)) if rules.kinds else 0):
        where: Where = draw.choice(("storage", "storage", "store"))
        faults.add(Fault(where, draw.randint(1, 150 if where == "storage" else 40), draw.choice(rules.kinds)))
    return History(
        seed=seed,
        mode=mode,
        track_quota=track,
        limits=limits,
        quick_share=quick,
        scripts=tuple(scripts),
        faults=tuple(sorted(faults)),
        schedule=draw.randrange(1 << 30),
        divided=draw.random() < 0.25,
        early=draw.random() < 0.6 and rules.early,
        links=rules.links,
    )


def smaller(history: History) -> Sequence[History]:
    """Histories with less in them, the boldest first."""
    found: list[History] = []
    if len(history.scripts) > 1:
        found += [
            replace(history, scripts=history.scripts[:number] + history.scripts[number + 1 :])
            for number in range(len(history.scripts))
        ]
    found += [
        replace(history, faults=history.faults[:number] + history.faults[number + 1 :])
        for number in range(len(history.faults))
    ]
    longest = max((len(script.steps) for script in history.scripts), default=0)
    size = longest
    while size:
        for number, script in enumerate(history.scripts):
            for start in range(0, len(script.steps), size):
                steps = script.steps[:start] + script.steps[start + size :]
                if len(steps) < len(script.steps):
                    found.append(_with(history, number, replace(script, steps=steps)))
        size //= 2
    for number, script in enumerate(history.scripts):
        for at, step in enumerate(script.steps):
            for plain in (replace(step, cut=0), replace(step, alone=True), replace(step, wait=0.0)):
                if plain != step:
                    steps = (*script.steps[:at], plain, *script.steps[at + 1 :])
                    found.append(_with(history, number, replace(script, steps=steps)))
    if history.quick_share not in {0, 100}:
        found += [replace(history, quick_share=quick) for quick in (100, 0)]
    if history.early:
        found.append(replace(history, early=False))
    if history.links:
        found.append(replace(history, links=False))
    return found


def _with(history: History, number: int, script: Script) -> History:
    scripts = list(history.scripts)
    scripts[number] = script
    return replace(history, scripts=tuple(scripts))
