# SPDX-License-Identifier: Apache-2.0
"""Servers that the tests of this ring share: one with the fast lane and one without, started when needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from tests.support.running import Person, Running, running


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bool], Running]]:
    started: dict[bool, Running] = {}
    with contextlib.ExitStack() as stack:

        def get(fast_lane: bool) -> Running:
            if fast_lane not in started:
                directory = tmp_path_factory.mktemp("serve") / "config"
                started[fast_lane] = stack.enter_context(running(directory, fast_lane=fast_lane))
            return started[fast_lane]

        yield get


@pytest.fixture(params=[True, False], ids=["lane", "plain"])
def server(request: pytest.FixtureRequest, servers: Callable[[bool], Running]) -> Running:
    """The running product, with the fast lane and without; shared, so tests add accounts of their own."""
    return servers(request.param)


@pytest.fixture
def person(server: Running) -> Iterator[Person]:
    """A fresh account that may do everything; nothing of an upload may stay behind in its home."""
    fresh = server.account()
    yield fresh
    assert fresh.leftovers() == []
