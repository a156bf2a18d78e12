# SPDX-License-Identifier: Apache-2.0
"""Docstrings are statements: they say what something is or does, and do not begin as a question would."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from tools.rooms import ROOT

FOLDERS = ["src", "tests", "tools", "bench", "fuzz"]
QUESTIONS = {"what", "whether", "how", "who", "whose", "whom", "where", "which", "why", "when"}


MAY_HOLD = re.compile(
    rf"^\s*[rRuU]?[\"']{{1,3}}\\?\s*(?:{'|'.join(sorted(QUESTIONS))})\b|^\s+\w+: (?:whether|how)\b",
    re.MULTILINE | re.IGNORECASE,
)
"""Found in the source of each file that is wrong: most files need not be parsed."""


def texts(folder: str) -> Iterator[tuple[str, str]]:
    """Places and texts of all docstrings, and of the texts below attributes and constants."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if not MAY_HOLD.search(source):
            continue
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value.value.strip()


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_begins_as_a_question(folder: str) -> None:
    found = [
        f"{place} {text.splitlines()[0]}"
        for place, text in texts(folder)
        if text and re.split(r"\W", text, maxsplit=1)[0].lower() in QUESTIONS
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_attribute_is_told_as_a_question(folder: str) -> None:
    asks = re.compile(r"^\s+\w+: (?:whether|how)\b")
    found = [
        f"{place} {line.strip()}"
        for place, text in texts(folder)
        for line in text.splitlines()
        if asks.match(line)
    ]
    assert found == []
