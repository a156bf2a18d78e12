# SPDX-License-Identifier: Apache-2.0
"""The estimate of password entropy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.policy.strength import alphabet, effective_length, entropy_bits


@pytest.mark.parametrize(
    ("password", "size"),
    [
        ("", 0),
        ("abc", 26),
        ("ABC", 26),
        ("09", 10),
        ("aB3", 62),
        ("aB3!", 95),
        (" ", 33),
        ("é", 128),
        ("aé", 154),
    ],
)
def test_alphabet(password: str, size: int) -> None:
    assert alphabet(password) == size


@pytest.mark.parametrize(
    ("password", "length"),
    [
        ("", 0),
        ("a", 1),
        ("xkqv", 4),
        ("aaaaaaaa", 1),
        ("aaab", 3),
        ("abcdefgh", 2),
        ("87654321", 2),
        ("qwertyui", 2),
        ("poiuyt", 2),
        ("QwErTy", 2),
        ("abcabcabc", 2),
        ("xkqvxkqv", 4),
        ("hunter2", 7),
    ],
)
def test_effective_length(password: str, length: int) -> None:
    assert effective_length(password) == length


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        ("password", "pasSword"),
        ("aaaaaaaaaaaaaaaa", "axkd"),
        ("12345678901234567890", "t8#kQ2"),
        ("qwertyuiopasdf", "correct horse"),
        ("abababababab", "abq7"),
        ("Tr0ub4dor&3", "correct horse battery staple"),
    ],
)
def test_order(weaker: str, stronger: str) -> None:
    assert entropy_bits(weaker) < entropy_bits(stronger)


def test_figures() -> None:
    assert entropy_bits("") == 0.0
    assert entropy_bits("xkqvmzjd") == pytest.approx(8 * math.log2(26))
    assert entropy_bits("xK9!mzQd") == pytest.approx(8 * math.log2(95))


@given(password=st.text(max_size=50), more=st.text(min_size=1, max_size=5))
def test_bounds(password: str, more: str) -> None:
    bits = entropy_bits(password)
    assert 0.0 <= bits <= len(password) * math.log2(26 + 26 + 10 + 33 + 128) * 2
    assert alphabet(password + more) >= alphabet(password)


def test_long_input_is_cut() -> None:
    assert entropy_bits("xkqvmzjd7!" * 10**5) == entropy_bits(("xkqvmzjd7!" * 103)[:1024])
