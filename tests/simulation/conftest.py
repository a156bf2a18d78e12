# SPDX-License-Identifier: Apache-2.0
"""What killed processes of a simulation leave is collected before the next test."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _buried() -> Iterator[None]:
    """A killed process closes nothing; its files are closed here, and not in the middle of another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
