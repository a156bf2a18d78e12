# SPDX-License-Identifier: Apache-2.0
"""The one line of ``tidegate status``, whatever a server answers."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.cli.status import line_of


def test_what_is_wrong_and_the_figures_stand_in_one_line() -> None:
    checks = [
        {"name": "provider", "status": "ok", "elapsed_ms": 12},
        {"name": "disk", "status": "warn", "text": "2 %\nleft | of it", "free_percent": 2.5},
        {"name": "certificate", "status": "ok", "days_left": 9},
    ]
    assert line_of({"status": "warn", "checks": checks}) == (
        "TIDEGATE WARNING - disk: 2 % left / of it | provider=0.0120s free=2.5% certificate_days=9"
    )


@pytest.mark.parametrize(
    "document",
    [
        {"status": "ok"},
        {"status": "ok", "checks": None},
        {"status": "ok", "checks": 7},
        {"status": "ok", "checks": [1, None, "x"]},
        {"status": "ok", "checks": [{"elapsed_ms": "12", "status": "ok"}]},
        {"status": "ok", "checks": [{"elapsed_ms": 12, "status": "ok", "name": "a b|c='\n"}]},
        {"status": ["ok"], "checks": [{"free_percent": True, "days_left": {}}]},
    ],
)
def test_an_answer_of_another_form_is_one_line_too(document: dict[str, Any]) -> None:
    line = line_of(document)
    assert line.startswith("TIDEGATE ")
    assert "\n" not in line
    assert line.count("|") <= 1
