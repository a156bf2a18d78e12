# SPDX-License-Identifier: Apache-2.0
"""Virtual paths: whatever a client sends becomes an absolute, clean path, or a clear refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import InvalidPath
from tidegate.model import ROOT, VPath
from tidegate.model.path import MAX_PATH_BYTES


@pytest.mark.parametrize(
    ("raw", "base", "clean"),
    [
        ("", None, "/"),
        (".", None, "/"),
        ("/", None, "/"),
        ("//", None, "/"),
        ("/.", None, "/"),
        ("/..", None, "/"),
        ("/a/", None, "/a"),
        ("/a//b", None, "/a/b"),
        ("/a/./b", None, "/a/b"),
        ("/a/../b", None, "/b"),
        ("/a/b/../..", None, "/"),
        ("/../../a", None, "/a"),
        ("a/b", None, "/a/b"),
        ("a", "/home", "/home/a"),
        ("..", "/home/x", "/home"),
        ("../../../etc", "/home/x", "/etc"),
        ("/a", "/home", "/a"),
        ("/.hidden", None, "/.hidden"),
        ("/a/.b./..c", None, "/a/.b./..c"),
        ("/...", None, "/..."),
        ("/ a /b ", None, "/ a /b "),
        ("~", None, "/~"),
        ("\\..\\a", None, "/\\..\\a"),
    ],
)
def test_paths_are_cleaned(raw, base, clean):
    assert VPath.parse(raw, None if base is None else VPath(base)) == clean
    assert VPath.parse(raw.encode(), None if base is None else VPath(base)) == clean


def test_bytes_that_are_not_utf_8_survive():
    path = VPath.parse(b"/in/caf\xe9 \xff")

    assert path.to_bytes() == b"/in/caf\xe9 \xff"
    assert path.parent == "/in"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("/a\0b", "NUL"),
        (b"/a\0", "NUL"),
        ("/" + "a" * MAX_PATH_BYTES, "too long"),
        ("/" + "é" * (MAX_PATH_BYTES // 2), "too long"),
        ("/\ud800", "Unicode"),
    ],
)
def test_what_is_no_path_is_refused(raw, text):
    with pytest.raises(InvalidPath, match=text):
        VPath.parse(raw)


def test_parts_and_kin():
    path = VPath.parse("/a/b/c")

    assert path.parts == ("a", "b", "c")
    assert path.name == "c"
    assert path.key == "a/b/c"
    assert path.ancestors() == ["/a/b/c", "/a/b", "/a", "/"]
    assert path.child("d") == "/a/b/c/d"
    assert path.relative_to("/a") == "b/c"
    assert path.relative_to("/") == "a/b/c"
    assert path.relative_to(path) == ""
    assert ROOT.parent == ROOT
    assert ROOT.name == ""
    assert ROOT.parts == ()
    assert ROOT.child("x") == "/x"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0"])
def test_a_child_is_one_component(name):
    with pytest.raises(InvalidPath):
        ROOT.child(name)


def test_a_sibling_with_the_same_prefix_is_not_within():
    assert VPath("/home2").is_within("/home") is False
    assert VPath("/home/x").is_within("/home") is True
    assert VPath("/home").is_within("/home") is True
    assert VPath("/x").is_within("/") is True


@given(st.binary(max_size=300), st.sampled_from(["/", "/a", "/a/b"]))
def test_nothing_parses_to_anything_but_a_clean_path(raw, base):
    try:
        path = VPath.parse(raw, VPath(base))
    except InvalidPath:
        assert b"\0" in raw
        return
    assert path.startswith("/")
    assert path == "/" or not path.endswith("/")
    assert not {"", ".", ".."} & set(path.parts)
    assert VPath.parse(path) == path
