# SPDX-License-Identifier: Apache-2.0
"""hypothesis leads the simulated world: what it finds it makes small, and each step is checked at rest."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tidegate.testing.simulation.faults import KINDS
from tidegate.testing.simulation.history import LIMITS, History, Script, Step
from tidegate.testing.simulation.led import LedWorld
from tidegate.testing.simulation.operations import OPERATIONS
from tidegate.testing.simulation.world import PACKAGES

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Folder(RuleBasedStateMachine):
    """Two sessions of one account and one of another, over a home and a shared folder."""

    acts: tuple[str, ...] = tuple(OPERATIONS)
    kinds: tuple[str, ...] = KINDS
    modes: tuple[int, ...] = (0, 1, 2)
    kills = True
    overlap = True

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world: LedWorld | None = None

    @initialize(
        data=st.data(), limits=st.tuples(*[st.sampled_from(LIMITS)] * 3), schedule=st.integers(0, 1 << 16)
    )
    def begin(self, data: st.DataObject, limits: tuple[int, int, int], schedule: int) -> None:
        history = History(
            seed=0,
            mode=data.draw(st.sampled_from(self.modes)),
            track_quota=data.draw(st.sampled_from((1, 2))),
            limits=limits,
            quick_share=data.draw(st.sampled_from((0, 50, 100))),
            scripts=(Script("alice", ()), Script("alice", ()), Script("bob", ())),
            schedule=schedule,
            links=False,
        )
        base = tempfile.mkdtemp(prefix="tidegate-machine-", dir=MEMORY)
        self.stack.callback(shutil.rmtree, base)
        self.world = LedWorld(history, Path(base))
        self.stack.enter_context(self.world.clock.installed(*PACKAGES))
        self.world.start()

    @rule(data=st.data(), number=st.integers(0, 2), seed=st.integers(0, 1 << 16), alone=st.booleans())
    def act(self, data: st.DataObject, number: int, seed: int, alone: bool) -> None:
        assert self.world is not None
        name = data.draw(st.sampled_from(self.acts))
        self.world.act(number, Step(name, seed, alone=alone or not self.overlap))

    @rule(seconds=st.sampled_from((0.0, 0.001, 0.02, 3.0)))
    def time_passes(self, seconds: float) -> None:
        assert self.world is not None
        self.world.pass_time(seconds)

    @precondition(lambda self: self.kills)
    @rule()
    def killed(self) -> None:
        assert self.world is not None
        self.world.end_process()

    @precondition(lambda self: self.kinds)
    @rule(data=st.data(), where=st.sampled_from(("storage", "store")), ahead=st.integers(1, 8))
    def something_fails(self, data: st.DataObject, where: str, ahead: int) -> None:
        assert self.world is not None
        self.world.fail(where, data.draw(st.sampled_from(self.kinds)), ahead)

    @invariant()
    def nothing_is_wrong(self) -> None:
        if self.world is not None:
            assert not self.world.outcome.failures

    def teardown(self) -> None:
        with self.stack:
            if self.world is not None:
                failures = self.world.finish().failures
                assert not failures


class Proved(Folder):
    acts = tuple(name for name in OPERATIONS if name not in {"recount", "hard-link"})
    modes = (0, 1)


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}

TestWhatIsProved = Proved.TestCase
TestWhatIsProved.settings = settings(max_examples=25, stateful_step_count=12, derandomize=True, **COMMON)


@pytest.mark.soak
class TestEverything(Folder.TestCase):
    settings = settings(max_examples=500, stateful_step_count=25, **COMMON)
