# SPDX-License-Identifier: Apache-2.0
"""Test files are compiled once for all workers, as pytest would do it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.rewritten import rewrite, share

RUN = """
import sys
from _pytest.assertion import rewrite
import pytest
before = rewrite._rewrite_test
def compiled(file, config):
    if str(file) == sys.argv[1]:  # plugins may not have been compiled before
        raise AssertionError(f"compiled again: {file}")
    return before(file, config)
rewrite._rewrite_test = compiled
sys.exit(pytest.main(["-p", "no:cacheprovider", "-c", "/dev/null", "--noconftest", "-q", sys.argv[1]]))
"""


def test_each_file_is_the_share_of_one_worker() -> None:
    files = [Path(str(number)) for number in range(10)]
    shares = [share(files, worker, 3) for worker in range(3)]
    assert sorted(file for one in shares for file in one) == sorted(files)
    assert {len(one) for one in shares} == {3, 4}


def test_pytest_takes_what_was_compiled_ahead(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "test_x.py"
    file.write_text("def test_x():\n    value = 2\n    assert value == 3\n")
    assert rewrite(pytestconfig, [file]) == 1
    assert rewrite(pytestconfig, [file]) == 0
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "assert 2 == 3" in done.stdout, done.stdout + done.stderr
    file.write_text("def test_x():\n    assert True\n")
    assert rewrite(pytestconfig, [file]) == 1


def test_nothing_is_kept_where_that_is_not_wanted(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "test_x.py"
    file.write_text("def test_x():\n    assert True\n")
    assert rewrite(pytestconfig, [file]) == 0
    assert list(tmp_path.iterdir()) == [file]
