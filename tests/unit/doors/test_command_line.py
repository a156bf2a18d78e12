# SPDX-License-Identifier: Apache-2.0
"""Command lines, split as a shell splits them: held against Python's own splitter and against a real shell."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.doors.common.command_line import MAX_ARGUMENTS, MAX_COMMAND, split
from tidegate.errors import InvalidArgument


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        (" \t a\nb ", ["a", "b"]),
        ("a'b c'd\"e f\"g\\ h", ["ab cde fg h"]),
        ("'' \"\" a''", ["", "", "a"]),
        ("'a\\b' \"a\\b\" \"a\\\\b\" \"a\\$b\\`\\\"\"", ["a\\b", "a\\b", "a\\b", 'a$b`"']),
        ("'it'\\''s' 'it'\"'\"'s'", ["it's", "it's"]),
        ('a\\\nb "c\\\nd"', ["ab", "cd"]),
        ("$(id) `id` ; | & > <", ["$(id)", "`id`", ";", "|", "&", ">", "<"]),
        ("caf\udcff", ["caf\udcff"]),
    ],
)  # fmt: skip
def test_words(line: str, words: list[str]) -> None:
    assert split(line) == words


@pytest.mark.parametrize(
    "line", ["'a", '"a', "a\\", '"a\\', "a\0b", "x" * (MAX_COMMAND + 1), "a " * (MAX_ARGUMENTS + 1)]
)
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(InvalidArgument):
        split(line)


@pytest.mark.parametrize(
    ("line", "pattern", "home"),
    [
        ("*.txt", "*.txt", False),
        ("'*'.txt", "", False),
        ("a\\*b", "", False),
        ("'a*'?", "a\\*?", False),
        ('"[x]"*\\\\', "\\[x\\]*\\\\", False),
        ("~/[ab]", "~/[ab]", True),
        ("'~'/x", "", False),
        ("\\~/*", "~/*", False),
        ("a~", "", False),
    ],
)
def test_patterns_and_home(line: str, pattern: str, home: bool) -> None:
    (word,) = split(line)
    assert (word.pattern, word.home) == (pattern, home)


@given(st.text(st.sampled_from("ab '\"\\\n*"), max_size=30))
def test_as_python_splits(line: str) -> None:
    try:
        expected: list[str] | None = shlex.split(line)
    except ValueError:
        expected = None
    try:
        found: list[str] | None = [str(word) for word in split(line)]
    except InvalidArgument:
        found = None
    if "\\\n" not in line:  # a shell takes both away, Python's splitter keeps the newline
        assert found == expected


@pytest.mark.needs("sh")
def test_as_a_shell_splits() -> None:
    lines = ["a\\\nb", "'a'\\''b' c", '"a\\b\\"" d', "\\a\\'\\\"", "'' x", 'a"b\\\nc"d']
    for line in lines:
        done = subprocess.run(["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
        assert [word.decode() for word in done.stdout.split(b"\0")[:-1]] == split(line)
