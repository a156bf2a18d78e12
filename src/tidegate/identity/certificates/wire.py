# SPDX-License-Identifier: Apache-2.0
"""OpenSSH certificates in wire form (PROTOCOL.certkeys), read and not judged; and who signed them."""

from __future__ import annotations

import struct
from typing import Final

from tidegate.accounts.keys import checked_key
from tidegate.errors import BadRecord
from tidegate.model.certificate import SshCertificate

MAX_BLOB_BYTES: Final = 64 * 1024
"""Longest certificate that is read; OpenSSH's own limit on principals and options is far below."""
MAX_PRINCIPALS: Final = 256
"""As OpenSSH (SSHKEY_CERT_MAX_PRINCIPALS)."""
MAX_OPTIONS: Final = 256
"""Critical options, and likewise extensions."""

_KEY_TYPES: Final = {
    "ssh-ed25519-cert-v01@openssh.com": ("ssh-ed25519", 1),
    "ssh-rsa-cert-v01@openssh.com": ("ssh-rsa", 2),
    "ecdsa-sha2-nistp256-cert-v01@openssh.com": ("ecdsa-sha2-nistp256", 2),
    "ecdsa-sha2-nistp384-cert-v01@openssh.com": ("ecdsa-sha2-nistp384", 2),
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": ("ecdsa-sha2-nistp521", 2),
    "sk-ssh-ed25519-cert-v01@openssh.com": ("sk-ssh-ed25519@openssh.com", 2),
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": ("sk-ecdsa-sha2-nistp256@openssh.com", 3),
}
"""Type of the certificate: type of the key, and how many fields a key of it has."""
_SIGNATURES: Final = frozenset(
    (
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "rsa-sha2-512",
        "rsa-sha2-256",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    )
)
"""Signatures of authorities that are accepted; ``ssh-rsa`` is SHA-1 and is not among them."""


class Reader:
    """Fields of SSH's wire form (RFC 4251 section 5), one after the other; `BadRecord` at their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def __bool__(self) -> bool:
        return self.place < len(self.data)

    def string(self) -> bytes:
        """Bytes with their length in front."""
        size = self._number(4)
        end = self.place + size
        if end > len(self.data):
            raise _bad("it is cut short")
        found = self.data[self.place : end]
        self.place = end
        return found

    def text(self) -> str:
        """A string of UTF-8."""
        try:
            return self.string().decode("utf-8")
        except UnicodeDecodeError:
            raise _bad("a text in it is not UTF-8") from None

    def byte(self) -> int:
        """A number of one byte."""
        return self._number(1)

    def uint32(self) -> int:
        """A number of four bytes."""
        return self._number(4)

    def uint64(self) -> int:
        """A number of eight bytes."""
        return self._number(8)

    def _number(self, size: int) -> int:
        end = self.place + size
        if end > len(self.data):
            raise _bad("it is cut short")
        found = int.from_bytes(self.data[self.place : end], "big")
        self.place = end
        return found


def read_certificate(blob: bytes) -> SshCertificate:
    """The content of a certificate; its signature is not looked at, see `is_signed`.

    Raises:
        BadRecord: it cannot be read, or its key is of a kind that may not log in; says why.
    """
    if len(blob) > MAX_BLOB_BYTES:
        raise _bad(f"it is longer than {MAX_BLOB_BYTES} bytes")
    reader = Reader(blob)
    name = reader.text()
    if name not in _KEY_TYPES:
        raise _bad(f"certificates of type {name[:60]!r} are not known")
    algorithm, fields = _KEY_TYPES[name]
    reader.string()  # the nonce
    parts = [algorithm.encode(), *(reader.string() for _ in range(fields))]
    key = checked_key(b"".join(struct.pack(">I", len(part)) + part for part in parts))
    serial, kind, key_id = reader.uint64(), reader.uint32(), reader.text()
    principals = _texts(reader.string(), MAX_PRINCIPALS, "principals")
    valid_after, valid_before = reader.uint64(), reader.uint64()
    critical = _options(reader.string(), "critical options")
    extensions = _options(reader.string(), "extensions")
    reader.string()  # reserved
    authority = reader.string()
    signed = blob[: reader.place]
    signature = reader.string()
    if reader:
        raise _bad("something follows its signature")
    return SshCertificate(
        algorithm=algorithm,
        key=key.blob,
        serial=serial,
        kind=kind,
        key_id=key_id,
        principals=principals,
        valid_after=valid_after,
        valid_before=valid_before,
        critical_options=critical,
        extensions=frozenset(name for name, _ in extensions),
        authority=authority,
        signature=signature,
        signed=signed,
        blob=blob,
    )


def is_signed(certificate: SshCertificate) -> bool:
    """True if the key that the certificate names as its authority has signed it.

    Call it for authorities that are trusted: keys of strangers may be made to cost time.
    """
    from asyncssh.public_key import KeyImportError, decode_ssh_public_key

    try:
        algorithm = Reader(certificate.signature).text()
        if algorithm not in _SIGNATURES:
            return False
        key = decode_ssh_public_key(certificate.authority)
        return bool(key.verify(certificate.signed, certificate.signature))
    except (BadRecord, KeyImportError, ValueError, TypeError, OverflowError):
        return False


def _texts(data: bytes, most: int, what: str) -> tuple[str, ...]:
    reader = Reader(data)
    found: list[str] = []
    while reader:
        if len(found) >= most:
            raise _bad(f"it has more than {most} {what}")
        found.append(reader.text())
    return tuple(found)


def _options(data: bytes, what: str) -> tuple[tuple[str, bytes], ...]:
    reader = Reader(data)
    found: list[tuple[str, bytes]] = []
    while reader:
        if len(found) >= MAX_OPTIONS:
            raise _bad(f"it has more than {MAX_OPTIONS} {what}")
        found.append((reader.text(), reader.string()))
    return tuple(found)


def _bad(what: str) -> BadRecord:
    return BadRecord("certificate", what)
