# SPDX-License-Identifier: Apache-2.0
"""Many lines at once: what waits is written piece by piece without gathering in between."""

from __future__ import annotations

import threading

import pytest

from tidegate.logs import writer
from tidegate.logs.writer import PIECE_LINES, Writer

PIECES = 30


def test_a_burst_is_not_held_to_one_piece_in_each_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GATHER_SECONDS", 1.0)
    done, written = threading.Event(), 0

    def write(lines: bytes) -> None:
        nonlocal written
        written += lines.count(b"\n")
        if written == PIECES * PIECE_LINES:
            done.set()

    log = Writer(PIECES * PIECE_LINES, write, lambda: None)
    for _ in range(PIECES * PIECE_LINES):
        log.put(b"line\n")
    assert done.wait(PIECES / 2)
    assert log.lost == 0
    log.stop(10)
