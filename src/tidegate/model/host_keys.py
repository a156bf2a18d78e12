# SPDX-License-Identifier: Apache-2.0
"""Forms of a server's public key that partners ask for: fingerprints, SSHFP records, known_hosts lines."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from tidegate.model.address import parse_address

_SSHFP_KINDS: Final = {
    "ssh-rsa": 1,
    "ssh-dss": 2,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "ssh-ed25519": 4,
    "ssh-ed448": 6,
}
"""Numbers of algorithms in SSHFP records (RFC 4255, 6594, 7479, 8709)."""

SSH_PORT: Final = 22


def algorithm_of(blob: bytes) -> str:
    """The kind of a public key in wire form (RFC 4253, 6.6), such as ``ssh-ed25519``.

    Raises:
        ValueError: it is none.
    """
    size = int.from_bytes(blob[:4], "big")
    name = blob[4 : 4 + size]
    if not name or len(name) != size or not name.isascii() or not name.decode("ascii").isprintable():
        raise ValueError("not a public key in wire form")
    return name.decode("ascii")


def sha256_fingerprint(blob: bytes) -> str:
    """``SHA256:`` and base64 without padding, as OpenSSH 6.8 and later show it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def md5_fingerprint(blob: bytes) -> str:
    """``MD5:`` and pairs of hexadecimal digits (RFC 4716, section 4); names a key, proves nothing."""
    return "MD5:" + hashlib.md5(blob, usedforsecurity=False).digest().hex(":")


def public_line(blob: bytes) -> str:
    """The key on one line, as in a ``.pub`` file."""
    return f"{algorithm_of(blob)} {base64.b64encode(blob).decode('ascii')}"


def known_hosts_line(host: str, port: int, blob: bytes) -> str:
    """A line for ``known_hosts`` (sshd(8)); the host is in brackets if the port is not 22.

    Args:
        host: name or address by which clients reach the server, without brackets.
        port: TCP port.
        blob: the key.
    """
    where = host if port == SSH_PORT else f"[{host}]:{port}"
    return f"{where} {public_line(blob)}"


def sshfp_records(host: str, blob: bytes) -> list[str]:
    """Lines for the zone of a host (RFC 4255): by SHA-256; none for an address or an unknown kind."""
    kind = _SSHFP_KINDS.get(algorithm_of(blob))
    if kind is None or parse_address(host) is not None:
        return []
    return [f"{host.rstrip('.')}. IN SSHFP {kind} 2 {hashlib.sha256(blob).hexdigest()}"]
