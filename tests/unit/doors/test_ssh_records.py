# SPDX-License-Identifier: Apache-2.0
"""Records of the fast lane against asyncssh's own sealing and opening, with random packets in random pieces."""

from __future__ import annotations

import random
from typing import Any

import pytest
from asyncssh.encryption import get_encryption, get_encryption_params
from cryptography.exceptions import InvalidTag

from tidegate.doors.ssh.lane_keys import key_of
from tidegate.doors.ssh.records import Records

CTR = [
    (f"aes{bits}-ctr", f"hmac-sha2-{size}{etm}")
    for bits in (128, 192, 256)
    for size in (256, 512)
    for etm in ("", "-etm@openssh.com")
]
OLD = [
    ("aes128-ctr", mac)
    for mac in ("hmac-sha1", "hmac-sha1-etm@openssh.com", "hmac-sha1-96", "hmac-sha2-256-96")
]
AEAD = [("aes128-gcm@openssh.com", ""), ("aes256-gcm@openssh.com", ""), ("chacha20-poly1305@openssh.com", "")]
ALL = [*CTR, *OLD, *AEAD]
PACKETS = 60


def pair(cipher: str, mac: str) -> tuple[Any, Any]:
    """Two of asyncssh's objects with the same keys."""
    key, iv, _, mac_key, _, etm = get_encryption_params(cipher.encode(), mac.encode())
    source = random.Random(f"{cipher} {mac}")
    keys = source.randbytes(key), source.randbytes(iv)
    signing = source.randbytes(mac_key)
    one, other = (get_encryption(cipher.encode(), *keys, mac.encode(), signing, etm) for _ in range(2))
    return one, other


def ours(encryption: Any, *, sends: bool, looked_at: bytes = b"") -> Records:
    key = key_of(encryption, sends=sends, looked_at=looked_at)
    assert key is not None
    return key


def packet(source: random.Random, key: Records, sizes: tuple[int, ...] = (0, 1, 40, 300, 33_000)) -> bytes:
    """Length and packet, padded as the key asks."""
    size = source.choice(sizes) + source.randrange(20)
    padding = 4 + -(key.lead + 4 + size) % key.block
    body = bytes([padding]) + source.randbytes(size + padding)
    return len(body).to_bytes(4, "big") + body


def seal(key: Records, plain: bytes, seq: int) -> bytes:
    record = memoryview(bytearray(plain + bytes(key.around - 4)))
    key.seal(record, seq)
    return bytes(record)


@pytest.mark.parametrize(("cipher", "mac"), ALL)
def test_asyncssh_opens_what_the_lane_seals(cipher: str, mac: str):
    one, other = pair(cipher, mac)
    key = ours(one, sends=True)
    source = random.Random(1)
    for seq in (*range(PACKETS), 0xFFFFFFFF, 0):
        plain = packet(source, key)
        record = seal(key, plain, seq)
        first, length = other.decrypt_header(seq, record[: key.block], 4)
        assert length == plain[:4]
        tag = key.around - 4
        assert other.decrypt_packet(seq, first, record[key.block : -tag], 4, record[-tag:]) == plain[4:]


@pytest.mark.parametrize(("cipher", "mac"), ALL)
def test_the_lane_opens_what_asyncssh_seals_and_asks_for_lengths_more_than_once(cipher: str, mac: str):
    one, other = pair(cipher, mac)
    key = ours(one, sends=False)
    source = random.Random(2)
    for seq in range(PACKETS):
        plain = packet(source, key)
        record = b"".join(other.encrypt_packet(seq, plain[:4], plain[4:]))
        for _ in range(source.randrange(1, 4)):
            assert key.length(memoryview(b"xyz" + record), 3, seq) == len(plain) - 4
        got = bytearray(len(plain) - 4)
        key.open(memoryview(record), memoryview(got), seq)
        assert got == plain[4:]


