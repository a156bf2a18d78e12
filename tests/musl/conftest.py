# SPDX-License-Identifier: Apache-2.0
"""The image for Alpine, built once for all tests of it; run by ``make musl-test`` alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.package.conftest import BUILD_SECONDS


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Only who asks for musl waits for an image to be built."""
    return None if "musl" in config.option.markexpr.replace("not musl", "") else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.musl)
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS))
