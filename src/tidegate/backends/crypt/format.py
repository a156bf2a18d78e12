# SPDX-License-Identifier: Apache-2.0
"""The bytes of an encrypted file (docs/adr/0049).

A header of 64 bytes, then the content in chunks of 64 KiB; only the last one is shorter, and it is empty only
if the file is::

    header:  "TIDEGATE" (8), version 1, key derivation 1, log2 of the chunk size 16, zero (1 each),
             salt of the passphrase (16), salt of the file (16), key id (4), tag of the header (16)
    chunk:   nonce (12), AES-256-GCM of the content, tag (16)

The key of a file is HKDF-SHA256 (RFC 5869) of the stretched passphrase and the salt of the file. Additional
data of a chunk are its number (8 bytes, big-endian) and 1 for the last one, else 0: what is moved within a
file or between files, cut off, or added fails. Nonces are random, because the last chunk is written again
when a file grows; a nonce that follows from the number would then be used twice with one key.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from tidegate.errors import StorageFailed

MAGIC: Final = b"TIDEGATE"
"""The beginning of every encrypted file."""
CHUNK: Final = 65536
"""Bytes of content in a chunk."""
NONCE: Final = 12
TAG: Final = 16
AROUND: Final = NONCE + TAG
"""Bytes that a chunk has beside its content."""
STORED: Final = CHUNK + AROUND
"""Bytes of a whole chunk as it is stored."""
SALT: Final = 16
"""Bytes of the salt of a passphrase, and of that of a file."""

BEGINNING: Final = MAGIC + bytes((1, 1, 16, 0))
"""The beginning of files of version 1."""
_KEY_ID: Final = 4
_TAGGED: Final = len(BEGINNING) + 2 * SALT + _KEY_ID
HEADER: Final = _TAGGED + TAG
"""Bytes of the header."""
_FILE: Final = b"tidegate.crypt.1 file"
_ROOT: Final = b"tidegate.crypt.1 key id"
_NUMBER: Final = struct.Struct(">QB")


class Damaged(StorageFailed):
    """A stored file cannot be read: it is not encrypted, not by this passphrase, or was changed.

    Clients see "storage failure"; `detail` has the reason.
    """


def plain_size(stored: int) -> int:
    """Bytes of content in a file of `stored` bytes; a piece that is too short for a chunk counts as 0."""
    whole, rest = divmod(max(0, stored - HEADER), STORED)
    return whole * CHUNK + max(0, rest - AROUND)


def stored_size(size: int) -> int:
    """Bytes that a finished file with `size` bytes of content has."""
    return HEADER + size + AROUND * max(1, -(-size // CHUNK))


def position(number: int) -> int:
    """The offset of a chunk in the stored file."""
    return HEADER + number * STORED


def chunks_in(stored: int) -> int:
    """Chunks that begin in a file of `stored` bytes."""
    return -(-max(0, stored - HEADER) // STORED)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one file.

    Attributes:
        salt: of the passphrase.
        file_salt: of the file.
        key_id: tells stretched passphrases apart.
        tag: of the bytes before it.
    """

    salt: bytes
    file_salt: bytes
    key_id: bytes
    tag: bytes

    def __bytes__(self) -> bytes:
        return BEGINNING + self.salt + self.file_salt + self.key_id + self.tag

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read the first `HEADER` bytes of a file.

        Raises:
            Damaged: it is no encrypted file of ours, or one of a later version.
        """
        if len(data) < HEADER or data[: len(MAGIC)] != MAGIC:
            raise Damaged(detail="the file is not encrypted, or only its beginning was stored")
        if data[: len(BEGINNING)] != BEGINNING:
            raise Damaged(detail=f"the file is encrypted in an unknown format (version {data[len(MAGIC)]})")
        at = len(BEGINNING)
        return cls(
            data[at : at + SALT],
            data[at + SALT : at + 2 * SALT],
            data[at + 2 * SALT : _TAGGED],
            data[_TAGGED:HEADER],
        )


class FileCipher:
    """Encrypts and decrypts the chunks of one file.

    Attributes:
        header: of the file.
    """

    __slots__ = ("_aead", "header")

    def __init__(self, header: Header, key: bytes) -> None:
        self.header = header
        self._aead = _aead()(key)

    @classmethod
    def new(cls, root: bytes, salt: bytes) -> FileCipher:
        """The cipher of a new file.

        Args:
            root: the stretched passphrase.
            salt: that it was stretched with.
        """
        file_salt = os.urandom(SALT)
        content, check = _file_keys(root, file_salt)
        untagged = Header(salt, file_salt, key_id(root), b"")
        tag = hmac.digest(check, bytes(untagged), "sha256")[:TAG]
        return cls(Header(salt, file_salt, untagged.key_id, tag), content)

    @classmethod
    def of(cls, header: Header, root: bytes) -> FileCipher:
        """The cipher of a stored file.

        Raises:
            Damaged: it was encrypted with another passphrase, or its header was changed.
        """
        if header.key_id != key_id(root):
            raise Damaged(detail="the file was encrypted with another passphrase (cryptconfig.passphrase)")
        content, check = _file_keys(root, header.file_salt)
        tag = hmac.digest(check, bytes(header)[:_TAGGED], "sha256")[:TAG]
        if not hmac.compare_digest(tag, header.tag):
            raise Damaged(detail="the header of the encrypted file was changed")
        return cls(header, content)

    def seal(self, number: int, content: bytes | bytearray | memoryview, *, last: bool) -> bytes:
        """A chunk as it is stored."""
        nonce = os.urandom(NONCE)
        return nonce + bytes(self._aead.encrypt(nonce, content, _NUMBER.pack(number, last)))

    def open(self, number: int, stored: bytes | memoryview, *, last: bool) -> bytes | None:
        """The content of a stored chunk; None if it is not that chunk of this file."""
        if len(stored) < AROUND:
            return None
        try:
            content = self._aead.decrypt(stored[:NONCE], stored[NONCE:], _NUMBER.pack(number, last))
        except _invalid():
            return None
        return bytes(content)


def key_id(root: bytes) -> bytes:
    """Four bytes that tell stretched passphrases apart."""
    return hmac.digest(root, _ROOT, "sha256")[:_KEY_ID]


def _file_keys(root: bytes, file_salt: bytes) -> tuple[bytes, bytes]:
    """The keys of a file's content and of its header."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    keys = HKDF(SHA256(), 64, file_salt, _FILE).derive(root)
    return keys[:32], keys[32:]


@cache
def _aead() -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM


@cache
def _invalid() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
