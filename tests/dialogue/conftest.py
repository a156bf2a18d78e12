# SPDX-License-Identifier: Apache-2.0
"""The SFTP dialogues are held twice: over storage that answers at once, and over one with latency."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.memory_session import DISTANT

SUITE = "test_sftp_"
"""The beginning of the names of these test files; `inline_only` marks what is about answers without
waiting."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "storage_flavour" not in metafunc.fixturenames:
        return
    ours = metafunc.module.__name__.rpartition(".")[2].startswith(SUITE)
    both = ours and not metafunc.definition.get_closest_marker("inline_only")
    if both:
        metafunc.parametrize("storage_flavour", ["inline", "latency"], indirect=True)


@pytest.fixture(autouse=True)
def storage_flavour(request: pytest.FixtureRequest) -> Iterator[str]:
    """Sessions in memory of this test are of this kind."""
    flavour: str = getattr(request, "param", "inline")
    token = DISTANT.set(flavour == "latency")
    yield flavour
    DISTANT.reset(token)
