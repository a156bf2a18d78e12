# SPDX-License-Identifier: Apache-2.0
"""Markers of lists: each leads on, or the list is an error."""

from __future__ import annotations

import itertools

import pytest

from tidegate.backends.objects.markers import Markers
from tidegate.errors import StorageFailed


def test_the_end_is_what_the_service_says() -> None:
    markers = Markers("List")
    assert [markers.next(name, more=True) for name in ("a", "b", "c")] == ["a", "b", "c"]
    assert markers.next("d", more=False) == ""


def test_more_without_a_marker_is_an_error() -> None:
    with pytest.raises(StorageFailed) as caught:
        Markers("List").next("", more=True)
    assert caught.value.detail == "List: the list goes on, and no marker says where"


@pytest.mark.parametrize("before", [0, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("circle", [1, 2, 3, 10, 64])
def test_a_circle_of_any_length_is_noticed(before: int, circle: int) -> None:
    markers = Markers("List")
    names = itertools.chain((f"b{n}" for n in range(before)), itertools.cycle(f"c{n}" for n in range(circle)))
    with pytest.raises(StorageFailed, match="there already"):
        for count, name in enumerate(names):
            assert count <= 4 * (before + circle) + 2
            markers.next(name, more=True)
