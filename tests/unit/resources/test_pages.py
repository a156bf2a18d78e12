# SPDX-License-Identifier: Apache-2.0
"""Buffers take up memory as they are used."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from tidegate.resources.pages import fresh_pages

SIZE = 64 * 1024**2


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="looks into /proc")
def test_what_was_not_used_is_not_resident() -> None:
    def resident() -> int:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) * 1024

    before = resident()
    buffer = fresh_pages(SIZE)
    assert bytes(buffer[SIZE - 3 :]) == bytes(3)
    buffer[:5] = b"12345"
    assert buffer[:6] == b"12345\0" and len(buffer) == SIZE and not buffer.readonly
    assert resident() - before < SIZE // 4


def test_where_there_are_no_such_pages_it_is_a_buffer_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MAP_ANONYMOUS")
    buffer = fresh_pages(10)
    buffer[:] = b"0123456789"
    assert bytes(buffer) == b"0123456789"
