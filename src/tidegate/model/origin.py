# SPDX-License-Identifier: Apache-2.0
"""The origin of an event: the connection and the person, once for all of their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidegate.model.peer import Peer, Protocol


@dataclass(frozen=True, slots=True)
class Origin:
    """The person, door and address behind an event. Made once for a connection or login and shared.

    Attributes:
        connection_id: the connection (or channel of it), empty if none.
        username: who did it, empty if unknown.
        protocol: the door as `Protocol` spells it, empty if none.
        ip: the client's address without port.
        local_address: our end, ``host:port``.
        remote_address: the client's end, ``host:port``.
    """

    connection_id: str = ""
    username: str = ""
    protocol: str = ""
    ip: str = ""
    local_address: str = ""
    remote_address: str = ""

    @classmethod
    def of(cls, peer: Peer, username: str = "") -> Origin:
        """The origin of what `peer` does as `username`."""
        return cls(
            connection_id=peer.connection_id,
            username=username,
            protocol=peer.protocol.value,
            ip=peer.remote_ip,
            local_address=peer.local_address,
            remote_address=peer.remote_address,
        )

    @property
    def door(self) -> str:
        """The protocol as event rules and hooks know it: FTP by TLS is FTP, WebDAV by HTTPS is DAV."""
        if self.protocol == Protocol.DAVS:
            return "DAV"
        return "FTP" if self.protocol == Protocol.FTPS else self.protocol


NOWHERE: Final = Origin()
"""Of what the server does by itself."""
