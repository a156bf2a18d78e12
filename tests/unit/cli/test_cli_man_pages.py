# SPDX-License-Identifier: Apache-2.0
"""Manual pages: one for each command, with every option, and nothing that a formatter objects to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tools import man_pages

from tidegate.cli.main import COMMANDS


@pytest.mark.needs("mandoc")
def test_every_command_has_a_page_that_a_formatter_takes(tmp_path: Path) -> None:
    pages = man_pages.write(tmp_path, "2026-11-30")
    names = {page.name for page in pages}
    assert {"tidegate.1", "tidegate-user-add.1", *(f"tidegate-{name}.1" for name in COMMANDS)} <= names

    found = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *map(str, pages)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (found.stdout, found.returncode) == ("", 0)
    shown = subprocess.run(
        ["mandoc", "-T", "utf8", str(tmp_path / "tidegate-serve.1")],
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    text = " ".join(re.sub(".\b", "", shown).split())  # bold is a letter struck twice
    for word in ("--grace-time", "TIDEGATE_LOG_FILE_PATH", "One of trace, debug, info, warn, error."):
        assert word in text


def test_text_of_a_command_cannot_become_a_request_of_the_formatter() -> None:
    assert man_pages.plain(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert man_pages.plain("a\n'br \\fB-x") == "a\n\\(aqbr \\efB\\-x"