@pytest.mark.parametrize(("cipher", "mac"), CTR)
@pytest.mark.parametrize("begun", [False, True])
def test_a_key_that_is_in_use_is_taken_over(cipher: str, mac: str, begun: bool):
    """asyncssh has sealed and opened with it, and perhaps looked at the first block of what comes next."""
    (receiver, theirs), (sender, reader) = pair(cipher, mac), pair(cipher, mac)
    source = random.Random(3)
    for seq in range(5):
        plain = packet(source, ours(pair(cipher, mac)[0], sends=True))
        for writes, reads in ((theirs, receiver), (sender, reader)):
            sealed, tag = writes.encrypt_packet(seq, plain[:4], plain[4:])
            first, _ = reads.decrypt_header(seq, sealed[:16], 4)
            assert reads.decrypt_packet(seq, first, sealed[16:], 4, tag) == plain[4:]
    plain = packet(source, ours(pair(cipher, mac)[0], sends=True))
    record = b"".join(theirs.encrypt_packet(5, plain[:4], plain[4:]))
    looked_at = receiver.decrypt_header(5, record[:16], 4)[0] if begun else b""
    key = ours(receiver, sends=False, looked_at=looked_at)
    waiting = memoryview(looked_at + record[len(looked_at) :])
    assert key.length(waiting, 0, 5) == len(plain) - 4
    got = bytearray(len(plain) - 4)
    key.open(waiting, memoryview(got), 5)
    assert got == plain[4:]

    key = ours(sender, sends=True)
    record = seal(key, plain, 5)
    first, _ = reader.decrypt_header(5, record[: key.block], 4)
    tag = key.around - 4
    assert reader.decrypt_packet(5, first, record[key.block : -tag], 4, record[-tag:]) == plain[4:]


@pytest.mark.parametrize(("cipher", "mac"), ALL)
@pytest.mark.parametrize("what", ["first", "body", "last", "tag", "number"])
def test_what_was_changed_is_not_opened(cipher: str, mac: str, what: str):
    one, other = pair(cipher, mac)
    key = ours(one, sends=False)
    plain = packet(random.Random(4), key, (200,))
    record = bytearray(b"".join(other.encrypt_packet(9, plain[:4], plain[4:])))
    tag = key.around - 4
    place = {"first": 4, "body": 100, "last": len(record) - tag - 1, "tag": len(record) - 1}.get(what)
    if place is not None:
        record[place] ^= 0x80
    # The nonce of GCM is a counter: a record is at another place of the stream if one before it is lost.
    seq = 10 if what == "number" else 9
    if what == "number" and "gcm" in cipher:
        record = bytearray(b"".join(other.encrypt_packet(10, plain[:4], plain[4:])))
    key.length(memoryview(record), 0, seq)
    with pytest.raises(InvalidTag):
        key.open(memoryview(record), memoryview(bytearray(len(plain) - 4)), seq)


@pytest.mark.parametrize(("cipher", "mac"), [pair_ for pair_ in CTR if "etm" in pair_[1]])
def test_nothing_is_decrypted_before_it_is_proved_where_the_mac_covers_the_ciphertext(cipher: str, mac: str):
    one, other = pair(cipher, mac)
    key = ours(one, sends=False)
    plain = packet(random.Random(5), key, (200,))
    record = bytearray(b"".join(other.encrypt_packet(0, plain[:4], plain[4:])))
    record[-1] ^= 1
    got = bytearray(len(plain) - 4)
    with pytest.raises(InvalidTag):
        key.open(memoryview(record), memoryview(got), 0)
    assert not any(got)


@pytest.mark.parametrize(
    ("cipher", "mac"),
    [
        ("aes128-cbc", "hmac-sha2-256"),
        ("aes128-ctr", "hmac-md5"),
        ("3des-cbc", "hmac-sha2-512-etm@openssh.com"),
    ],
)
def test_what_has_no_lane(cipher: str, mac: str):
    encryption, _ = pair(cipher, mac)
    assert key_of(encryption, sends=True) is None
    assert key_of(encryption, sends=False) is None
