# SPDX-License-Identifier: Apache-2.0
"""Drivers of live state by name; see `tidegate.plugins`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tidegate.contracts.cluster import Live
from tidegate.errors import ConfigError, OperatorError, Problem
from tidegate.plugins import find_part

GROUP: Final = "tidegate.cluster"
"""The entry point group."""
OURS: Final = {"memory": "tidegate.cluster.memory:create"}
_METHODS: Final = ("open", "close", "take_slot", "give_slot", "slots", "publish", "subscribe")


def create_live(driver: str, options: Mapping[str, Any], *, node: str) -> Live:
    """Make the driver that the configuration names; importing that of another package may take a while.

    Args:
        driver: its name, or ``package.module:name``.
        options: handed to it.
        node: name of this server among those that share.

    Raises:
        ConfigError: there is none of that name, or it cannot be made.
    """
    try:
        made: Live = find_part(driver, word="cluster driver", group=GROUP, built_in=OURS)(node, dict(options))
        missing = [method for method in _METHODS if not callable(getattr(made, method, None))]
        if missing:
            raise OperatorError(f"{driver!r} makes no cluster driver: it has no {', '.join(missing)}")
    except OperatorError as error:
        raise ConfigError([Problem("cluster.driver", str(error))]) from None
    except Exception as error:  # other people's code
        text = f"{driver!r} cannot be used: {type(error).__name__}: {error}"
        raise ConfigError([Problem("cluster.driver", text)]) from error
    return made
