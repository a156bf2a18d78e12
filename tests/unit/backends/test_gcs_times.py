# SPDX-License-Identifier: Apache-2.0
"""Times in metadata of Google Cloud Storage: those of rclone and gsutil are understood, and ours are by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.backends.objects.gcs_times import GSUTIL, for_port, for_service
from tidegate.backends.objects.metadata import seconds_text


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        ({}, {}),
        ({"a": "1"}, {"a": "1"}),
        ({"mtime": "2001-09-09T01:46:40Z"}, {"mtime": "1000000000.000000000"}),
        ({"mtime": "2001-09-09T03:46:40.5+02:00"}, {"mtime": "1000000000.500000000"}),
        ({"mtime": "2001-09-09T01:46:40.123456789Z", GSUTIL: "7"}, {"mtime": "1000000000.123456789"}),
        ({GSUTIL: "1000000000"}, {"mtime": "1000000000.000000000"}),
        ({"mtime": "12.5", GSUTIL: "7"}, {"mtime": "12.5"}),
        ({"mtime": "yesterday"}, {"mtime": "yesterday"}),
        ({"mtime": "2001-09-09"}, {"mtime": "2001-09-09"}),
        ({"mtime": "2001-09-09T01:46:40"}, {"mtime": "2001-09-09T01:46:40"}),
        ({"mtime": "yesterday", GSUTIL: "7"}, {"mtime": "7.000000000"}),
        ({GSUTIL: "soon"}, {}),
    ],
)
def test_times_of_others(stored: dict[str, str], seen: dict[str, str]) -> None:
    assert for_port(stored) == seen


@given(st.integers(-(10**20) + 1, 10**20 - 1))
def test_ours_come_back(ns: int) -> None:
    metadata = {"mtime": seconds_text(ns), "other": "x"}
    stored = for_service(metadata)
    assert stored[GSUTIL] == str(ns // 10**9)
    assert for_port(stored) == metadata


def test_the_form_of_others() -> None:
    assert for_service({"mtime": "1000000000.500000000"}) == {
        "mtime": "2001-09-09T01:46:40.500000000Z",
        GSUTIL: "1000000000",
    }
    assert for_service({"a": "1", "mtime": "7.5"}) == {"a": "1", "mtime": "7.5"}
