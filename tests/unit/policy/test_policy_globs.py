# SPDX-License-Identifier: Apache-2.0
"""Shell patterns."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.policy.globs import NameMatcher, compile_one, fold, problem


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*", ["", "a", ".x", "a\nb"], []),
        ("*.exe", [".exe", "a.exe", "a.b.exe", "\n.exe"], ["exe", "a.exe.txt", "a.exe\n"]),
        ("a?c", ["abc", "a.c", "a\nc"], ["ac", "abbc"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x", "abx"]),
        ("[^a-c]x", ["dx", "-x"], ["ax", "x"]),
        ("[!a]", ["b"], ["a", ""]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[a-]", ["a", "-"], ["b"]),
        (r"[\]x]", ["]", "x"], ["\\"]),
        (r"\*.x", ["*.x"], ["a.x"]),
        (r"a\?", ["a?"], ["ab"]),
        ("a*b*c", ["abc", "aXbXc", "abbc", "abcbc"], ["ab", "acb"]),
        ("*ab*ab", ["abab", "ababab", "xabyab"], ["ab", "aba"]),
        ("a**b", ["ab", "axxb"], ["a"]),
        ("[", ["["], ["a"]),
        ("[z-a]", ["[z-a]"], ["m"]),
        ("(a|b)+", ["(a|b)+"], ["a", "aab"]),
        ("$^.", ["$^."], ["x"]),
        ("tail\\", ["tail\\"], ["tail"]),
        ("", [""], ["a"]),
    ],
)
def test_meaning(pattern: str, matching: list[str], others: list[str]) -> None:
    made = compile_one(pattern)
    assert [name for name in matching if not made.fullmatch(name)] == []
    assert [name for name in others if made.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("*.exe", None),
        ("[a-z]*", None),
        (r"\[x", None),
        ("[]x]", None),
        ("", "empty"),
        ("[abc", "never closed"),
        ("a[", "never closed"),
        ("[z-a]", "reversed"),
        ("x\\", "backslash"),
        ("a/b", "base name"),
        ("a\0", "NUL"),
        ("a\x07", "cannot be printed"),
        ("a" * 2000, "longer"),
    ],
)
def test_problem(pattern: str, said: str | None) -> None:
    found = problem(pattern)
    assert (found is None) if said is None else (found is not None and said in found and "\n" not in found)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*.exe", "A.EXE"),
        ("*.EXE", "a.eXe"),
        ("*.é", "x.É"),
        ("*.é", "x.e\u0301"),
        ("*stra\u00dfe", "STRASSE"),
        ("[A-C]?", "bX"),
        ("*.ksh", "a.\u212ash"),
    ],
)
def test_case_and_composition_do_not_matter(pattern: str, name: str) -> None:
    matcher = NameMatcher([pattern])
    assert matcher.matches(fold(name))
    assert matcher.first(fold(name)) == 0


def test_first_says_which() -> None:
    matcher = NameMatcher(["*.a", "b*", "*.c", "?"])
    assert [matcher.first(fold(name)) for name in ("x.A", "bx", "y.c", "z", "none")] == [0, 1, 2, 3, None]
    assert not NameMatcher([])
    assert NameMatcher([]).first("x") is None
    assert not NameMatcher([]).matches("x")


ALPHABET = "ab.*?[]!^-\\"


@settings(max_examples=300, deadline=None)
@given(
    patterns=st.lists(st.text(ALPHABET, max_size=8), max_size=4), name=st.text("ab.*[\\\n\udc80ß", max_size=8)
)
def test_one_or_many_regexes_agree(patterns: list[str], name: str) -> None:
    """The quick way (suffixes, one joined expression) answers as each pattern by itself does."""
    matcher = NameMatcher(patterns)
    folded = fold(name)
    each = [i for i, p in enumerate(patterns) if compile_one(fold(p)).fullmatch(folded)]
    assert matcher.matches(folded) is bool(each)
    assert matcher.first(folded) == (each[0] if each else None)


@settings(max_examples=300, deadline=None)
@given(pattern=st.text("ab*?", max_size=8), name=st.text("ab", max_size=8))
def test_against_the_definition(pattern: str, name: str) -> None:
    def matches(p: str, n: str) -> bool:
        if not p:
            return not n
        if p[0] == "*":
            return any(matches(p[1:], n[i:]) for i in range(len(n) + 1))
        return bool(n) and (p[0] == "?" or p[0] == n[0]) and matches(p[1:], n[1:])

    assert bool(compile_one(pattern).fullmatch(name)) is matches(pattern, name)


def test_no_name_makes_matching_slow() -> None:
    matcher = NameMatcher(["*a*a*a*a*a*a*a*a*b", "*?a?*?a?*[!x]*c"])
    started = time.process_time()
    assert not matcher.matches("a" * 4096)
    assert time.process_time() - started < 0.5
