# SPDX-License-Identifier: Apache-2.0
"""The entry of an account's permissions that speaks for a directory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gates import path

from tidegate.model import Permission
from tidegate.policy.permissions import MAX_MEMO, PermissionTable, expand

TABLE = {
    "/": ("list",),
    "/in": ("upload",),
    "/in/deep/er": ("download",),
    "/closed": (),
    "trail/": ("chmod",),
    "/x/../clean": ("chown",),
    "/u/*": ("rename",),
    "/u/*/pub": ("copy",),
    "/u/bob": ("delete",),
    "/u/b*": ("chtimes",),
    "/[ab]?": ("overwrite",),
}


@pytest.mark.parametrize(
    ("directory", "key"),
    [
        ("/", "/"),
        ("/other/down", "/"),
        ("/in", "/in"),
        ("/in/deep", "/in"),
        ("/in/deep/er", "/in/deep/er"),
        ("/in/deep/er/and/more", "/in/deep/er"),
        ("/inside", "/"),
        ("/IN", "/"),
        ("/closed/x", "/closed"),
        ("/trail/x", "/trail"),
        ("/clean", "/clean"),
        ("/u", "/"),
        ("/u/ann", "/u/*"),
        ("/u/ann/x", "/u/*"),
        ("/u/ann/pub/x", "/u/*/pub"),
        ("/u/bob", "/u/bob"),
        ("/u/bob/x", "/u/bob"),
        ("/u/bob/pub", "/u/*/pub"),
        ("/u/bea", "/u/b*"),
        ("/a1", "/[ab]?"),
        ("/a1/x", "/[ab]?"),
        ("/a", "/"),
        ("/c1", "/"),
        ("/u/*", "/u/*"),
    ],
)
def test_nearest_ancestor_wins(directory: str, key: str) -> None:
    grant = PermissionTable(TABLE).lookup(path(directory))
    assert grant.key == key
    assert grant.rule == f"permissions[{key}]"


def test_no_union() -> None:
    table = PermissionTable({"/": ("list", "download"), "/in": ("upload",)})
    assert table.lookup(path("/in")).names == {Permission.UPLOAD}


def test_where_keeps_the_key_as_written() -> None:
    assert PermissionTable(TABLE).lookup(path("/trail")).where == "permissions.trail/"


def test_most_literal_pattern_is_asked_first_whatever_the_order() -> None:
    one = {"/u/*": ("list",), "/u/rep*": ("upload",), "/u/?eports": ("download",)}
    for keys in (list(one), list(reversed(one))):
        grant = PermissionTable({key: one[key] for key in keys}).lookup(path("/u/reports"))
        assert grant.key == "/u/?eports"


def test_star_stays_within_a_component() -> None:
    table = PermissionTable({"/": (), "/a*": ("*",), "/b/*/c": ("*",)})
    assert table.lookup(path("/b/x/y/c")).key == "/"
    assert table.lookup(path("/b/x/c")).key == "/b/*/c"


def test_keys_that_clean_to_one_keep_what_both_grant() -> None:
    table = PermissionTable({"/": ("*",), "/in": ("list", "upload"), "/in/": ("upload", "download")})
    assert table.lookup(path("/in")).names == {Permission.UPLOAD}


def test_uncovered_and_unreadable_keys_grant_nothing() -> None:
    table = PermissionTable({"/in\0": ("*",), "/a": ("*",)})
    assert table.lookup(path("/in")).names == frozenset()
    assert table.lookup(path("/")).rule == "permissions"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["*"], set(Permission)),
        (["delete"], {"delete", "delete_files", "delete_dirs"}),
        (["rename"], {"rename", "rename_files", "rename_dirs"}),
        (["delete_files"], {"delete_files"}),
        (["delete_files", "delete_dirs"], {"delete", "delete_files", "delete_dirs"}),
        (["rename_dirs", "rename_files"], {"rename", "rename_files", "rename_dirs"}),
        (["LIST", "nonsense", ""], set()),
        ([], set()),
    ],
)
def test_expand(names: list[str], found: set[str]) -> None:
    assert expand(tuple(names)) == found


def test_below() -> None:
    table = PermissionTable(TABLE)
    assert {g.key for g in table.below(path("/in"))} == {"/in", "/in/deep/er"}
    assert {g.key for g in table.below(path("/u/ann"))} == {"/u/*", "/u/*/pub"}
    assert {g.key for g in table.below(path("/other"))} == set()
    assert {g.key for g in table.below(path("/"))} >= {"/", "/closed", "/u/bob"}


def test_memory_is_bounded() -> None:
    table = PermissionTable({"/": ("list",), "/a/b/c": ("*",)})
    for number in range(MAX_MEMO + 10):
        table.lookup(path(f"/d{number}/x/y/z"))
    assert len(table._memo) <= MAX_MEMO
    assert table.lookup(path("/a/b/c/d")).key == "/a/b/c"


SEGMENTS = st.lists(st.sampled_from(["a", "b", "c", "*", "?", "[ab]"]), max_size=4)
PLAIN = st.lists(st.sampled_from(["a", "b", "c"]), max_size=5)


@settings(max_examples=300, deadline=None)
@given(keys=st.lists(SEGMENTS, max_size=6), directory=PLAIN)
def test_same_answer_as_the_plain_definition(keys: list[list[str]], directory: list[str]) -> None:
    """The memo and the cut to the deepest key change nothing."""
    meaning = {"*": "abc", "?": "abc", "[ab]": "ab", "a": "a", "b": "b", "c": "c"}
    listed = {"/" + "/".join(key) for key in keys}
    where = path("/" + "/".join(directory))
    found = PermissionTable(dict.fromkeys(listed, ("list",))).lookup(where).key
    for ancestor in where.ancestors():
        if ancestor in listed:
            assert found == ancestor
            return
        parts = ancestor.parts
        candidates = [
            key
            for key in listed
            if len(path(key).parts) == len(parts)
            and all(part in meaning[k] for k, part in zip(path(key).parts, parts, strict=True))
        ]
        if candidates and parts:
            assert found in candidates
            return
    assert not found
