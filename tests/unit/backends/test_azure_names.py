# SPDX-License-Identifier: Apache-2.0
"""Keys, metadata and times as Azure Blob takes them: each comes back as it was, and no two become one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.backends.objects.azure_names import (
    read_key,
    read_metadata,
    written_key,
    written_metadata,
    written_prefix,
)

LETTERS = "ab./\\\u201b\u2400\u2401\u241f\u2421\uff0e\uff3c\x00\x01\x1f\x7f"
KEYS = st.text(LETTERS, min_size=1, max_size=12)
BAD = "\\\x7f" + "".join(map(chr, range(32)))


@given(KEYS)
@example("\u201b\\")
@example("\u201b\u201b.")
@example("..")
def test_keys_come_back(key: str) -> None:
    written = written_key(key)
    assert read_key(written) == key
    assert not set(written) & set(BAD)
    assert not any(part.endswith(".") for part in written.split("/"))


@given(KEYS, KEYS)
def test_no_two_keys_become_one(first: str, second: str) -> None:
    assert (written_key(first) == written_key(second)) == (first == second)


@given(st.text(LETTERS.replace("\u201b", ""), max_size=8), st.text("abc/", max_size=8))
def test_prefixes_are_those_of_the_keys(prefix: str, rest: str) -> None:
    for whole in (f"{prefix}/", f"{prefix}/.tidegate-part."):
        assert written_key(f"{whole}a{rest}").startswith(written_prefix(whole))
    assert written_prefix("") == ""


@pytest.mark.parametrize(
    ("key", "name"),
    [("a b/ü", "a b/ü"), ("v1.0/x", "v1.0/x"), ("v1./x.", "v1\uff0e/x\uff0e"), ("a\\b\n", "a\uff3cb\u240a")],
)
def test_as_rclone_writes_them(key: str, name: str) -> None:
    assert written_key(key) == name


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9-]{1,9}", fullmatch=True), st.text("ab0:.", max_size=5), max_size=5
    )
)
def test_metadata_come_back(metadata: dict[str, str]) -> None:
    written = written_metadata(metadata)
    assert len(written) == len(metadata)
    assert all(name.removeprefix("x-ms-meta-").isidentifier() for name in written)
    assert (
        read_metadata({name.removeprefix("x-ms-meta-"): value for name, value in written.items()}) == metadata
    )


@given(st.integers(-(10**20), 10**20))
@example(0)
@example(-1)
@example(-(10**9))
@example(10**20 - 1)
def test_times_come_back(total: int) -> None:
    sign = "-" if total < 0 else ""
    text = f"{sign}{abs(total) // 10**9}.{abs(total) % 10**9:09d}"
    [(_, written)] = written_metadata({"mtime": text}).items()
    assert read_metadata({"mtime": written}) == {"mtime": text}
    if 0 <= total < 10**20:
        assert written.endswith("Z")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2001-09-09T01:46:40.000000000Z", "1000000000.000000000"),
        ("2001-09-09T01:46:40Z", "1000000000.000000000"),
        ("2001-09-09T03:46:40.5+02:00", "1000000000.500000000"),
        ("1969-12-31T23:59:59.5Z", "-0.500000000"),
        ("12.5", "12.5"),
        ("2001-13-09T01:46:40Z", "2001-13-09T01:46:40Z"),
    ],
)
def test_times_of_others(said: str, seconds: str) -> None:
    assert read_metadata({"mtime": said}) == {"mtime": seconds}
