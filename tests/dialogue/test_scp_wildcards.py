# SPDX-License-Identifier: Apache-2.0
"""Patterns of file names, held against a real shell, and their bounds."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.memory_session import MemorySession

from tidegate.doors.common.command_line import split
from tidegate.doors.scp import wildcards
from tidegate.doors.scp.wildcards import compiled, expand
from tidegate.errors import Denied, InvalidArgument
from tidegate.model import ROOT

NAMES = [
    "a",
    "b",
    "ab",
    "a.txt",
    "b.txt",
    ".hid",
    ".x.txt",
    "[x]",
    "a*b",
    "a?b",
    "a-b",
    "]",
    "^a",
    "!a",
    "\\",
    "é",
]
PATTERNS = [
    "*", "?", "??", "a*", "*.txt", ".*", ".??*", "[ab]", "[!a]", "[^a]*", "[a-c].txt", "[]]", "[]a]*", "[!]]", "[a-]*",
    "[-a]", "\\[x\\]", "'[x]'", "a\\*b", 'a"*"b', "[*]", "a[*?]b", "[", "[a", "a[", "**", "*a*b*", "[.]x*", "\\.*", "[\\]]",
    "[z-a]", "[a-a]", "*\\\\*", "[\\\\]", "é", "[é]",
]  # fmt: skip


def session_of(names: list[str]) -> MemorySession:
    session = MemorySession()
    for name in names:
        session.put(f"/{name}")
    return session


@pytest.mark.needs("bash")
async def test_as_a_shell_expands(tmp_path: Path) -> None:
    session = session_of(NAMES)
    for name in NAMES:
        (tmp_path / name).touch()
    for line in PATTERNS:
        script = f"printf '%s\\0' {line}"
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, check=True, cwd=tmp_path, env={"LC_ALL": "C.UTF-8"}
        )
        shell = {word.decode() for word in done.stdout.split(b"\0")[:-1]}
        (word,) = split(line)
        found = {path.name for path in await expand(session, word.pattern, ROOT)} if word.pattern else set()
        assert (found or {str(word)}) - {".", ".."} == shell - {".", ".."}, line


async def test_order_and_what_cannot_be_listed() -> None:
    session = session_of(["d/b", "d/a", "e/c", "f"])
    assert await expand(session, "*/*", ROOT) == ["/d/a", "/d/b", "/e/c"]
    assert await expand(session, "*/a", ROOT) == ["/d/a"]
    assert await expand(session, "/d/../[ef]", ROOT) == ["/e", "/f"]
    session.errors["list"] = Denied()
    assert await expand(session, "*", ROOT) == []


async def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of([f"d/{number}" for number in range(50)])
    monkeypatch.setattr(wildcards, "MAX_MATCHES", 49)
    with pytest.raises(InvalidArgument, match="matches more than"):
        await expand(session, "d/*", ROOT)
    monkeypatch.setattr(wildcards, "MAX_LOOKED_AT", 50)
    with pytest.raises(InvalidArgument, match="were compared"):
        await expand(session, "*/x*", ROOT)
    with pytest.raises(InvalidArgument, match="more than 16 components"):
        await expand(session, "/".join(["*"] * 17), ROOT)


def test_no_name_makes_matching_slow() -> None:
    started = time.perf_counter()
    for pattern in ("*a" * 100 + "b", "*" * 250, "[a]*" * 60, "?*" * 120):
        compiled(pattern).fullmatch("a" * 255)
    assert time.perf_counter() - started < 2


@settings(max_examples=300)
@given(
    st.text(st.sampled_from("ab[]!^-*?\\."), max_size=12),
    st.text(st.sampled_from("ab[]!-.\\"), min_size=1, max_size=5),
)
def test_compiling_is_total(pattern: str, name: str) -> None:
    compiled(pattern).fullmatch(name)


@pytest.mark.parametrize("pattern", ["/*/*x", "/*/here", "/*/missing"])
async def test_others_have_the_loop_meanwhile(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    """A local disk answers without waiting: many directories are one long turn unless it is given up."""
    monkeypatch.setattr(wildcards, "SLICE_SECONDS", 0.0)
    session = session_of([f"d{number}/here" for number in range(300)])
    loop, turns = asyncio.get_running_loop(), 0

    def turn() -> None:
        nonlocal turns, ticking
        turns += 1
        ticking = loop.call_soon(turn)

    ticking = loop.call_soon(turn)
    await expand(session, pattern, ROOT)
    ticking.cancel()
    assert turns >= 300
