# SPDX-License-Identifier: Apache-2.0
"""Docstrings are statements: they say what something is or does, and do not begin as a question would."""

from __future__ import annotations

import ast
import re

import pytest
from tools.rooms import ROOT

QUESTIONS = {"What", "Whether", "How", "Who", "Where", "Which", "Why", "When"}


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "bench"])
def test_no_docstring_begins_as_a_question(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)} {text.splitlines()[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node))
        and text.split()[0].strip(",:") in QUESTIONS
    ]
    assert found == []


def test_no_attribute_is_told_as_a_question() -> None:
    asks = re.compile(r"^\s+\w+: (?:whether|how)\b", re.MULTILINE)
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for line in (ast.get_docstring(node) or "").splitlines()
        if asks.match(line)
    ]
    assert found == []
