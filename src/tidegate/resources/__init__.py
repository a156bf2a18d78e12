# SPDX-License-Identifier: Apache-2.0
"""One ledger of what peers can use up: descriptors, handles, buffered bytes, key exchanges, unproven peers.

Rules. A peer cannot make anything grow that has no row here (`rows`): its limits by connection, source
(`model.sources`), account and process, the key that sets them, and the consequence of reaching them.
Whoever takes asks first and gives back exactly once; all calls are synchronous and made from the event loop.
Reaching a limit is logged once, with the rule's name, and so is its end (`notices`).

This package imports `tidegate.model` and `tidegate.errors` only; every other room may import it.
"""

from tidegate.resources.arrivals import Arrivals, StartupLimits
from tidegate.resources.ledger import Ledger
from tidegate.resources.limits import Limits, LimitSettings

__all__ = ["Arrivals", "Ledger", "LimitSettings", "Limits", "StartupLimits"]
