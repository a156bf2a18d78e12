# SPDX-License-Identifier: Apache-2.0
"""Rights that listings tell: those that the gate decides by, asked once where no name matters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.gates import gate, path

from tidegate.model import FilePatterns, Intent, Permission
from tidegate.model.rights import Right
from tidegate.policy.gate import Gate
from tidegate.policy.rights import DirectoryRights

NAMES = sorted(p.value for p in Permission)
ENTRIES = st.dictionaries(
    st.sampled_from(["/", "/d", "/d/e", "/d/*"]), st.lists(st.sampled_from(NAMES), max_size=6), max_size=4
)
PATTERNS = st.lists(
    st.builds(
        FilePatterns,
        path=st.sampled_from(["/", "/d", "/d/e"]),
        denied_patterns=st.sampled_from([(), ("*.exe",), ("e",)]),
        allowed_patterns=st.sampled_from([(), ("*.txt", "e")]),
        deny_policy=st.sampled_from([0, 1]),
    ),
    max_size=2,
    unique_by=lambda one: one.path,
)
FILE = {
    Right.READ: Intent.DOWNLOAD,
    Right.WRITE: Intent.OVERWRITE,
    Right.REMOVE: Intent.DELETE_FILE,
    Right.RENAME: Intent.RENAME_FILE,
}
DIRECTORY = {Right.LIST: Intent.LIST, Right.REMOVE: Intent.DELETE_DIR, Right.RENAME: Intent.RENAME_DIR}


@given(ENTRIES, PATTERNS, st.sampled_from(["/", "/d", "/d/e"]), st.sampled_from(["a.txt", "a.exe", "e", "d"]))
def test_each_right_is_what_the_gate_decides(
    permissions: dict[str, list[str]], patterns: list[FilePatterns], directory: str, name: str
) -> None:
    judge = gate(permissions, patterns)
    rights = DirectoryRights(judge, path(directory))
    there = path(directory).child(name)
    for is_dir, table in ((False, FILE), (True, DIRECTORY)):
        found = rights.of(name, is_dir=is_dir)
        for right, intent in table.items():
            target = there if "rename" in intent.value else None
            assert (right in found) is judge.decide(intent, there, target=target).allowed, (right, there)


def test_what_may_be_made_inside_is_a_matter_of_permissions() -> None:
    judge = gate({"/": ["list"], "/d": ["upload", "delete_dirs"]})
    rights = DirectoryRights(judge, path("/"))
    assert rights.of("d", is_dir=True) == Right.CREATE_FILES | Right.REMOVE_INSIDE
    assert rights.of("", is_dir=True) == Right.LIST


@pytest.mark.parametrize(
    ("permissions", "is_dir", "asked"),
    [
        ({"/": ["*"]}, False, len(FILE)),
        ({"/": ["*"]}, True, len(DIRECTORY)),
        ({"/": ["*"], "/d/sub": ["list"]}, False, len(FILE)),
    ],
)
def test_a_listing_of_many_names_asks_once(
    monkeypatch: pytest.MonkeyPatch, permissions: dict[str, list[str]], is_dir: bool, asked: int
) -> None:
    calls: list[Intent] = []
    decide = Gate.decide

    def counted(self: Gate, intent: Intent, *args: Any, **more: Any) -> Any:
        calls.append(intent)
        return decide(self, intent, *args, **more)

    monkeypatch.setattr(Gate, "decide", counted)
    rights = DirectoryRights(gate(permissions), path("/d"))
    found = {rights.of(f"name-{index}", is_dir=is_dir) for index in range(10_000)}
    assert len(found) == 1
    assert len(calls) == asked
