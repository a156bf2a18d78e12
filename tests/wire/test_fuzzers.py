# SPDX-License-Identifier: Apache-2.0
"""Each fuzzer starts from its command line and finds nothing in a few cases; long runs are by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.runner import keep, kept

FOLDER = Path(__file__).parents[2] / "fuzz"


@pytest.mark.parametrize(
    "name", sorted(file.name for file in FOLDER.glob("*.py") if file.name != "runner.py")
)
def test_it_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), "--seed", "1", "--count", "15"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("15 ")


@pytest.mark.parametrize(("name", "seed"), sorted(set(kept())))
def test_a_seed_that_was_kept_finds_nothing(name: str, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), "--seed", str(seed), "--count", "1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_seed_of_a_failure_is_kept_once(tmp_path: Path) -> None:
    seeds, fuzzer = tmp_path / "seeds.txt", tmp_path / "broken.py"
    seeds.write_text("# found: nothing\n\nother.py 7  # a remark\n")
    fuzzer.write_text(
        "from fuzz.runner import run\n"
        "def case(chance, seed):\n    assert seed < 12\n"
        "run('broken.py', '', case, print)\n"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(fuzzer), "--seed", "10", "--count", "9", "--seeds", str(seeds)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
        )
        assert done.returncode == 1
        assert "failed: python fuzz/broken.py --seed 12 --count 1" in done.stderr
    assert list(kept(seeds)) == [("other.py", 7), ("broken.py", 12)]
    keep("broken.py", 13, seeds)
    assert list(kept(seeds))[-1] == ("broken.py", 13)
