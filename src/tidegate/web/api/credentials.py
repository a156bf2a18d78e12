# SPDX-License-Identifier: Apache-2.0
"""New passwords in documents: strong enough, hashed off the loop, never stored or repeated as text."""

from __future__ import annotations

import time
from typing import Any

from tidegate.errors import BadRecord, InvalidArgument
from tidegate.identity.passwords import is_hashed
from tidegate.model import Account
from tidegate.policy.strength import weakness
from tidegate.web.api.services import Services


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


async def hash_new(services: Services, password: str, *, ip: str, least_bits: float, field: str) -> str:
    """The hash of a new password.

    Raises:
        BadRecord: too weak, or impossible.
        LoginRefused: too many hashes are waiting (reason ``busy``).
    """
    if (weak := weakness(password, least_bits)) is not None:
        raise BadRecord(field, weak)
    try:
        return await services.passwords.hash(password, source=ip)
    except InvalidArgument as error:
        raise BadRecord(field, error.text) from None


def admin_bits(services: Services) -> float:
    """Strength that passwords of administrators need, in bits."""
    return services.loaded.settings.data_provider.password_validation.admins.min_entropy


def user_bits(services: Services, account: Account) -> float:
    """Strength that a new password of a user needs: the configuration's or the account's own."""
    least = services.loaded.settings.data_provider.password_validation.users.min_entropy
    return max(least, account.filters.password_strength)


def is_given(document: dict[str, Any]) -> bool:
    """Whether a document sets a password; absent, null and empty keep the old one."""
    return document.get("password") not in (None, "")


async def stored_form(services: Services, password: str, *, ip: str, least_bits: float) -> str:
    """What to store of a password in a checked document: its hash, or itself if it is a hash already.

    Raises:
        BadRecord: too weak, or impossible.
        LoginRefused: too many hashes are waiting (reason ``busy``).
    """
    if is_hashed(password):
        return password
    return await hash_new(services, password, ip=ip, least_bits=least_bits, field="password")
