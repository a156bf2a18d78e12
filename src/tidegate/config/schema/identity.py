# SPDX-License-Identifier: Apache-2.0
"""Section ``identity``: who says who somebody is."""

from __future__ import annotations

from typing import Any

from tidegate.config.schema.base import Section, key


class AuthenticatorKeys(Section):
    """One authenticator."""

    use: str = key(
        "",
        "Name of an installed authenticator (entry point group `tidegate.authenticators`), or "
        "`package.module:name`.",
    )
    options: dict[str, Any] = key({}, "What the authenticator is given; see its documentation.", secret=True)


class IdentityKeys(Section):
    """Authenticators."""

    authenticators: list[AuthenticatorKeys] = key(
        [], "Asked in this order at each login, before the accounts of the data provider."
    )
    guesses_per_user: int = key(
        100,
        "Wrong passwords and codes in a burst for one user from one address, at all servers of this process "
        "together; whole again after five minutes; 0 no limit.",
        ge=0,
        le=10_000_000,
    )
    guesses_per_address: int = key(
        1000,
        "The same for all users from one address; raise it, or set 0, behind a proxy that hides addresses.",
        ge=0,
        le=10_000_000,
    )
