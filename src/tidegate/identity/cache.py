# SPDX-License-Identifier: Apache-2.0
"""Passwords that were right a moment ago, known by keyed digest only."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MAX_ENTRIES: Final = 10_000
"""Remembered logins, about 150 bytes each."""
TTL_SECONDS: Final = 900.0


class VerifiedCache:
    """Remembers that a password fitted a stored hash, so that a busy client costs one hash in a while.

    An entry is BLAKE2b over user name, stored hash and password under a random key of this process: the
    password is not kept, a changed stored hash finds nothing, and the digests are worthless without the
    key. Only right passwords are remembered. Entries end after `ttl_seconds` or when older ones must go.

    Args:
        max_entries: 0 switches it off.
        ttl_seconds: counted from the check, not from the last use.
        monotonic: seconds; only differences matter.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        max_entries: int = MAX_ENTRIES,
        ttl_seconds: float = TTL_SECONDS,
    ) -> None:
        self._monotonic = monotonic
        self._max_entries = max_entries
        self._ttl_seconds = ttl_seconds
        self._key = secrets.token_bytes(32)
        self._ends: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends)

    def knows(self, username: str, stored: str, password: str) -> bool:
        """True if this combination was right within the last `ttl_seconds`."""
        if not self._max_entries:
            return False
        digest = self._digest(username, stored, password)
        ends = self._ends.get(digest)
        if ends is None:
            return False
        if ends <= self._monotonic():
            del self._ends[digest]
            return False
        return True

    def remember(self, username: str, stored: str, password: str) -> None:
        """Keep that this combination was right."""
        if not self._max_entries:
            return
        digest = self._digest(username, stored, password)
        self._ends.pop(digest, None)
        self._ends[digest] = self._monotonic() + self._ttl_seconds
        while len(self._ends) > self._max_entries:
            self._ends.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._ends.clear()

    def _digest(self, username: str, stored: str, password: str) -> bytes:
        state = hashlib.blake2b(key=self._key, digest_size=32, person=b"tidegate-login")
        for part in (username, stored, password):
            data = part.encode("utf-8", "surrogatepass")
            state.update(len(data).to_bytes(8, "big"))
            state.update(data)
        return state.digest()
