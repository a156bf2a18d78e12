# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for asyncssh's encryption objects on the fast lane, and the list of what the lane needs of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from asyncssh.connection import SSHConnection, SSHServerConnection
from asyncssh.encryption import (
    BasicEncryption,
    ChachaEncryption,
    Encryption,
    ETMEncryption,
    GCMEncryption,
    get_encryption,
    get_encryption_params,
)
from cryptography.hazmat.primitives.ciphers.modes import CTR

from tidegate.doors.ssh import library, records, records_ctr
from tidegate.doors.ssh.records import HEADER_SIZE, ChachaRecords, GcmRecords, Records
from tidegate.doors.ssh.records_ctr import HASHES, CtrRecords, EtmRecords, Mac

REQUIRED: Final = (
    "_recv_data", "_recv_pkthdr", "_recv_packet", "_finish_recv_packet", "_send_kexinit", "send_packet",
    "connection_lost", "eof_received", "_reset_keepalive_timer", "_force_close",
    "_send_disconnect",
)  # fmt: skip
"""Methods of asyncssh's connection that the lane calls or replaces."""

REQUIRED_STATE: Final = (
    "_inpbuf", "_packet", "_recv_handler", "_recv_encryption", "_send_encryption", "_recv_seq", "_send_seq",
    "_kex_complete", "_auth_complete", "_rekey_bytes", "_rekey_bytes_sent", "_deferred_packets", "_transport",
    "_compressor", "_decompressor", "_max_recv_pktlen", "_keepalive_interval", "_kexinit_sent",
    "_recv_macsize", "_strict_kex",
)  # fmt: skip
"""Instance attributes of asyncssh's connection that the lane reads or sets."""

_FAMILIES: Final = (
    (b"aes128-gcm@openssh.com", b""),
    (b"chacha20-poly1305@openssh.com", b""),
    (b"aes128-ctr", b"hmac-sha2-256"),
    (b"aes256-ctr", b"hmac-sha2-512-etm@openssh.com"),
)
"""A cipher and a MAC of each kind of records."""

_PADDING_POOL: Final = 64 * 1024


class Padding:
    """Random padding drawn in bulk; each byte is used once (RFC 4253 section 6 asks for random bytes)."""

    def __init__(self) -> None:
        self._pool = b""
        self._used = _PADDING_POOL

    def take(self, size: int) -> bytes:
        """The next `size` random bytes."""
        start = self._used
        end = self._used = start + size
        if end > _PADDING_POOL:
            self._pool = os.urandom(_PADDING_POOL)
            start, end = 0, size
            self._used = size
        return self._pool[start:end]


random_padding: Final = Padding()


class Sealed(Encryption):
    """Seals asyncssh's own packets by the lane's counter, after the lane's pending batch.

    Args:
        key: shared with the lane.
        write_out: puts the pending batch on the wire.
    """

    def __init__(self, key: Records, write_out: Callable[[], None]) -> None:
        self.key = key
        self._write_out = write_out

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        """Seal a packet of asyncssh's: the record without its tag, and the tag."""
        self._write_out()
        key = self.key
        tag = key.around - HEADER_SIZE
        record = memoryview(bytearray(header + packet + bytes(tag)))
        key.seal(record, seq)
        return bytes(record[:-tag]), bytes(record[-tag:])


class Opened(Encryption):
    """Hands asyncssh what the lane has decrypted already."""

    def __init__(self, key: Records) -> None:
        self.key = key
        self.length = 0
        self.plain: bytes | None = None

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        """The first block as it came, and the packet length that the lane has found."""
        return first_block, self.length.to_bytes(HEADER_SIZE, "big")

    def decrypt_packet(
        self,
        seq: int,
        first: bytes,
        rest: bytes,
        header_len: int,
        mac: bytes,
    ) -> bytes | None:
        """The packet that the lane opened; None if the record failed its check."""
        plain, self.plain = self.plain, None
        return plain


def key_of(encryption: object, *, sends: bool, looked_at: bytes = b"") -> Records | None:
    """The lane's own form of the key in one of asyncssh's encryption objects, None if it has none.

    Args:
        encryption: asyncssh's object; it is not to be used after this.
        sends: True if it is the one for sending.
        looked_at: the first block of a record that asyncssh has begun to read, as `decrypt_header` gave it.
    """
    cipher: Any = getattr(encryption, "_cipher", None)
    if isinstance(encryption, GCMEncryption):
        return GcmRecords(cipher._key, cipher._iv)
    if isinstance(encryption, ChachaEncryption):
        return ChachaRecords(cipher._key + cipher._adkey)
    # CBC mode and other checksums are asyncssh's alone: few have them, and a lane would bring little.
    if isinstance(encryption, BasicEncryption) and isinstance(cipher._cipher.mode, CTR):
        hashed: Any = encryption._mac
        algorithm = HASHES.get(getattr(hashed, "_hash_alg", None))
        if algorithm is None:
            return None
        # The counter goes on where asyncssh's own context stands; it has made none if it had nothing to do.
        if sends:
            stream = cipher._encryptor or cipher._cipher.encryptor()
        else:
            stream = cipher._decryptor or cipher._cipher.decryptor()
        mac = Mac(hashed._key, algorithm, hashed._hash_size)
        if isinstance(encryption, ETMEncryption):
            return EtmRecords(stream, mac)
        return CtrRecords(stream, mac, looked_at)
    return None


def _agree(cipher: bytes, mac: bytes) -> bool:
    """True if asyncssh opens what the lane seals with the key of one of its objects."""
    key, iv, _, mac_key, _, etm = get_encryption_params(cipher, mac)
    one, other = (
        get_encryption(cipher, bytes(range(key)), bytes(range(iv)), mac, bytes(range(mac_key)), etm)
        for _ in range(2)
    )
    ours, packet, seq = key_of(one, sends=True), bytes(range(60)), 3
    if ours is None:
        return False
    record = memoryview(bytearray(len(packet).to_bytes(4, "big") + packet + bytes(ours.around - HEADER_SIZE)))
    ours.seal(record, seq)
    end = HEADER_SIZE + len(packet)
    first, length = other.decrypt_header(seq, bytes(record[:16]), HEADER_SIZE)
    plain = other.decrypt_packet(seq, first, bytes(record[16:end]), HEADER_SIZE, bytes(record[end:]))
    return int.from_bytes(length, "big") == len(packet) and plain == packet


def self_check() -> str:
    """The reason why the lane cannot be used with the installed libraries; empty if it can."""
    missing = [name for name in REQUIRED if not callable(getattr(SSHServerConnection, name, None))]
    source = set(SSHConnection.__init__.__code__.co_names)
    missing += [name for name in REQUIRED_STATE if name not in source]
    if missing:
        return f"asyncssh has no {', '.join(missing)}"
    try:
        records.self_check()
        records_ctr.self_check()
        for cipher, mac in _FAMILIES:
            if library.does(cipher.decode()) and not _agree(cipher, mac):
                return f"asyncssh does not open what the lane seals with {cipher.decode()}"
    except Exception as error:  # whatever the library does wrong, the plain channel must still serve
        return str(error)
    return ""
