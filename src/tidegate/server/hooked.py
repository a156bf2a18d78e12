# SPDX-License-Identifier: Apache-2.0
"""Hooks, if there are any: their modules are loaded then alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tidegate.config.load import Loaded

if TYPE_CHECKING:
    from tidegate.cluster.registry import Registry
    from tidegate.events.bus import Bus
    from tidegate.hooks.logins import LoginHooks
    from tidegate.model import Account
    from tidegate.model.observe import Observe
    from tidegate.store.contract import Provider


def login_hooks(
    loaded: Loaded, provider: Provider, bus: Bus, observe: Observe | None = None
) -> LoginHooks | None:
    """The hooks that decide about logins, not bound yet; None if there are none."""
    if not loaded.settings.has_hooks:
        return None
    from tidegate.server.hooks import create_login_hooks

    return create_login_hooks(loaded, provider, bus, observe)


async def notices(
    loaded: Loaded,
    bus: Bus,
    registry: Registry,
    find: Callable[[str], Awaitable[Account | None]],
    observe: Observe | None = None,
) -> Callable[[], None]:
    """Begin to tell hooks of logins and ends of connections; what is returned tells them of the start.

    Raises:
        ConfigError: a hook cannot be used.
    """
    if loaded.settings.has_hooks:
        from tidegate.server.hooks import open_notices, require_usable

        await require_usable(loaded)
        told = await open_notices(loaded, bus, registry, find, observe)
        if told is not None:
            return told.started
    return _nobody


def _nobody() -> None:
    """Nobody is told."""
