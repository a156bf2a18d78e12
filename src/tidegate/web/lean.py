# SPDX-License-Identifier: Apache-2.0
"""FastAPI without what a server of ours never asks of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

from pydantic import BaseModel, ConfigDict

_OLD_MODELS: Final = "pydantic.v1"
_DESCRIPTION: Final = "fastapi.openapi.models"


@contextmanager
def lean_fastapi() -> Iterator[None]:
    """While FastAPI and modules with routes are imported.

    FastAPI looks at each parameter of a route for models of pydantic 1, and takes that package's absence for
    a no; loading it to be told no is 1.5 MB and 15 ms. The models of OpenAPI documents are completed when the
    first document is asked for.
    """
    absent = _OLD_MODELS not in sys.modules
    if absent:
        sys.modules[_OLD_MODELS] = None  # type: ignore[assignment]  # what the import system takes for absent
    try:
        if _DESCRIPTION not in sys.modules:
            _load_description()
        yield
    finally:
        if absent and sys.modules[_OLD_MODELS] is None:
            del sys.modules[_OLD_MODELS]


def _load_description() -> None:
    """Import the models of OpenAPI documents without building them."""
    config = BaseModel.model_config
    BaseModel.model_config = ConfigDict(defer_build=True)
    try:
        import_module(_DESCRIPTION)
    finally:
        BaseModel.model_config = config
