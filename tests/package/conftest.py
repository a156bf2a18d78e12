# SPDX-License-Identifier: Apache-2.0
"""The release that all tests of packages share; everything here is run by ``make package-test``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.package.systems import System

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".venv-release" / "bin"
BUILD_SECONDS = 900


@dataclass(frozen=True)
class Release:
    """A release in a directory."""

    place: Path

    @property
    def wheel(self) -> Path:
        (found,) = self.place.glob("tidegate-*.whl")
        return found

    @property
    def sdist(self) -> Path:
        (found,) = self.place.glob("tidegate-*.tar.gz")
        return found


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Only who asks for packages waits for them to be built."""
    return None if "package" in config.option.markexpr.replace("not package", "") else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.package)
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS))


def run(*words: str | Path, code: int = 0, **options: object) -> str:
    """A program that has to end with this code; returns what it prints."""
    done = subprocess.run(
        [str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=BUILD_SECONDS, **options,
    )  # type: ignore[call-overload]  # fmt: skip
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return str(done.stdout)


def without_network(**extra: str) -> dict[str, str]:
    """An environment in which installers find no index, no git and no variables of ours."""
    kept = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("TIDEGATE_", "SFTPGO_", "PIP_", "UV_", "PYTHON", "VIRTUAL_ENV"))
    }  # fmt: skip
    return {**kept, "PATH": "/usr/bin:/bin", **extra}


@pytest.fixture(scope="session")
def release() -> Release:
    """The release that ``make release`` has made of the commit that is checked out."""
    made = Release(Path(os.environ.get("TIDEGATE_DIST", ROOT / "dist")).resolve())
    assert (made.place / "SHA256SUMS").exists(), "make release"
    return made


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A minimal Debian of its own for a file of tests."""
    from tests.package.systems import copied

    made = copied(tmp_path_factory.mktemp("system") / "root")
    yield made
    shutil.rmtree(made.place)
