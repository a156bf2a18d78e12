# SPDX-License-Identifier: Apache-2.0
"""The reference pages say what the code does."""

import re

import pytest
from tools.generate_reference import PAGES, ROOT, main
from tools.reference_inside import EXTENDED, MEANS, classes, event_kinds, missing

from tidegate import errors
from tidegate.cli.main import COMMANDS
from tidegate.config.legacy import OLDER
from tidegate.config.schema.walk import declared, dotted
from tidegate.doors.sftp.wire.decoding import EXTENSIONS
from tidegate.events import kinds
from tidegate.events.sinks.lines import FIELDS, SENDERS
from tidegate.model import Intent, Permission


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


def test_nothing_inside_is_left_out() -> None:
    sftp, failures, permissions, events = (
        PAGES[name]() for name in ("sftp.md", "errors.md", "permissions.md", "events.md")
    )

    assert missing() == []
    for extension in EXTENSIONS:
        assert f"| `{extension.decode()}` |" in sftp
    # Other rooms may derive errors of their own; the tree that doors translate is the one in `errors`.
    tree = [cls for cls in classes(errors.TidegateError) if cls.__module__ == errors.__name__]
    for cls in tree:
        if not any(cls in below.__bases__ for below in tree) or cls is errors.ProviderError:
            assert f"| `{cls.__name__}` |" in failures
    for name in Permission:
        assert f"| `{name}` | {MEANS[name]} |" in permissions
    for intent in Intent:
        assert f"\n| `{intent}` | " in permissions
    for event in event_kinds():
        assert events.count(f"| `{event.__name__}` |") == 1


def test_what_is_new_and_has_no_sentence_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTENSIONS, b"new@example.org", lambda _: None)
    monkeypatch.delitem(EXTENDED, "copy-data")
    monkeypatch.delitem(MEANS, Permission.CHMOD)

    assert missing() == ["extension copy-data", "extension new@example.org", "permission chmod"]


def test_an_event_that_is_new_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed(kinds.Common):
        """Something has a new name."""

    monkeypatch.setattr(kinds, "Renamed", Renamed, raising=False)
    Renamed.__module__ = kinds.__name__

    assert "| `Renamed` | `renamed` | Something has a new name. |" in PAGES["events.md"]()
