# SPDX-License-Identifier: Apache-2.0
"""SSH binary packets sealed and opened in place, without fresh buffers: the contract, and AEAD ciphers.

A record on the wire is ``uint32 packet_length | ciphertext | tag`` (RFC 4253 section 6; RFC 5647 for AES-GCM
as OpenSSH's PROTOCOL narrows it; PROTOCOL.chacha20poly1305). Each class here holds one direction of one key:
asyncssh makes a new cipher object for every packet, which costs as much as the encryption of 13 KB.
Counter mode with HMAC is in `records_ctr`.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

from tidegate.doors.ssh import library

HEADER_SIZE: Final = 4
"""Bytes of the length field."""

_TAG: Final = 16
"""Bytes behind the ciphertext of an AEAD."""

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_BLOCK_AND_NONCE = struct.Struct(">QQ")
"""The start of ChaCha20: block counter 0 in any byte order, and the nonce, a sequence number."""

_ZEROS: Final = bytes(64)


class Records(Protocol):
    """One direction of one key. `seq` is the SSH packet sequence number.

    Attributes:
        clear: True if the length field is not encrypted: it may be read without asking `length`.
        block: bytes that a padded packet is a multiple of.
        lead: bytes in front of the payload that count for that: 1, the padding length; 5 where the length
            field is encrypted as a part of the packet.
        around: bytes of a record that are not of its packet: the length field and the tag.
    """

    clear: bool
    block: int
    lead: int
    around: int

    def length(self, view: memoryview, position: int, seq: int) -> int:
        """The packet length that the record at `position` says; its first 16 bytes are there.

        It is not proved: the caller bounds it. May be asked again for a record that is not complete yet.
        """
        ...

    def seal(self, record: memoryview, seq: int) -> None:
        """Encrypt in place: `record` holds the length, the plain packet and room for the tag."""
        ...

    def open(self, record: memoryview, plain: memoryview, seq: int) -> None:
        """Decrypt `record` into `plain`, which is shorter by `around`; `length` was asked before.

        Raises:
            InvalidTag: the record was not made with this key, or not at this place of the stream.
        """
        ...


class GcmRecords:
    """aes128-gcm@openssh.com and aes256-gcm@openssh.com: the nonce is a counter, the length is in clear."""

    clear = True
    block = 16
    lead = 1
    around = HEADER_SIZE + _TAG

    def __init__(self, key: bytes, iv: bytes) -> None:
        aead = AESGCM(key)
        self._encrypt, self._decrypt = aead.encrypt_into, aead.decrypt_into
        self._nonce = bytearray(iv)
        self._counter = int.from_bytes(iv[4:12], "big")

    def length(self, view: memoryview, position: int, seq: int) -> int:  # noqa: ARG002 - one signature for all families
        """See `Records.length`."""
        length: int = _U32.unpack_from(view, position)[0]
        return length

    # RFC 5647 section 7.1: 4 bytes fixed, 8 bytes of a counter that goes up by one for each packet.

    def seal(self, record: memoryview, seq: int) -> None:  # noqa: ARG002 - as `length`
        """See `Records.seal`."""
        counter = self._counter
        _U64.pack_into(self._nonce, 4, counter)
        self._counter = (counter + 1) & 0xFFFFFFFFFFFFFFFF
        self._encrypt(self._nonce, record[4:-16], record[:4], record[4:])

    def open(self, record: memoryview, plain: memoryview, seq: int) -> None:  # noqa: ARG002 - as `length`
        """See `Records.open`."""
        counter = self._counter
        _U64.pack_into(self._nonce, 4, counter)
        self._counter = (counter + 1) & 0xFFFFFFFFFFFFFFFF
        self._decrypt(self._nonce, record[4:], record[:4], plain)


class ChachaRecords:
    """chacha20-poly1305@openssh.com: two keys, the sequence number is the nonce, the length is hidden."""

    clear = False
    block = 8
    lead = 1
    around = HEADER_SIZE + _TAG

    def __init__(self, key: bytes) -> None:
        # PROTOCOL.chacha20poly1305: the first 32 bytes are K_2 (payload), the rest K_1 (length).
        payload = Cipher(ChaCha20(key[:32], bytes(16)), mode=None).encryptor()
        header = Cipher(ChaCha20(key[32:], bytes(16)), mode=None).encryptor()
        self._payload, self._begin_payload = payload.update_into, payload.reset_nonce
        self._header, self._begin_header = header.update_into, header.reset_nonce
        self._length = bytearray(HEADER_SIZE)
        # Block counter 0 makes the Poly1305 key, the first 32 of its 64 bytes; the payload starts at block 1.
        self._block = bytearray(64)
        self._tag_key = memoryview(self._block)[:32]

    def length(self, view: memoryview, position: int, seq: int) -> int:
        """See `Records.length`."""
        self._begin_header(_BLOCK_AND_NONCE.pack(0, seq))
        self._header(view[position : position + HEADER_SIZE], self._length)
        return int.from_bytes(self._length, "big")

    def seal(self, record: memoryview, seq: int) -> None:
        """See `Records.seal`."""
        nonce = _BLOCK_AND_NONCE.pack(0, seq)
        self._begin_header(nonce)
        self._header(record[:4], record)
        self._begin_payload(nonce)
        self._payload(_ZEROS, self._block)
        body = record[4:-16]
        self._payload(body, body)
        record[-16:] = Poly1305.generate_tag(self._tag_key, record[:-16])

    def open(self, record: memoryview, plain: memoryview, seq: int) -> None:
        """See `Records.open`."""
        self._begin_payload(_BLOCK_AND_NONCE.pack(0, seq))
        self._payload(_ZEROS, self._block)
        tag = Poly1305.generate_tag(self._tag_key, record[:-16])
        if not constant_time.bytes_eq(tag, bytes(record[-16:])):
            raise InvalidTag
        self._payload(record[4:-16], plain)


def self_check() -> None:
    """Prove that in-place work of the installed cryptography library gives the standard result.

    What the library refuses (ChaCha20 in FIPS mode) is not asked, since no client is offered it.

    Raises:
        RuntimeError: it does not; the lane must stay off.
    """
    key, iv, text = bytes(range(16)), bytes(range(12)), bytes(range(256)) * 3
    expected = AESGCM(key).encrypt(iv, text, _U32.pack(len(text)))
    record = memoryview(bytearray(_U32.pack(len(text)) + text + bytes(_TAG)))
    GcmRecords(key, iv).seal(record, 0)
    plain = bytearray(len(text))
    GcmRecords(key, iv).open(record, memoryview(plain), 0)
    if bytes(record[4:]) != expected or plain != text:
        raise RuntimeError("AES-GCM in place gives another result than out of place")
    if not library.does("chacha20"):
        return
    key = bytes(range(64))
    record = memoryview(bytearray(_U32.pack(len(text)) + text + bytes(_TAG)))
    ChachaRecords(key).seal(record, 7)
    plain = bytearray(len(text))
    reader = ChachaRecords(key)
    if reader.length(record, 0, 7) != len(text):
        raise RuntimeError("ChaCha20 does not give back a packet length")
    reader.open(record, memoryview(plain), 7)
    if plain != text:
        raise RuntimeError("ChaCha20-Poly1305 in place gives another result than out of place")
