# SPDX-License-Identifier: Apache-2.0
"""The reference pages say what the code does."""

import re

import pytest
from tools.generate_reference import PAGES, ROOT, main

from tidegate.cli.main import COMMANDS
from tidegate.config.legacy import OLDER
from tidegate.config.schema.walk import declared, dotted
from tidegate.events.sinks.lines import FIELDS, SENDERS


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_up_to_date(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")

    assert written == re.sub(r"[ \t]+\n", "\n", PAGES[name]()), "run: make docs"


def test_check_finds_a_stale_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--check"]) == 0
    monkeypatch.setitem(PAGES, "logs.md", lambda: "other")
    assert main(["--check"]) == 1
    assert "logs.md is out of date" in capsys.readouterr().out


def test_nothing_is_left_out() -> None:
    configuration, cli, logs = (PAGES[name]() for name in ("configuration.md", "cli.md", "logs.md"))

    for path, field in declared():
        assert field.description, dotted(path)
        assert field.description.endswith("."), dotted(path)
        assert f"| `{dotted(path)}` |" in configuration or f"| `{dotted(path[1:])}` |" in configuration
    for path in OLDER:
        assert f"`{dotted(path)}`" in configuration
    for command in COMMANDS:
        assert f"## `tidegate {command}" in cli
    for name in (*SENDERS, *FIELDS):
        assert f"| `{name}` |" in logs
