# SPDX-License-Identifier: Apache-2.0
"""The proxies in front of a server, and the ends of a connection that came by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.model.address import plain_address
from tidegate.model.address_list import AddressList


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyOptions:
    """The proxies that send the PROXY header (HAProxy, "The PROXY protocol").

    Attributes:
        mode: 0 reads no header, 1 takes one from proxies, 2 refuses whoever has none.
        allowed: the proxies: their header is believed. From other addresses none is read.
        skipped: addresses that come directly, also with `mode` 2; counts before `allowed`.
    """

    mode: int = 0
    allowed: AddressList = field(default_factory=lambda: AddressList(()))
    skipped: AddressList = field(default_factory=lambda: AddressList(()))

    def may_send(self, address: str) -> bool:
        """True if the header of an address is read; limits of one client do not hold for it."""
        return (
            self.mode > 0 and self.allowed.match(address) is not None and self.skipped.match(address) is None
        )

    def direct(self, address: str) -> bool:
        """True if an address may come without a header that is read."""
        return self.mode < 2 or self.skipped.match(address) is not None


NO_PROXIES: Final = ProxyOptions()
"""No proxies: the other end of a socket is the client."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of a connection.

    Attributes:
        remote: address and port of the client; the address is empty if it is unknown.
        local: address and port that the client reached; None if they are those of the socket.
        proxy: address of the proxy that told so; empty if nobody did.
    """

    remote: tuple[str, int]
    local: tuple[str, int] | None = None
    proxy: str = ""

    @classmethod
    def of(cls, address: Any) -> Ends:
        """The ends of a connection without header; `address` is that of `socket.accept`."""
        return cls((plain_address(address[0]), address[1])) if address else cls(("", 0))
