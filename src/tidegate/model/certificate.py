# SPDX-License-Identifier: Apache-2.0
"""An OpenSSH certificate as its rules see it (PROTOCOL.certkeys of OpenSSH)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

USER_CERTIFICATE: Final = 1
HOST_CERTIFICATE: Final = 2
"""`SshCertificate.kind`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshCertificate:
    """The content of a certificate; nothing of it is proved.

    Attributes:
        algorithm: of the key, for instance ``ssh-ed25519``.
        key: the certified public key in wire form (RFC 4253, 6.6), as it would be without a certificate.
        serial: given by the authority; 0 if it gives none.
        kind: 1 of a user, 2 of a host; nothing else is right.
        key_id: free text of the authority, for logs.
        principals: names that it is good for.
        valid_after: Unix seconds, included.
        valid_before: Unix seconds, not included; 2**64-1 is for ever.
        critical_options: name and data of what must be honoured or refused.
        extensions: names of what may be ignored.
        authority: public key of the authority in wire form.
        signature: of the authority, in wire form.
        signed: the bytes that were signed.
        blob: all of it in wire form.
    """

    algorithm: str
    key: bytes
    serial: int
    kind: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical_options: tuple[tuple[str, bytes], ...]
    extensions: frozenset[str]
    authority: bytes
    signature: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    blob: bytes = field(repr=False)

    @property
    def no_touch(self) -> bool:
        """True if a security key need not have been touched (extension ``no-touch-required``)."""
        return "no-touch-required" in self.extensions

    @property
    def verify(self) -> bool:
        """True if a security key must have asked for a PIN or finger (option ``verify-required``)."""
        return any(name == "verify-required" for name, _ in self.critical_options)

    @property
    def sftp_only(self) -> bool:
        """True if commands may not be run (option ``force-command`` with ``internal-sftp``)."""
        return any(name == "force-command" for name, _ in self.critical_options)
