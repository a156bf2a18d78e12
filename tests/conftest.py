# SPDX-License-Identifier: Apache-2.0
"""Parts that every ring shares: programs that a test needs, and the loop that the server itself runs on."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from tests.support.azure_server import azurite_server  # noqa: F401 - fixtures
from tests.support.gcs_server import gcs_server  # noqa: F401 - fixtures
from tests.support.needs import absent, missing
from tests.support.object_servers import moto_server, seaweedfs_server  # noqa: F401 - fixtures
from tests.support.rewritten import rewrite_share


def pytest_configure(config: pytest.Config) -> None:
    # How long an example takes, or the making of one, tells how busy the host is.
    settings.register_profile("any host", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any host")
    config.addinivalue_line(
        "markers", "needs(*programs): skipped by name where a program is missing; a failure where CI=true"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collects without searching for garbage: there is none, and searching takes half of the time.

    What was collected stays for good, so it is left out of all later searches.
    """
    rewrite_share(session.config)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        gone = [name for name in mark.args if missing(name)]
        if gone:
            absent(", ".join(gone))
