# SPDX-License-Identifier: Apache-2.0
"""Asks storage for the optional contracts of `tidegate.abc`."""

from __future__ import annotations

from typing import TypeGuard, TypeVar

from tidegate.abc import Backend, Identifies, Key

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


def identity_of(backend: Backend, key: Key) -> str:
    """The identity of a key, under which locks and properties are kept; see `tidegate.abc.Identifies`."""
    return backend.identity(key) if fulfils(backend, Identifies) else backend.location(key).rstrip("/")
