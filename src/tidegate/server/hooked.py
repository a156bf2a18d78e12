# SPDX-License-Identifier: Apache-2.0
"""Hooks, if there are any: their modules are loaded then alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.config.load import Loaded

if TYPE_CHECKING:
    from tidegate.events.bus import Bus
    from tidegate.hooks.logins import LoginHooks
    from tidegate.store.contract import Provider


def login_hooks(loaded: Loaded, provider: Provider, bus: Bus) -> LoginHooks | None:
    """The hooks that decide about logins, not bound yet; None if there are none."""
    if not loaded.settings.has_hooks:
        return None
    from tidegate.server.hooks import create_login_hooks

    return create_login_hooks(loaded, provider, bus)
