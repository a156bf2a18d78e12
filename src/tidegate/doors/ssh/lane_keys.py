# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for asyncssh's encryption objects on the fast lane, and the list of what the lane needs of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from asyncssh.connection import SSHConnection, SSHServerConnection
from asyncssh.encryption import ChachaEncryption, Encryption, GCMEncryption

from tidegate.doors.ssh import records
from tidegate.doors.ssh.records import HEADER_SIZE, TAG_SIZE, ChachaRecords, GcmRecords, Records

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

_PADDING_POOL: Final = 64 * 1024


class Padding:
    """Random padding drawn in bulk; each byte is used once (RFC 4253 section 6 asks for random bytes)."""

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def take(self, size: int) -> bytes:
        """The next `size` random bytes."""
        start = self._used
        end = self._used = start + size
        if end > len(self._pool):
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
        record = memoryview(bytearray(header + packet + bytes(TAG_SIZE)))
        self.key.seal(record, seq)
        return bytes(record[:-TAG_SIZE]), bytes(record[-TAG_SIZE:])


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


def key_of(encryption: object) -> Records | None:
    """The lane's own form of the key in one of asyncssh's encryption objects, None if it has none."""
    cipher: Any = getattr(encryption, "_cipher", None)
    if isinstance(encryption, GCMEncryption):
        return GcmRecords(cipher._key, cipher._iv)
    if isinstance(encryption, ChachaEncryption):
        return ChachaRecords(cipher._key + cipher._adkey)
    return None


def self_check() -> str:
    """The reason why the lane cannot be used with the installed libraries; empty if it can."""
    missing = [name for name in REQUIRED if not callable(getattr(SSHServerConnection, name, None))]
    source = set(SSHConnection.__init__.__code__.co_names)
    missing += [name for name in REQUIRED_STATE if name not in source]
    if missing:
        return f"asyncssh has no {', '.join(missing)}"
    try:
        records.self_check()
    except Exception as error:  # whatever the library does wrong, the plain channel must still serve
        return str(error)
    return ""
