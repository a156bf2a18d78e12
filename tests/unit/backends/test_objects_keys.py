# SPDX-License-Identifier: Apache-2.0
"""Names become keys of objects and come back; what no name leads to is not shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.backends.objects.keys import Keys, check_key, decode, encode, partial_name
from tidegate.errors import InvalidPath, NotFound

RAW = st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw and b"/" not in raw)


@given(RAW)
def test_every_name_comes_back(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    if name in {".", ".."}:
        return
    component = encode(name)
    component.encode()  # valid UTF-8
    assert decode(component) == name


@given(RAW, RAW)
def test_two_names_never_have_one_key(first: bytes, second: bytes) -> None:
    names = [raw.decode("utf-8", "surrogateescape") for raw in (first, second)]
    assert (encode(names[0]) == encode(names[1])) is (first == second)


def test_bytes_that_are_no_utf8_are_quoted() -> None:
    assert encode("a\udcff\udc80b") == "a\u201bFF\u201b80b"
    assert encode("\u201bFF") == "\u201b\u201bFF"
    assert decode("\u201bFF") == "\udcff"


@pytest.mark.parametrize(
    "component",
    ["", ".", "..", "n" * 256, "nul\0", "\u201bC3\u201bA9", "lone \u201b", "\u201bff", "\u201b41"],
)
def test_components_without_a_name(component: str) -> None:
    assert decode(component) is None


def test_a_surrogate_that_is_no_byte_is_refused() -> None:
    with pytest.raises(InvalidPath):
        encode("\ud800")
    with pytest.raises(InvalidPath):
        Keys("").object("dir/\ud800")


def test_keys_of_a_root() -> None:
    keys = Keys("/users/alice/")
    assert keys.object("a/b") == "users/alice/a/b"
    assert keys.folder("a") == "users/alice/a/"
    assert keys.folder("") == "users/alice/"
    assert Keys("").folder("") == ""
    with pytest.raises(InvalidPath, match="too long for this storage"):
        keys.object("/".join(["n" * 200] * 6))


def test_records_of_unfinished_uploads_cannot_be_named() -> None:
    with pytest.raises(NotFound):
        check_key(f"dir/{partial_name('x')}")
    assert partial_name("x") != partial_name("y")
