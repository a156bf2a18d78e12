# SPDX-License-Identifier: Apache-2.0
"""Compiles test files once for all workers of a run, instead of once in each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def share(files: Sequence[Path], worker: int, workers: int) -> Sequence[Path]:
    """The files that one worker compiles."""
    return files[worker % workers :: workers]


def rewrite(config: pytest.Config, files: Sequence[Path]) -> int:
    """Compile test files with their asserts rewritten, and keep them where pytest looks for them.

    Rewriting all of them takes 15 s of CPU: much, where every worker does it because nothing is kept yet, as in a
    new clone. Calls functions of pytest that are not documented; without them, pytest does it as ever.

    Returns:
        how many were compiled; those that are kept already are not.
    """
    if sys.dont_write_bytecode:
        return 0
    try:
        from _pytest.assertion.rewrite import (
            PYC_TAIL,
            _read_pyc,
            _rewrite_test,
            _write_pyc,
            assertstate_key,
            get_cache_dir,
            try_makedirs,
        )  # fmt: skip
    except ImportError:
        return 0
    state = config.stash.get(assertstate_key, None)
    if state is None:  # --assert=plain
        return 0
    done = 0
    for file in files:
        kept = get_cache_dir(file) / (file.name[:-3] + PYC_TAIL)
        if _read_pyc(file, kept) is None and try_makedirs(kept.parent):
            found, code = _rewrite_test(file, config)
            done += _write_pyc(state, code, found, kept)
    return done


def rewrite_share(config: pytest.Config) -> None:
    """Compile what is this worker's of all test files; nothing where there is one process only."""
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        number = int(worker["workerid"].removeprefix("gw"))
        by_size = sorted(
            TESTS.rglob("test_*.py"), key=lambda file: (file.stat().st_size, file)
        )  # equal shares
        rewrite(config, share(by_size, number, worker["workercount"]))
