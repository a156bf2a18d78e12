# SPDX-License-Identifier: Apache-2.0
"""Histories of clients, schedule, clock and failing storage: used is what is on the disk, or the mark says so.

A failing seed is in the name of the test and in its message; it is replayed by
``python -m tidegate.testing.simulation --seed N --minimize``, with the switches that the message names.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import warnings
from dataclasses import replace

import pytest

from tidegate.abc import Outcome
from tidegate.backends.local.files import LocalFile
from tidegate.model import UsageDelta
from tidegate.testing.simulation import DAV_ACTS, FTP_ACTS, FTP_DIALOGUE, Rules, generate, simulate
from tidegate.testing.simulation.faults import KILL_AFTER, KINDS, Fault
from tidegate.testing.simulation.history import Script, Step
from tidegate.testing.simulation.operations import OPERATIONS
from tidegate.testing.simulation.store import SimulatedStore

FIRST = int(os.environ.get("SIMULATION_SEED", "0"))
"""The first seed; another one looks at other histories."""
BATCH = 20
BATCHES = 15
SOAK_BATCHES = 100
SOAK_BATCH = 100


def _all_well(seeds: range, rules: Rules) -> None:
    bad = []
    for seed in seeds:
        history = generate(seed, rules)
        outcome = simulate(history)
        if outcome.failures:
            bad.append("\n  ".join([str(history), *outcome.failures]))
    assert not bad, f"{len(bad)} of {len(seeds)} histories failed\n" + "\n".join(bad[:3])


@pytest.mark.parametrize("batch", range(BATCHES))
def test_histories_leave_the_books_exact_or_marked(batch: int) -> None:
    _all_well(range(FIRST + batch * BATCH, FIRST + (batch + 1) * BATCH), Rules())


FTP = Rules(acts=(*FTP_ACTS, "remove", "rename", "upload", "recount", "line-breaks", "process-ends", "rest"))
"""Clients of FTP beside each other and beside some of SFTP."""


@pytest.mark.parametrize("batch", range(5))
def test_histories_of_ftp_clients_leave_the_books_exact_or_marked(batch: int) -> None:
    _all_well(range(FIRST + batch * BATCH, FIRST + (batch + 1) * BATCH), FTP)


DAV = Rules(
    acts=(*DAV_ACTS, "remove", "rename-tree", "upload", "recount", "line-breaks", "process-ends", "rest")
)
"""Clients of WebDAV beside each other and beside some of SFTP."""


@pytest.mark.parametrize("batch", range(5))
def test_histories_of_webdav_clients_leave_the_books_exact_or_marked(batch: int) -> None:
    _all_well(range(FIRST + batch * BATCH, FIRST + (batch + 1) * BATCH), DAV)


DIALOGUE = replace(
    FTP, acts=(FTP_DIALOGUE, FTP_DIALOGUE, "upload", "recount", "line-breaks", "process-ends", "rest")
)
"""Whole conversations of FTP clients, by the dialogue of the door."""


@pytest.mark.parametrize("batch", range(3))
def test_histories_of_ftp_conversations_leave_the_books_exact_or_marked(batch: int) -> None:
    _all_well(range(FIRST + batch * BATCH, FIRST + (batch + 1) * BATCH), DIALOGUE)


@pytest.mark.parametrize(("rules", "acts"), [(FTP, FTP_ACTS), (DAV, DAV_ACTS), (DIALOGUE, (FTP_DIALOGUE,))])
def test_every_act_of_a_protocol_occurs_and_is_done(rules: Rules, acts: tuple[str, ...]) -> None:
    done = set()
    for seed in range(25):
        trace = simulate(generate(seed, replace(rules, kinds=(), cuts=False))).trace
        done |= {act for act in acts if any(f" {act}: done" in line for line in trace)}
    assert done == {*acts}


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", range(SOAK_BATCHES))
def test_ten_thousand_histories(batch: int) -> None:
    first = FIRST + 1_000_000 + batch * SOAK_BATCH
    _all_well(range(first, first + SOAK_BATCH), Rules())


@pytest.mark.parametrize("seed", range(12))
def test_one_seed_is_one_history(seed: int) -> None:
    history = generate(seed)

    assert generate(seed) == history
    assert simulate(history).trace == simulate(history).trace


@pytest.mark.parametrize("rules", [DAV, DIALOGUE], ids=["webdav", "ftp"])
def test_one_seed_is_one_history_of_a_door(rules: Rules) -> None:
    for seed in range(8):
        history = generate(seed, rules)
        assert _without_chance(simulate(history).trace) == _without_chance(simulate(history).trace)


def _without_chance(trace: list[str]) -> list[str]:
    """Names of hidden trees, which nobody may guess, are no part of a history."""
    return [re.sub(r"tree\.(moved\.)?[0-9a-f]+", "tree", line) for line in trace]


def test_every_act_occurs_and_every_kind_of_fault() -> None:
    histories = [generate(seed) for seed in range(400)]

    assert {step.act for h in histories for script in h.scripts for step in script.steps} == {
        name for name, operation in OPERATIONS.items() if operation.weight
    }
    assert {fault.kind for h in histories for fault in h.faults} == {*KINDS}


UPLOADS = replace(
    generate(0, Rules(kinds=())),
    mode=0,
    limits=(30_000, 0, 0),
    quick_share=0,
    early=False,
    links=False,
    scripts=(Script("alice", tuple(Step("upload", seed) for seed in range(6))),),
)
"""One client that uploads, in threads; nothing goes wrong."""


def test_a_store_that_forgets_what_it_was_told_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(self: SimulatedStore, username: str, delta: UsageDelta) -> None:
        await self.user(username)

    monkeypatch.setattr(SimulatedStore, "add_usage", forget)

    assert any("alice" in failure for failure in simulate(UPLOADS).failures)


def test_a_mark_that_is_lost_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(self: SimulatedStore, username: str, *, dirty: bool) -> None:
        await self.user(username)

    killed = [replace(UPLOADS, faults=(Fault("storage", nth, KILL_AFTER),)) for nth in range(3, 30)]
    assert not any(simulate(history).failures for history in killed)
    monkeypatch.setattr(SimulatedStore, "mark_usage", forget)

    assert any(simulate(history).failures for history in killed)


def test_a_handle_that_nobody_closes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(self: LocalFile, outcome: Outcome = Outcome.COMMIT) -> None:
        await asyncio.sleep(0)

    def collected() -> list[str]:
        failures = simulate(UPLOADS).failures
        gc.collect()
        return failures

    monkeypatch.setattr(LocalFile, "close", forget)
    with pytest.warns(ResourceWarning, match="unclosed file"):
        failures = collected()

    assert any("descriptors left open" in failure for failure in failures)


def test_a_process_that_was_killed_silences_no_log_after_its_end() -> None:
    log = logging.getLogger("tidegate.vfs.usage.writing")
    log.setLevel(logging.NOTSET)  # loggers remember what they were asked; this makes them forget

    assert simulate(generate(3)).lives > 1

    assert log.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("seed", [161, 236, 385, 502])
def test_a_process_that_was_killed_leaves_nothing_to_the_collector(seed: int) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        lives = simulate(generate(seed)).lives
        gc.collect()

    assert lives > 1
    assert not [str(warning.message) for warning in seen]
