# SPDX-License-Identifier: Apache-2.0
"""Bounds on the texts that are looked at, and the error of this package.

How much a hash may cost is one rule for all who store or check one: `tidegate.policy.hash_costs`.
"""

from __future__ import annotations

from typing import Final

MAX_PASSWORD_BYTES: Final = 4096
"""Longest password that is looked at, in UTF-8 bytes."""

MAX_HASH_CHARS: Final = 1024
"""Longest stored hash."""


class Unusable(ValueError):
    """A stored hash cannot be checked: unknown, malformed, too costly, or not supported here.

    The text says why and never repeats the hash.
    """
