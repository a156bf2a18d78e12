# SPDX-License-Identifier: Apache-2.0
"""Bandwidth: buckets that say how long to wait, shared by the sessions of an account.

A bucket keeps one number: the moment at which everything it has granted is paid for. Asking for bytes
moves that moment forward and answers how far away it is; the caller waits that long before it answers the
peer. Rest earns nothing, so a transfer of N bytes at R bytes/s takes at least N/R seconds from its first
byte. Only lateness within one busy period (a timer that fires late, a slow disk) is caught up, and at
most `burst` bytes of it.

A transfer asks for its next piece after it has waited for the one before. Pieces of parallel transfers
then queue in a shared bucket one each in turn, which shares it evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidegate.model import Account
from tidegate.model.address_list import AddressList

BYTES_PER_KB: Final = 1000
"""Bytes let through per second for each KB/s of a limit.

Accounts count KB of 1024 bytes; servers of the field have read the same number as 1000 and as 1024. The
smaller keeps both promises: never faster than the limit says, in either reading.
"""

CATCH_UP_SECONDS: Final = 0.05
"""Lateness that a bandwidth limit lets a transfer catch up."""

PIECE_BYTES: Final = 32768
"""Callers ask for at most this much at a time where fairness matters: one SFTP block."""


class TokenBucket:
    """Grants bytes at a rate; debt is allowed and answered in seconds to wait.

    Granted and paid for within any t seconds: never more than rate * t + burst bytes.

    Args:
        rate_bytes_per_s: bytes per second, above zero.
        burst: bytes that may be caught up after lateness in a busy period; a bucket starts without any.
    """

    __slots__ = ("_paid_at", "_seconds_per_byte", "_window")

    def __init__(self, rate_bytes_per_s: float, burst: float = 0.0) -> None:
        if rate_bytes_per_s <= 0 or burst < 0:
            raise ValueError("a token bucket needs a rate above zero and no negative burst")
        self._seconds_per_byte = 1.0 / rate_bytes_per_s
        self._window = burst / rate_bytes_per_s
        self._paid_at = float("-inf")

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return 1.0 / self._seconds_per_byte

    def take(self, size: int, now: float) -> float:
        """Grant `size` bytes.

        Args:
            size: bytes.
            now: a monotonic clock in seconds; going backwards counts as standing still.

        Returns:
            seconds from `now` to wait before the bytes may count as transferred; 0.0 for no wait.
        """
        paid = self._paid_at
        if paid < now - self._window:
            paid = now
        paid += size * self._seconds_per_byte
        self._paid_at = paid
        return paid - now if paid > now else 0.0

    def debt(self, now: float) -> float:
        """Seconds until all that was granted is paid for."""
        return max(0.0, self._paid_at - now)


def bandwidth_bucket(kb_per_s: int) -> TokenBucket | None:
    """The bucket for a limit in KB/s; None for no limit."""
    if kb_per_s <= 0:
        return None
    rate = kb_per_s * BYTES_PER_KB
    return TokenBucket(rate, rate * CATCH_UP_SECONDS)


@dataclass(frozen=True, slots=True)
class Rates:
    """The bandwidth that applies to a client.

    Attributes:
        upload: KB/s, 0 no limit.
        download: KB/s, 0 no limit.
        where: field of the account that says so; empty for the account's own two fields.
    """

    upload: int
    download: int
    where: str = ""


def rates_for(account: Account, ip: str) -> Rates:
    """The limits for a client's address: by the first entry of `bandwidth_limits` that names it, if any."""
    for index, limit in enumerate(account.filters.bandwidth_limits):
        if AddressList(limit.sources).match(ip) is not None:
            where = f"filters.bandwidth_limits[{index}]"
            return Rates(max(0, limit.upload_bandwidth), max(0, limit.download_bandwidth), where)
    return Rates(max(0, account.upload_bandwidth), max(0, account.download_bandwidth))
