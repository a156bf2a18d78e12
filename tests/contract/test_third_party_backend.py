# SPDX-License-Identifier: Apache-2.0
"""A storage of somebody else's package keeps the whole contract."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.testing.backend import BackendCheck, backend_checks, run_check

PACKAGE = Path(__file__).parents[1] / "third_party" / "storage"


@pytest.fixture(scope="module")
def package() -> Iterator[object]:
    sys.path.insert(0, str(PACKAGE))
    try:
        import tidegate_sqlar

        yield tidegate_sqlar
    finally:
        sys.path.remove(str(PACKAGE))


@pytest.mark.parametrize("check", backend_checks(), ids=lambda check: check.__name__)
async def test_contract(check: BackendCheck, package, tmp_path: Path) -> None:
    numbers = itertools.count()
    options = package.SqlarOptions()
    await run_check(check, lambda: package.SqlarBackend(tmp_path / str(next(numbers)), options))
