# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening of SSH binary packets with AES in counter mode and HMAC (RFC 4344 section 4, RFC 6668).

There are two orders of the two steps. RFC 4253 section 6.4 computes the MAC over sequence number, length and
plain packet, and encrypts the length with the packet (`CtrRecords`). Names that end in ``-etm@openssh.com``
leave the length in clear and compute the MAC over sequence number, length and ciphertext (`EtmRecords`;
OpenSSH's PROTOCOL, section 1.5).
The key stream goes on from record to record: each byte is encrypted or decrypted once, in order.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time, hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from tidegate.doors.ssh.records import HEADER_SIZE

HASHES: Final[dict[object, Callable[[], hashes.HashAlgorithm]]] = {
    hashlib.sha1: hashes.SHA1,
    hashlib.sha256: hashes.SHA256,
    hashlib.sha384: hashes.SHA384,
    hashlib.sha512: hashes.SHA512,
}
"""Hashes of MACs by the function that asyncssh has for each. SHA-1 is off by default."""

BLOCK: Final = 16
"""Bytes of a block of AES, which packets are padded to."""

_U32 = struct.Struct(">I")
_SEQ_AND_LENGTH = struct.Struct(">II")


class Mac:
    """HMAC under one key; the key is hashed once, each packet begins with a copy of that state.

    Args:
        key: of the MAC.
        algorithm: its hash.
        size: bytes of the digest that are sent; some names end in ``-96``.
    """

    def __init__(self, key: bytes, algorithm: Callable[[], hashes.HashAlgorithm], size: int) -> None:
        self.size = size
        self._begin = hmac.HMAC(key, algorithm()).copy

    def sign(self, before: bytes, data: memoryview) -> bytes:
        """The digest of `before` and `data`, as long as it is sent."""
        state = self._begin()
        state.update(before)
        state.update(data)
        return state.finalize()[: self.size]

    def check(self, before: bytes, data: memoryview, sent: memoryview) -> None:
        """Compare in a time that does not depend on the bytes.

        Raises:
            InvalidTag: `sent` is not the digest of `before` and `data`.
        """
        if not constant_time.bytes_eq(self.sign(before, data), bytes(sent)):
            raise InvalidTag


class EtmRecords:
    """Encrypt, then MAC; the length is in clear.

    Args:
        stream: the cipher at the place where the next record begins; used by nobody else.
        mac: for the same direction.
    """

    clear = True
    block = BLOCK
    lead = 1

    def __init__(self, stream: CipherContext, mac: Mac) -> None:
        self._crypt = stream.update_into
        self._mac = mac
        self._tag = mac.size
        self.around = HEADER_SIZE + mac.size

    def length(self, view: memoryview, position: int, seq: int) -> int:  # noqa: ARG002 - one signature for all families
        """See `Records.length`."""
        length: int = _U32.unpack_from(view, position)[0]
        return length

    def seal(self, record: memoryview, seq: int) -> None:
        """See `Records.seal`."""
        tag = self._tag
        body = record[HEADER_SIZE:-tag]
        self._crypt(body, body)
        record[-tag:] = self._mac.sign(_U32.pack(seq), record[:-tag])

    def open(self, record: memoryview, plain: memoryview, seq: int) -> None:
        """See `Records.open`; nothing is decrypted that was not proved."""
        tag = self._tag
        self._mac.check(_U32.pack(seq), record[:-tag], record[-tag:])
        self._crypt(record[HEADER_SIZE:-tag], plain)


class CtrRecords:
    """MAC over the plain packet, and encrypt both it and its length (RFC 4253 section 6.4).

    The first block must be decrypted to know the length; it is kept until the rest of its record is there.

    Args:
        stream: the cipher at the place where the next record begins, or behind `first`; used by nobody else.
        mac: for the same direction.
        first: the first block of the next record, if it was decrypted already.
    """

    clear = False
    block = BLOCK
    lead = 1 + HEADER_SIZE

    def __init__(self, stream: CipherContext, mac: Mac, first: bytes = b"") -> None:
        self._crypt = stream.update_into
        self._mac = mac
        self._tag = mac.size
        self.around = HEADER_SIZE + mac.size
        self._first = bytearray(first or BLOCK)
        self._known = bool(first)

    def length(self, view: memoryview, position: int, seq: int) -> int:  # noqa: ARG002 - as `EtmRecords.length`
        """See `Records.length`."""
        first = self._first
        if not self._known:
            self._crypt(view[position : position + BLOCK], first)
            self._known = True
        return int.from_bytes(first[:HEADER_SIZE], "big")

    def seal(self, record: memoryview, seq: int) -> None:
        """See `Records.seal`."""
        tag = self._tag
        packet = record[:-tag]
        digest = self._mac.sign(_U32.pack(seq), packet)
        self._crypt(packet, packet)
        record[-tag:] = digest

    def open(self, record: memoryview, plain: memoryview, seq: int) -> None:
        """See `Records.open`."""
        tag = self._tag
        self._known = False
        plain[: BLOCK - HEADER_SIZE] = self._first[HEADER_SIZE:]
        self._crypt(record[BLOCK:-tag], plain[BLOCK - HEADER_SIZE :])
        self._mac.check(_SEQ_AND_LENGTH.pack(seq, len(plain)), plain, record[-tag:])


def self_check() -> None:
    """Prove that in-place work of the installed cryptography library gives the standard result.

    Raises:
        RuntimeError: it does not; the lane must stay off.
    """
    key, text, seq = bytes(range(16)), bytes(range(256)) * 3, 7
    cipher, mac = Cipher(AES(key), CTR(key)), Mac(key, hashes.SHA256, 32)
    packet = _U32.pack(len(text)) + text
    clear_length = packet[:HEADER_SIZE] + cipher.encryptor().update(text)
    for kind, encrypted, signed in (
        (EtmRecords, clear_length, clear_length),
        (CtrRecords, cipher.encryptor().update(packet), packet),
    ):
        expected = hmac.HMAC(key, hashes.SHA256())
        expected.update(_U32.pack(seq) + signed)
        record = memoryview(bytearray(packet + bytes(32)))
        kind(cipher.encryptor(), mac).seal(record, seq)
        if record != encrypted + expected.finalize():
            raise RuntimeError("AES-CTR with HMAC in place gives another result than out of place")
        plain, reader = bytearray(len(text)), kind(cipher.decryptor(), mac)
        if reader.length(record, 0, seq) != len(text):
            raise RuntimeError("AES-CTR with HMAC does not give back a packet length")
        reader.open(record, memoryview(plain), seq)
        if plain != text:
            raise RuntimeError("AES-CTR with HMAC does not give back what it sealed")
