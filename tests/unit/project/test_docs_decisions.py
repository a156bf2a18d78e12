# SPDX-License-Identifier: Apache-2.0
"""Numbers of decisions are unique, and each decision is known by its number in its title and in the index."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
DECISIONS = sorted((DOCS / "adr").glob("[0-9]*.md"))


def test_no_two_decisions_have_one_number() -> None:
    numbers = Counter(path.name[:4] for path in DECISIONS)
    assert len(numbers) >= 70
    assert [number for number, times in numbers.items() if times > 1] == []


def test_a_decision_is_known_by_its_number() -> None:
    index = (DOCS / "index.md").read_text()
    for path in DECISIONS:
        number = path.name[:4]
        assert path.read_text().startswith(f"# {number}. "), path.name
        assert re.search(rf"^\* \[{number}\. [^\n]+\]\(adr/{re.escape(path.name)}\)", index, re.MULTILINE), (
            path.name
        )
