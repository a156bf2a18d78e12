# SPDX-License-Identifier: Apache-2.0
"""The other end of a connection."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Protocol(enum.StrEnum):
    """Door names as logs, filters and hooks spell them."""

    SSH = "SSH"
    SFTP = "SFTP"
    SCP = "SCP"
    FTP = "FTP"
    """with the control connection in the clear"""
    FTPS = "FTPS"
    """with the control connection encrypted"""
    DAV = "DAV"
    """over HTTP"""
    DAVS = "DAVS"
    """over HTTPS"""
    HTTP = "HTTP"

    @property
    def family(self) -> str:
        """The word used in `denied_protocols`: SSH, FTP, DAV or HTTP."""
        if self is Protocol.FTPS:
            return "FTP"
        if self is Protocol.DAVS:
            return "DAV"
        return "SSH" if self in (Protocol.SFTP, Protocol.SCP) else self.value


class OtherProtocol(str):
    """The protocol of a door of another package, by the name that logs show.

    Attributes:
        family: as `Protocol.family`; the protocol of ours that rules on logins take it for.
    """

    __slots__ = ("family",)

    family: str

    def __new__(cls, name: str, family: str) -> OtherProtocol:
        """A protocol by its name and family."""
        made = super().__new__(cls, name)
        made.family = family
        return made

    @property
    def value(self) -> str:
        """The name, as of `Protocol`."""
        return str(self)


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection's other end.

    Attributes:
        connection_id: unique id bound to every log line of the connection.
        protocol: the door.
        remote_ip: address of the client, without port.
        remote_port: 0 if unknown.
        local_address: ``host:port`` the client reached.
        client_version: what the client says it is.
        rename_onto: what the binding it came by says of RENAME onto a name that exists; see
            `tidegate.policy.renames`.
        encrypted: nobody on the way can read what is sent.
    """

    connection_id: str
    protocol: Protocol | OtherProtocol
    remote_ip: str
    remote_port: int = 0
    local_address: str = ""
    client_version: str = ""
    rename_onto: str = ""
    encrypted: bool = True

    @property
    def remote_address(self) -> str:
        """``host:port``, with brackets for IPv6."""
        host = f"[{self.remote_ip}]" if ":" in self.remote_ip else self.remote_ip
        return f"{host}:{self.remote_port}" if self.remote_port else host
