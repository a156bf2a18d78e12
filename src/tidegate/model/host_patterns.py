# SPDX-License-Identifier: Apache-2.0
"""Client patterns of TCP wrappers (hosts_access(5)) as networks, as far as addresses can say them."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from tidegate.model.address_list import Network

EVERYBODY: Final[tuple[Network, ...]] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
_PREFIX: Final = re.compile(r"(?:\d{1,3}\.){1,3}")


def networks_of_pattern(pattern: str) -> tuple[Network, ...]:
    """One client pattern as networks; host bits are ignored, as TCP wrappers do.

    Raises:
        ValueError: it is no address and no network; the text says so.
    """
    if pattern.upper() == "ALL":
        return EVERYBODY
    text = pattern
    if _PREFIX.fullmatch(pattern):
        numbers = pattern.rstrip(".").split(".")
        text = ".".join([*numbers, *["0"] * (4 - len(numbers))]) + f"/{8 * len(numbers)}"
    elif pattern.startswith("["):
        text = pattern.replace("[", "", 1).replace("]", "", 1)
    try:
        if "%" in text:
            raise ValueError
        return (ip_network(text, strict=False),)
    except ValueError:
        raise ValueError(f"{pattern[:80]!r} is not an address or network") from None
