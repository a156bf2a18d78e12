# SPDX-License-Identifier: Apache-2.0
"""A running server with its REST API for each test that asks for `world`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.web_world import WebWorld, web_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path) as made:
        yield made
