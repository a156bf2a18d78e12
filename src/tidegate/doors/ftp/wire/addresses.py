# SPDX-License-Identifier: Apache-2.0
"""Addresses of data connections: PORT and PASV (RFC 959), EPRT and EPSV (RFC 2428)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

FAMILIES: Final = {4: 1, 6: 2}
"""IP version to the number of RFC 2428."""

_PORT: Final = re.compile(r"([0-9]{1,3}(?:,[0-9]{1,3}){5})", re.ASCII)
_EPSV: Final = re.compile(r"[0-9]{1,5}", re.ASCII)


class UnknownFamily(ValueError):
    """EPRT or EPSV names a network protocol that is not spoken here."""


def parse_port(argument: str) -> tuple[str, int]:
    """Address and port of PORT: ``h1,h2,h3,h4,p1,p2``.

    Raises:
        ValueError: it is none.
    """
    match = _PORT.fullmatch(argument.strip())
    numbers = [int(number) for number in match[1].split(",")] if match else []
    if not numbers or max(numbers) > 255:
        raise ValueError("expected h1,h2,h3,h4,p1,p2")
    return ".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]


def parse_eprt(argument: str) -> tuple[str, int]:
    """Address and port of EPRT: ``|1|192.0.2.1|6275|``, with any separator.

    Raises:
        UnknownFamily: neither IPv4 nor IPv6.
        ValueError: it is none.
    """
    argument = argument.strip()
    parts = argument[1:].split(argument[:1]) if argument else []
    if len(parts) != 4 or parts[3] or not parts[2].isascii() or not parts[2].isdigit():
        raise ValueError("expected |1|address|port| or |2|address|port|")
    if parts[0] not in ("1", "2"):
        raise UnknownFamily("network protocol is not supported, use (1,2)")
    address = ipaddress.ip_address(parts[1])
    if FAMILIES[address.version] != int(parts[0]):
        raise ValueError("address and network protocol do not fit")
    port = int(parts[2]) if len(parts[2]) < 6 else 0
    if not 0 < port < 65536:
        raise ValueError("port must be 1 to 65535")
    return str(address), port


def parse_epsv(argument: str, version: int) -> bool:
    """Read the argument of EPSV; True for ALL.

    Args:
        argument: empty, a protocol number, or ALL.
        version: IP version of the control connection.

    Raises:
        UnknownFamily: another protocol than that of the control connection.
        ValueError: it is none of these.
    """
    argument = argument.strip()
    if argument.upper() == "ALL":
        return True
    if argument and not _EPSV.fullmatch(argument):
        raise ValueError("expected nothing, a protocol number, or ALL")
    if argument and int(argument) != FAMILIES[version]:
        raise UnknownFamily(f"network protocol is not supported, use ({FAMILIES[version]})")
    return False


def passive(address: str, port: int) -> str:
    """The text of 227. Clients look for the six numbers, some for the brackets.

    Raises:
        ValueError: `address` is no IPv4 address.
    """
    return f"Entering Passive Mode ({_commas(address)},{port >> 8},{port & 255})."


@lru_cache(maxsize=256)
def _commas(address: str) -> str:
    """An IPv4 address as PASV writes it; clients ask for the same one with each file."""
    return ",".join(map(str, ipaddress.IPv4Address(address).packed))


def extended_passive(port: int) -> str:
    """The text of 229; the address is that of the control connection."""
    return f"Entering Extended Passive Mode (|||{port}|)"
