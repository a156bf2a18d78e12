# SPDX-License-Identifier: Apache-2.0
"""Large pages: which memory is asked for, and that asking changes nothing but its pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidegate.resources.huge_pages import PAGE, areas, use_huge_pages

SMAPS = """\
55d000000000-55d000001000 r--p 00000000 fe:00 1234                       /usr/bin/python3.11
Size:                  4 kB
Rss:                   4 kB
55d000100000-55d000d00000 rw-p 00000000 00:00 0                          [heap]
Size:              12288 kB
Rss:               12000 kB
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Size:               4096 kB
Rss:                4096 kB
7f0010000000-7f0010800000 rw-p 00000000 00:00 0
Size:               8192 kB
Rss:                  32 kB
7f0020000000-7f0020400000 rw-p 00000000 fe:00 99                         /lib/some.so
Size:               4096 kB
Rss:                4096 kB
7f0030100000-7f0030300000 rw-p 00000000 00:00 0
Size:               2048 kB
Rss:                2048 kB
7f0040000000-7f0040400000 r-xp 00000000 00:00 0
Size:               4096 kB
Rss:                4096 kB
7ffd00000000-7ffd00400000 rw-p 00000000 00:00 0                          [stack]
Size:               4096 kB
Rss:                4096 kB
"""


def test_only_private_memory_that_is_in_use_and_holds_a_large_page():
    assert list(areas(SMAPS)) == [(0x55D000200000, 5 * PAGE), (0x7F0000000000, 2 * PAGE)]
    assert list(areas("")) == []


PROGRAM = """
import sys
from tidegate.resources.huge_pages import use_huge_pages
kept = [bytes([number % 256]) * 1000 for number in range(40_000)]
def large():
    lines = open("/proc/self/smaps").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:")) * 1024
before = large()
moved = use_huge_pages()
print(moved, large() - before)
assert kept == [bytes([number % 256]) * 1000 for number in range(40_000)]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_memory_is_in_large_pages_where_the_system_can_and_holds_what_it_held():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    moved, large = map(int, done.stdout.split())
    assert 0 <= large <= moved + PAGE
    if moved:  # the kernel knows MADV_COLLAPSE, and had large pages
        assert moved >= 10 * PAGE
        assert large > 0


def test_no_harm_without_proc(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", absent)
    assert use_huge_pages() == 0
