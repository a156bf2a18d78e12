# SPDX-License-Identifier: Apache-2.0
"""Asks storage for the optional contracts of `tidegate.abc`."""

from __future__ import annotations

from typing import TypeGuard, TypeVar

T = TypeVar("T")

_known: dict[tuple[type, type], bool] = {}


def fulfils(thing: object, contract: type[T]) -> TypeGuard[T]:
    """True if a backend, handle or listing has an optional contract; asked once for each class.

    Asking a runtime protocol itself costs as much as opening a file.
    """
    pair = type(thing), contract
    found = _known.get(pair)
    if found is None:
        found = _known[pair] = isinstance(thing, contract)
    return found
