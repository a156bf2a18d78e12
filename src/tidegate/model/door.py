# SPDX-License-Identifier: Apache-2.0
"""The status of a door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that a door listens on.

    Attributes:
        address: as configured; empty is every interface.
        port: TCP port, never 0.
        tls: True if connections begin with a TLS handshake.
    """

    address: str
    port: int
    tls: bool = False

    @property
    def host(self) -> str:
        """A host for URLs typed on this machine: loopback for every interface, brackets for IPv6."""
        host = self.address or "127.0.0.1"
        return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorStatus:
    """A door at one moment.

    Attributes:
        name: of the door: ``ssh``, ``http``, ``ftp``, ``webdav``, or what a third party calls its own.
        active: True while it accepts connections.
        endpoints: where it listens, in the order of its bindings.
        connections: open connections.
        keys: what clients are shown as the server's identity, for instance
            ``ssh-ed25519 SHA256:...``; empty if the protocol has no such thing.
        public_keys: the same keys in wire form (RFC 4253, 6.6), in the same order.
        certificates: OpenSSH certificates of those keys, in wire form (PROTOCOL.certkeys).
        answers: of HTTP, by class of the status code since the start: 0 for those without an answer, then
            1xx to 5xx; empty for other protocols.
        details: further fields of the REST API's ``/status``, ready for JSON.
    """

    name: str
    active: bool
    endpoints: tuple[Endpoint, ...] = ()
    connections: int = 0
    keys: tuple[str, ...] = ()
    public_keys: tuple[bytes, ...] = ()
    certificates: tuple[bytes, ...] = ()
    answers: tuple[int, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)
