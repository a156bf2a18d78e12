# SPDX-License-Identifier: Apache-2.0
"""Histories in which numbers were wrong without a mark, made small; each names the rule that was missing."""

from __future__ import annotations

import pytest

from tidegate.testing.simulation import simulate
from tidegate.testing.simulation.faults import LATE, LOST, Fault
from tidegate.testing.simulation.history import History, Script, Step

FOUND = {
    "a login's numbers are as old as the question for them": History(
        seed=7000505,
        mode=1,
        track_quota=2,
        limits=(30_000, 12_000, 0),
        quick_share=100,
        scripts=(
            Script("alice", (Step("write-nothing", 300446715),)),
            Script("alice", (Step("upload", 630168060),)),
        ),
        faults=(Fault("store", 2, LATE),),
        schedule=959978272,
        links=False,
    ),
    "an upload that a limit cuts down has all names of its file": History(
        seed=7001869,
        mode=1,
        track_quota=2,
        limits=(0, 30_000, 12_000),
        quick_share=100,
        scripts=(Script("bob", (Step("hard-link", 314748317), Step("resume", 1012533728))),),
        schedule=172449158,
        links=False,
    ),
    "a doubt that comes up after the count outlives its result": History(
        seed=7003757,
        mode=0,
        track_quota=2,
        limits=(12_000, 30_000, 12_000),
        quick_share=100,
        scripts=(
            Script(
                "alice",
                (
                    Step("remove", 682720014),
                    Step("upload-new", 295523143),
                    Step("recount", 262438445),
                    Step("resize", 524257629),
                ),
            ),
            Script("bob", (Step("rename", 986623534, wait=0.3),)),
        ),
        faults=(Fault("storage", 20, LOST),),
        schedule=460627853,
        links=False,
    ),
    "names of one file lie in one quota": History(
        seed=7004126,
        mode=2,
        track_quota=2,
        limits=(0, 12_000, 12_000),
        quick_share=100,
        scripts=(
            Script("alice", (Step("hard-link", 672874650),)),
            Script("alice", (Step("rename", 168150914), Step("resize", 557357643))),
        ),
        schedule=807305981,
        links=False,
    ),
    "where an appending handle writes depends on the upload's others": History(
        seed=7006857,
        mode=2,
        track_quota=1,
        limits=(0, 12_000, 30_000),
        quick_share=50,
        scripts=(
            Script(
                "bob",
                (
                    Step("hard-link", 764183329),
                    Step("remove", 746824292, alone=False),
                    Step("remove", 203399451, wait=0.01),
                    Step("upload-new", 335357113, alone=False),
                    Step("append", 906983979),
                ),
            ),
        ),
        schedule=918446228,
        divided=True,
    ),
}


@pytest.mark.parametrize("rule", FOUND)
def test_what_was_found_stays_mended(rule: str) -> None:
    assert not simulate(FOUND[rule]).failures
