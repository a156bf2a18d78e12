# SPDX-License-Identifier: Apache-2.0
"""Authenticators by name; see `tidegate.plugins`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate.abc import Authenticator
from tidegate.plugins import create_parts

GROUP: Final = "tidegate.authenticators"
"""The entry point group."""
_METHODS: Final = ("open", "close", "find", "verify")


def create_authenticators(wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Authenticator]:
    """Make authenticators from names and options; importing may take a while, so call it off the loop.

    Raises:
        ConfigError: one cannot be found or made; every problem is named.
    """
    return create_parts(
        wanted, where="identity.authenticators", word="authenticator", group=GROUP, methods=_METHODS
    )
