# SPDX-License-Identifier: Apache-2.0
"""Checks: bounded, together, remembered for a moment; and what each of the server's own finds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tidegate.cli.status import line_of
from tidegate.errors import ProviderUnavailable
from tidegate.health import checks as room
from tidegate.health.checks import MAX_TEXT, Checks, Finding, State, worst


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def well() -> Finding:
    return Finding(data={"figure": 1})


async def test_the_worst_check_decides_and_none_hides_another() -> None:
    async def warned() -> Finding:
        return Finding(State.WARN, "little left")

    async def away() -> Finding:
        raise ProviderUnavailable

    async def no_file() -> Finding:
        raise FileNotFoundError(2, "No such file or directory")

    async def broken() -> Finding:
        raise ZeroDivisionError("secret")

    async def long() -> Finding:
        return Finding(State.WARN, "x" * 5000)

    given = {"a": well, "b": warned, "c": away, "d": no_file, "e": broken, "f": long}
    report = await Checks(given, Clock()).report()

    assert report.state is State.FAIL
    states = {name: finding.state.word for name, finding in report.findings.items()}
    assert states == {"a": "ok", "b": "warn", "c": "fail", "d": "fail", "e": "fail", "f": "warn"}
    texts = {name: finding.text for name, finding in report.findings.items()}
    assert texts["d"] == "No such file or directory"
    assert "secret" not in texts["e"]
    assert len(texts["f"]) == MAX_TEXT + 3
    shown = report.document(details=False)
    assert shown["checks"][0] == {"name": "a", "status": "ok"}
    assert report.document(details=True)["checks"][0] == {
        "name": "a", "status": "ok", "text": "", "elapsed_ms": 0.0, "figure": 1,
    }  # fmt: skip


async def test_a_check_that_hangs_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHECK_SECONDS", 0.01)

    async def hangs() -> Finding:
        await asyncio.Event().wait()
        return Finding()

    report = await Checks({"slow": hangs, "well": well}, Clock()).report()

    assert report.findings["slow"] == Finding(State.FAIL, "no answer for 0.01 s")
    assert report.findings["well"].state is State.OK


async def test_many_who_ask_at_once_cause_one_round() -> None:
    rounds, clock, gate = [0], Clock(), asyncio.Event()
    outcome = [Finding()]

    async def counted() -> Finding:
        rounds[0] += 1
        await gate.wait()
        return outcome[0]

    checks = Checks({"one": counted}, clock)
    asking = [asyncio.create_task(checks.report()) for _ in range(50)]
    gate.set()
    await asyncio.gather(*asking)
    assert rounds == [1]
    clock.now += room.FRESH_SECONDS - 0.1
    await checks.report()
    assert rounds == [1]
    clock.now += 0.2
    outcome[0] = Finding(State.FAIL, "gone")
    await checks.report()
    assert rounds == [2]
    clock.now += room.FRESH_FAULT_SECONDS + 0.1
    outcome[0] = Finding()
    assert (await checks.report()).state is State.OK
    assert rounds == [3]


def test_findings_are_summed_up_by_the_worst() -> None:
    assert worst([]) == Finding()
    some = [Finding(), Finding(State.WARN, "a"), Finding(State.FAIL, "b"), Finding(State.FAIL, "c")]
    assert worst(some) == Finding(State.FAIL, "b; c")


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (
            {"status": "ok", "checks": [{"name": "a", "status": "ok", "elapsed_ms": 12.0}]},
            "TIDEGATE OK - 1 checks | a=0.0120s",
        ),
        (
            {
                "status": "warn",
                "checks": [
                    {"name": "disks", "status": "warn", "text": "/ has 9 % left", "free_percent": 9.1},
                    {"name": "certificates", "status": "ok", "days_left": 80.5},
                ],
            },
            "TIDEGATE WARNING - disks: / has 9 % left | free=9.1% certificate_days=80.5",
        ),
        (
            {"status": "fail", "checks": [{"name": "doors", "status": "fail", "text": "a|b"}]},
            "TIDEGATE CRITICAL - doors: a/b",
        ),
        (
            {"status": "fail", "checks": [{"name": "doors", "status": "fail"}]},
            "TIDEGATE CRITICAL - doors: fail",
        ),
        ({"status": "?"}, "TIDEGATE UNKNOWN - 0 checks"),
    ],
)
def test_a_report_is_one_line_for_nagios(document: dict[str, Any], line: str) -> None:
    assert line_of(document) == line
