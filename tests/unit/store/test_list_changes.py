# SPDX-License-Identifier: Apache-2.0
"""The notes of changed entries against a slow clear model, and followers that cannot be served by them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.store.list_changes import (
    KEPT,
    MAX_NAMES,
    NOTHING,
    NUMBER,
    changed,
    everything,
    notes,
    wanted,
)


class Follower:
    """Somebody who looks now and then at settings."""

    def __init__(self) -> None:
        self.state = ""

    def look(self, settings: dict[str, str]) -> set[str] | None:
        """Names that have changed, None if everything has to be read."""
        stored = settings.get(NUMBER)
        before, self.state = self.state, stored or NOTHING
        slots = wanted(before, stored)
        if slots is None:
            return None
        return changed(before, stored, {slot: settings[slot] for slot in slots if slot in settings})


@given(st.lists(st.one_of(st.lists(st.sampled_from("abcdef"), max_size=4), st.integers(1, 3)), max_size=40))
def test_a_follower_hears_of_exactly_what_has_changed(steps: list[list[str] | int]) -> None:
    settings: dict[str, str] = {}
    followers = [Follower(), Follower(), Follower()]
    due: list[set[str]] = [set(), set(), set()]
    for one in followers:
        assert one.look(settings) is None  # at first everything
    for now, step in enumerate(steps, start=1000):
        if isinstance(step, list):
            names = [f"2/{name}" for name in dict.fromkeys(step)]
            settings |= notes(settings.get(NUMBER), names, now)
            for one in due:
                one.update(names)
        else:
            assert followers[step - 1].look(settings) == due[step - 1]
            due[step - 1].clear()


def test_many_changes_at_once_and_followers_far_behind_read_everything() -> None:
    settings: dict[str, str] = {}
    near, far = Follower(), Follower()
    for one in (near, far):
        one.look(settings)
    for number in range(KEPT - 1):
        settings |= notes(settings.get(NUMBER), [f"2/{number}"], number)
        if number % 2:
            assert near.look(settings) == {f"2/{number - 1}", f"2/{number}"}
    assert len(settings) == KEPT  # one for each change, and the number
    near.look(settings)
    found = far.look(settings)
    assert found is not None and len(found) == KEPT - 1
    for number in range(KEPT):
        settings |= notes(settings.get(NUMBER), [f"1/{number}"], number)
    assert far.look(settings) is None
    assert len(settings) == KEPT + 1
    for more in (
        notes(settings[NUMBER], [f"3/{number}" for number in range(MAX_NAMES + 1)], 7),
        everything(settings[NUMBER], 8),
    ):
        settings |= more
        assert far.look(settings) is None
        settings |= notes(settings[NUMBER], ["2/x"], 9)
        assert far.look(settings) == {"2/x"}  # and goes on from there
    assert len(notes(None, [str(number) for number in range(MAX_NAMES)], 1)) == MAX_NAMES + 1


def test_a_restored_database_is_read_as_a_whole() -> None:
    settings: dict[str, str] = {}
    one = Follower()
    for number in range(3):
        settings |= notes(settings.get(NUMBER), [f"2/{number}"], number)
    backup = dict(settings)
    settings |= notes(settings[NUMBER], ["2/lost"], 50)
    one.look(settings)
    restored = dict(backup)
    assert one.look(restored) is None  # an older number
    one.look(settings)
    restored |= notes(restored[NUMBER], ["2/other"], 60)
    assert one.look(restored) is None  # the same number of another line
    one.look(settings)
    restored |= notes(restored[NUMBER], ["2/more"], 61)
    assert one.look(restored) is None  # a higher one of another line
    assert one.look({**restored, NUMBER: "9 9"}) is None  # notes that are missing
