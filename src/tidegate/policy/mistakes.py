# SPDX-License-Identifier: Apache-2.0
"""Judges what somebody types into a question about policy; the command line and REST ask here alike."""

from __future__ import annotations

from typing import Final

from tidegate.model import Protocol
from tidegate.model.address_list import parse_address

METHODS: Final = (
    "password",
    "publickey",
    "keyboard-interactive",
    "publickey+password",
    "publickey+keyboard-interactive",
    "password+keyboard-interactive",
    "publickey+password+keyboard-interactive",
    "TLSCertificate",
    "TLSCertificate+password",
    "TLSCertificate+password+keyboard-interactive",
)
"""Ways to log in that a door has; keyboard-interactive after a password is a one-time code."""

DOORS: Final = (
    Protocol.SFTP,
    Protocol.SCP,
    Protocol.SSH,
    Protocol.FTP,
    Protocol.FTPS,
    Protocol.DAV,
    Protocol.DAVS,
    Protocol.HTTP,
)
"""Protocols that a door of this version speaks; SCP and HTTP judge as their family does."""


def address(text: str) -> str | None:
    """The reason why a text is no address, None if it is one."""
    return None if parse_address(text) is not None else f"{text!r} is not an IP address"


def protocol_of(text: str) -> tuple[Protocol, bool]:
    """The protocol that `door` finds no mistake in, and whether its connection is encrypted."""
    protocol = Protocol(text.upper())
    return protocol, protocol not in (Protocol.FTP, Protocol.DAV)


def door(text: str) -> str | None:
    """The reason why a text is no protocol that is served here, None if it is one."""
    if text.upper() in DOORS:
        return None
    known = ", ".join(DOORS)
    return f"{text!r} is not a protocol; expected one of {known}"


def method(text: str) -> str | None:
    """The reason why a text is no login method, None if it is one."""
    return None if text in METHODS else f"{text!r} is not one of {', '.join(METHODS)}"
