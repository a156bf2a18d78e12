# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: runs what the list of a suite does not leave out, and writes down what came of each test.

Told by the environment: `CONFORMANCE_LIST` is the data file, `CONFORMANCE_SUITE` the table in it and
`CONFORMANCE_REPORT` where the outcome goes, as JSON.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

ORDER = ("passed", "skipped", "failed")
"""Of several reports about one test (phases, subtests) the worst counts."""


class Selection:
    """The tests that run, and their results."""

    def __init__(self, suite: dict[str, Any]) -> None:
        root = os.geteuid() == 0
        self.left_out = [group for group in suite["left_out"] if not (root and group.get("root_can"))]
        self.counts = [0] * len(self.left_out)
        self.unused: list[str] = []
        self.outcomes: dict[str, str] = {}
        self.texts: dict[str, str] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        names = [item.nodeid.split("::", 1)[1] for item in items]
        patterns = {pattern for group in self.left_out for pattern in group["tests"]}
        self.unused = sorted(p for p in patterns if not any(fnmatchcase(name, p) for name in names))
        kept, out = [], []
        for item, name in zip(items, names, strict=True):
            number = next((i for i, group in enumerate(self.left_out) if fits(name, group["tests"])), None)
            if number is None:
                kept.append(item)
            else:
                self.counts[number] += 1
                out.append(item)
        items[:] = kept
        config.hook.pytest_deselected(items=out)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("::", 1)[1]
        if report.when != "call" and report.passed:
            return
        before = self.outcomes.get(name, "passed")
        self.outcomes[name] = max(before, report.outcome, key=ORDER.index)
        if report.failed:
            self.texts[name] = self.texts.get(name, "") + report.longreprtext
        elif report.skipped:
            self.texts[name] = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
            self.texts[report.nodeid] = report.longreprtext

    def pytest_sessionfinish(self) -> None:
        answer = {
            "outcomes": self.outcomes,
            "texts": self.texts,
            "left_out": {group["name"]: n for group, n in zip(self.left_out, self.counts, strict=True)},
            "unused": self.unused,
        }
        Path(os.environ["CONFORMANCE_REPORT"]).write_text(json.dumps(answer, indent=1))


def fits(name: str, patterns: Iterable[str]) -> bool:
    """True if a test is named by one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def suite() -> dict[str, Any]:
    """The list's entry about the suite that runs."""
    suites = tomllib.loads(Path(os.environ["CONFORMANCE_LIST"]).read_text(encoding="utf-8"))
    return suites[os.environ["CONFORMANCE_SUITE"]]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Selection(suite()))
