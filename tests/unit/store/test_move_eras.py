# SPDX-License-Identifier: Apache-2.0
"""The releases and formats at which words of SFTPGo changed their meaning, at the edge of each."""

from __future__ import annotations

import pytest

from tidegate.errors import BadRecord
from tidegate.store.legacy.era import era_of, parse_release


@pytest.mark.parametrize(
    ("word", "last", "first"),
    [
        ("denied_first", "2.5.1", "2.5.2"),
        ("directories", "2.2.3", "2.3.0"),
        ("directories", "2.2", "2.3"),
        ("ip_denied_first", "2.3.6", "2.4.0"),
        ("ip_denied_first", "2.3", "2.4"),
        ("keyboard", "2.4.5", "2.5.0"),
        ("keyboard", "2.4", "2.5"),
        ("stars", "0.9.6", "1.0.0"),
        ("stars", "2.5.6", "2.6.0"),
        ("newer", "2.7.999", "2.8.0"),
    ],
)
def test_each_release_reads_its_words(word: str, last: str, first: str) -> None:
    before, after = getattr(era_of(None, last), word), getattr(era_of(17, first), word)
    assert before != after
    told = {
        "denied_first": True,
        "directories": False,
        "ip_denied_first": True,
        "keyboard": False,
        "newer": False,
    }
    if word in told:
        assert before is told[word]
    else:
        assert {before, after} in ({"text", "doubt"}, {"doubt", "pattern"})
    assert not era_of(None, last).order_in_doubt


@pytest.mark.parametrize(
    ("word", "last", "first"),
    [
        ("denied_first", 16, 17),
        ("directories", 10, 12),
        ("ip_denied_first", 12, 13),
        ("keyboard", 13, 16),
        ("stars", None, 6),
        ("stars", 16, 17),
        ("newer", 17, 18),
    ],
)
def test_each_format_reads_its_words(word: str, last: int | None, first: int) -> None:
    assert getattr(era_of(last), word) != getattr(era_of(first), word)


def test_a_format_with_two_readings_says_so() -> None:
    assert [number for number in (None, 6, 8, 10, 12, 13, 16, 17) if era_of(number).order_in_doubt] == [16]


@pytest.mark.parametrize("text", ["", "2", "0.8.9", "3.0", "3.0.1", "2.5.x", "2.5.1.1", "x"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(BadRecord, match="is not a release of SFTPGo"):
        parse_release(text)
    assert parse_release("v0.9") == (0, 9)
    assert parse_release(" 2.7.5 ") == (2, 7, 5)
