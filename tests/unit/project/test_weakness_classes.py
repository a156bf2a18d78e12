# SPDX-License-Identifier: Apache-2.0
"""Classes of weakness that a rule on the code holds, and the table of all of them with tests that are there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src" / "tidegate"
TABLE = ROOT / "docs" / "explanation" / "security-model.md"
CLASSES = 26

OBJECTS_FROM_BYTES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "joblib"}
CODE_FROM_TEXT = {"eval", "exec", "compile", "__import__"}
NO_SECRETS = {
    "actions/deliveries.py", "doors/ftp/ways.py", "resources/arrivals.py", "outgoing/http.py",
    "backends/objects/tries.py",
}  # fmt: skip
"""Modules with random numbers that may be guessed: they spread load. Those of the test kits are not counted."""

OWN_NAMES = {
    "openbridge/statements.py", "store/imports/sqlite_quietly.py", "store/sql/engines.py", "store/sql/outbox.py",
}  # fmt: skip
"""Modules whose statements hold names of tables and columns, and numbers, of the code itself; values are parameters."""

WORDS = re.compile(
    r"\b(?:random|execut\w*|text|exec_driver_sql|yaml|"
    + "|".join(OBJECTS_FROM_BYTES | CODE_FROM_TEXT)
    + r")\b"
)


@functools.cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    """The modules that could break a rule; parsing all would take seconds."""
    return tuple(
        (str(path.relative_to(SOURCE)), ast.parse(text))
        for path in sorted(SOURCE.rglob("*.py"))
        if WORDS.search(text := path.read_text(encoding="utf-8"))
    )


def imported(tree: ast.AST) -> set[str]:
    """First parts of the names of imported modules."""
    return {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }


def objects_or_code(tree: ast.AST) -> list[str]:
    """Ways by which content could become objects or code."""
    found = sorted(imported(tree) & OBJECTS_FROM_BYTES)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in CODE_FROM_TEXT:
            found.append(node.func.id)
        unsafe = isinstance(node.func, ast.Attribute) and node.func.attr in {
            "load",
            "load_all",
            "unsafe_load",
        }
        if unsafe and ast.unparse(node.func.value) == "yaml" and ast.unparse(node).count(", Loader)") != 1:
            found.append("yaml.load")
    return found


def made_statements(tree: ast.AST) -> list[str]:
    """Calls of `text` and `execute` of SQL whose statement is put together from values."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            put_together = isinstance(first, ast.JoinedStr) or (
                isinstance(first, ast.BinOp)
                and any(isinstance(part, ast.Constant) for part in ast.walk(first))
            )
            if put_together and name in {
                "text",
                "execute",
                "executemany",
                "executescript",
                "exec_driver_sql",
            }:
                found.append(f"{node.lineno}: {ast.unparse(first)}")
    return found


def test_no_content_becomes_objects_or_code() -> None:
    assert {name: found for name, tree in trees() if (found := objects_or_code(tree))} == {}


def test_no_statement_of_sql_is_put_together_from_values() -> None:
    assert {name for name, tree in trees() if made_statements(tree)} == OWN_NAMES


def test_numbers_that_can_be_guessed_make_no_secrets() -> None:
    found = {name for name, tree in trees() if "random" in imported(tree) and not name.startswith("testing/")}

    assert found == NO_SECRETS


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("import pickle", objects_or_code),
        ("from marshal import loads", objects_or_code),
        ("eval(x)", objects_or_code),
        ("yaml.load(x)", objects_or_code),
        ("db.execute(f'select {x}')", made_statements),
        ("text('select ' + x)", made_statements),
        ("execute('select %s' % x)", made_statements),
    ],
)
def test_the_rules_see_what_they_forbid(text: str, check: object) -> None:
    assert callable(check)
    assert check(ast.parse(text))


def test_every_class_has_tests_that_exist() -> None:
    rows = re.findall(r"^\| (\d+) \|[^|]+\|(.+)\|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {int(number): re.findall(r"`([\w/]+\.py)::(\w+)`", tests) for number, tests in rows}
    missing = [
        f"{number}: {path}::{name}"
        for number, tests in named.items()
        for path, name in tests
        if not (ROOT / "tests" / path).exists()
        or not re.search(rf"def {name}\(", (ROOT / "tests" / path).read_text(encoding="utf-8"))
    ]

    assert missing == []
    assert sorted(named) == list(range(1, CLASSES + 1))
    assert [number for number, tests in named.items() if not tests] == []
