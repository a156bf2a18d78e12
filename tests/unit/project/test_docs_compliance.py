# SPDX-License-Identifier: Apache-2.0
"""Every setting and every test that docs/explanation/compliance.md names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "explanation" / "compliance.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("\n## FIPS\n")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| question")
]
REFERENCE = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")


def settings() -> set[str]:
    """Names of settings by the reference, with their section."""
    found: set[str] = set()
    for section in re.split(r"^## ", REFERENCE, flags=re.MULTILINE)[1:]:
        name = re.match(r"`(\w+)`", section)
        if name:
            found |= {f"{name[1]}.{key}" for key in re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)}
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_what_is_there(row: list[str]) -> None:
    assert len(row) == 5
    question, norms, answer, setting, test = row
    assert question.endswith("?")
    assert norms
    assert answer
    for name in re.findall(r"`([^`]+)`", setting):
        assert name in settings() or "of the account" in setting, name
    for name in re.findall(r"`([^`]+)`", test):
        file, _, function = name.partition("::")
        assert re.search(
            rf"^(async )?def {function}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE
        )


def test_the_page_certifies_nothing() -> None:
    assert "certifies nothing" in PAGE
    assert len(ROWS) > 20
