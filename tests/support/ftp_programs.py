# SPDX-License-Identifier: Apache-2.0
"""FTP clients that tests run, a tree with names that are not easy, and the comparison of two trees."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.needs import absent, missing

RUN_SECONDS = 120


def tree(root: Path, *, large: int = 12_000_000) -> Path:
    """Files of several sizes."""
    (root / "inner" / "empty").mkdir(parents=True)
    (root / "large").write_bytes(os.urandom(large))
    (root / "none").write_bytes(b"")
    for index in range(30):
        (root / "inner" / f"file {index}").write_bytes(os.urandom(index * 100))
    (root / "caf\u00e9 & co.txt").write_bytes(b"name")
    return root


def run(*words: str | Path, text: str = "", environment: dict[str, str] | None = None) -> str:
    """The output of a program that has to succeed."""
    if missing(str(words[0])):
        absent(str(words[0]))
    done = subprocess.run(
        [str(word) for word in words],
        input=text,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def content(root: Path) -> dict[str, bytes | None]:
    """Names below a directory, and what is in the files; None for directories."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }


def same(one: Path, two: Path) -> None:
    """Both trees hold the same files with the same content."""
    assert content(one) == content(two)
