# SPDX-License-Identifier: Apache-2.0
"""Kinds of public keys in wire form, by what they say of themselves; nothing is checked."""

from __future__ import annotations

from typing import Final

_CERTIFICATE: Final = b"-cert-v01@openssh.com"
"""End of the types of OpenSSH certificates (PROTOCOL.certkeys)."""


def is_certificate(blob: bytes) -> bool:
    """True if a public key in wire form says that it is an OpenSSH certificate; it may be broken."""
    return _CERTIFICATE in blob[4:68] and _first(blob).endswith(_CERTIFICATE)


def key_type(blob: bytes) -> bytes:
    """The type that a public key in wire form says it has; of a certificate that of its key."""
    name = _first(blob)
    if not name.endswith(_CERTIFICATE):
        return name
    return name.removesuffix(_CERTIFICATE) + (b"@openssh.com" if name.startswith(b"sk-") else b"")


def is_security_key(blob: bytes) -> bool:
    """True if a public key in wire form, or the key of a certificate, is of a security key (FIDO)."""
    return blob[4:7] == b"sk-"


def _first(blob: bytes) -> bytes:
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")]
