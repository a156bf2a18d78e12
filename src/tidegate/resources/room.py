# SPDX-License-Identifier: Apache-2.0
"""A bounded amount that many share: what does not fit is refused, nobody waits."""

from __future__ import annotations


class Room:
    """Bytes that may be held at the same time.

    Args:
        limit: bytes.

    Attributes:
        held: bytes that are held now.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Hold more bytes; False if they do not fit, and nothing has changed then."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Hold that many fewer."""
        self.held -= size
