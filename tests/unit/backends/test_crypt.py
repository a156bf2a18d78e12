# SPDX-License-Identifier: Apache-2.0
"""Encrypted files: every byte that is stored is checked, and whatever is written comes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.encrypted import STRETCHED
from tests.support.memory_bucket import MemoryBucket

from tidegate.abc import Backend, Capability, OpenOptions, Outcome, Publish
from tidegate.backends.crypt.backend import CryptBackend, crypt_backend
from tidegate.backends.crypt.format import (
    AROUND,
    CHUNK,
    HEADER,
    STORED,
    Damaged,
    FileCipher,
    Header,
    plain_size,
    position,
    stored_size,
)
from tidegate.backends.crypt.keys import RootKeys, Stretched, stretch
from tidegate.backends.crypt.writing import EXTEND
from tidegate.backends.memory import MemoryBackend
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.errors import CallerError, StorageFailed, StorageFull, TooLarge, Unsupported
from tidegate.model import Attrs
from tidegate.testing.backend import READ, get, names, options_for, put

PASSPHRASE = "correct horse battery staple"
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 28, 3 * CHUNK + 17]


def encrypted(inner: Backend, passphrase: str = PASSPHRASE) -> CryptBackend:
    return crypt_backend(inner, RootKeys(passphrase, STRETCHED))


async def raw(inner: Backend, key: str = "f") -> bytes:
    return await get(inner, key)


@pytest.mark.parametrize("size", SIZES)
async def test_sizes_follow_from_what_is_stored(size: int) -> None:
    inner = MemoryBackend()
    backend = encrypted(inner)
    content = os.urandom(size)
    await put(backend, "f", content)
    stored = await raw(inner)
    assert len(stored) == stored_size(size)
    assert plain_size(len(stored)) == size == (await backend.stat("f")).size
    assert await get(backend, "f") == content
    assert len(content) < 16 or content not in stored
    assert [[entry.size for entry in batch] async for batch in backend.list("")] == [[size]]


def regions(size: int) -> dict[str, int]:
    """An offset in each part of a stored file."""
    found = {
        "magic": 3,
        "version": 8,
        "derivation": 9,
        "chunk size": 10,
        "reserved": 11,
        "salt": 12,
        "file salt": 28,
        "key id": 44,
        "header tag": 48,
    }
    for number in range(max(1, -(-size // CHUNK))):
        start = position(number)
        length = min(CHUNK, size - number * CHUNK)
        found[f"nonce {number}"] = start
        if length:
            found[f"content {number} first"] = start + 12
            found[f"content {number} last"] = start + 12 + length - 1
        found[f"tag {number}"] = start + 12 + length
    return found


@pytest.mark.parametrize("size", [0, 5, CHUNK, 2 * CHUNK + 100])
async def test_a_changed_bit_anywhere_is_noticed(size: int) -> None:
    inner = MemoryBackend()
    content = os.urandom(size)
    await put(encrypted(inner), "f", content)
    stored = await raw(inner)
    for region, offset in regions(size).items():
        for bit in (0, 7):
            changed = bytearray(stored)
            changed[offset] ^= 1 << bit
            await put(inner, "f", bytes(changed))
            with pytest.raises(Damaged) as caught:
                await get(encrypted(inner), "f")
            assert caught.value.text == "storage failure", region
            assert caught.value.detail, region
    await put(inner, "f", stored)
    assert await get(encrypted(inner), "f") == content


@pytest.mark.parametrize("size", [0, 5, CHUNK, CHUNK + 1, 3 * CHUNK])
async def test_any_cut_and_any_addition_is_noticed(size: int) -> None:
    inner = MemoryBackend()
    await put(encrypted(inner), "f", os.urandom(size))
    stored = await raw(inner)
    cuts = {
        0,
        1,
        11,
        12,
        HEADER - 1,
        HEADER,
        HEADER + 1,
        HEADER + AROUND - 1,
        HEADER + AROUND,
        len(stored) - 1,
    }
    for number in range(4):
        cuts |= {position(number) + extra for extra in (-1, 0, 1, AROUND - 1, AROUND, AROUND + 1)}
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(stored)):
        await put(inner, "f", stored[:cut])
        with pytest.raises(Damaged):
            await get(encrypted(inner), "f")
    for more in (b"x", bytes(AROUND), bytes(AROUND + 1), bytes(STORED), stored[-AROUND:], stored[HEADER:]):
        await put(inner, "f", stored + more)
        with pytest.raises(Damaged):
            await get(encrypted(inner), "f")


async def test_an_end_is_not_made_of_what_nobody_reads() -> None:
    """An empty chunk after whole ones would hide that the rest was cut off."""
    inner = MemoryBackend()
    await put(encrypted(inner), "f", os.urandom(3 * CHUNK))
    stored = await raw(inner)
    for chunks in (0, 1, 2):
        await put(inner, "f", stored[: position(chunks)] + bytes(AROUND))
        with pytest.raises(Damaged):
            await get(encrypted(inner), "f")


async def test_chunks_cannot_be_moved() -> None:
    inner = MemoryBackend()
    backend = encrypted(inner)
    await put(backend, "f", bytes(3 * CHUNK))
    await put(backend, "g", bytes(3 * CHUNK))
    one, two = await raw(inner, "f"), await raw(inner, "g")
    parts = [one[position(n) : position(n + 1)] for n in range(3)]
    for order in ((1, 0, 2), (0, 2, 1), (0, 0, 2), (0, 2), (2,)):
        await put(inner, "f", one[:HEADER] + b"".join(parts[n] for n in order))
        with pytest.raises(Damaged):
            await get(encrypted(inner), "f")
    swapped = one[: position(1)] + two[position(1) : position(2)] + one[position(2) :]
    await put(inner, "f", swapped)
    with pytest.raises(Damaged, match="chunk 1"):
        await get(encrypted(inner), "f")
    await put(inner, "f", two[:HEADER] + one[HEADER:])
    with pytest.raises(Damaged, match="chunk 0"):
        await get(encrypted(inner), "f")


async def test_another_passphrase_is_named_to_operators_only() -> None:
    inner = MemoryBackend()
    await put(encrypted(inner), "f", b"content")
    other = encrypted(inner, "another one")
    for options in (READ, OpenOptions(write=True), OpenOptions(write=True, append=True)):
        with pytest.raises(Damaged) as caught:
            await other.open_file("f", options)
        assert caught.value.text == "storage failure"
        assert "another passphrase" in str(caught.value)
        assert "another one" not in str(caught.value)
    assert await get(encrypted(inner), "f") == b"content"
    with pytest.raises(Damaged, match="another passphrase"):
        await other.try_itself()
    await encrypted(inner).try_itself()


@pytest.mark.parametrize("content", [b"", b"hello", b"TIDEGATE is the name", os.urandom(100_000)])
async def test_what_is_not_encrypted_is_refused_and_stays(content: bytes) -> None:
    for inner in (MemoryBackend(), ObjectBackend(MemoryBucket())):
        await inner.open()
        await put(inner, "f", content)
        backend = encrypted(inner)
        with pytest.raises(StorageFailed) as caught:
            await get(backend, "f")
        assert "not encrypted" in str(caught.value) or "format" in str(caught.value)
        if content:
            with pytest.raises(StorageFailed):
                await backend.open_file("f", OpenOptions(write=True, append=True))
        assert await raw(inner) == content
        await put(backend, "f", b"new")
        assert await get(backend, "f") == b"new"


async def test_a_nonce_is_never_used_twice() -> None:
    """The last chunk is written again by each append, sync and resize; always by another nonce."""
    inner = MemoryBackend()
    backend = encrypted(inner)
    seen: list[bytes] = []

    async def note() -> None:
        stored = await raw(inner)
        seen.append(stored[HEADER : HEADER + 12])

    await put(backend, "f", b"0")
    await note()
    for _ in range(5):
        await put(backend, "f", b"1", OpenOptions(write=True, append=True))
        await note()
    await backend.set_attrs("f", Attrs(size=2))
    await note()
    assert len(set(seen)) == len(seen)


async def test_broken_off_in_place_keeps_whole_chunks_and_goes_on() -> None:
    """A killed server leaves an upload in place: readers are told, and the client goes on."""
    inner = MemoryBackend()
    backend = encrypted(inner)
    content = os.urandom(3 * CHUNK + 500)
    handle = await backend.open_file("f", options_for())
    await handle.write(0, content)
    del handle  # killed: nothing more is written
    size = (await backend.stat("f")).size
    assert size == 3 * CHUNK
    again = encrypted(inner)
    reader = await again.open_file("f", READ)
    assert await reader.read(0, 2 * CHUNK) == content[: 2 * CHUNK]
    with pytest.raises(Damaged, match="not complete"):
        await reader.read(2 * CHUNK, CHUNK)
    await reader.close()
    writer = await again.open_file("f", OpenOptions(write=True, create=True))
    assert writer.existed_size == size
    await writer.write(size, content[size:])
    await writer.close()
    assert await get(again, "f") == content


@pytest.mark.parametrize("torn", [1, 11, 27, 28])
async def test_a_torn_chunk_that_holds_nothing_is_written_anew(torn: int) -> None:
    inner = MemoryBackend()
    backend = encrypted(inner)
    content = os.urandom(2 * CHUNK + 500)
    handle = await backend.open_file("f", options_for())
    await handle.write(0, content)
    stored = await raw(inner)
    await put(inner, "f", stored + os.urandom(torn))
    assert (await backend.stat("f")).size == 2 * CHUNK
    with pytest.raises(Damaged):
        await get(backend, "f")
    writer = await backend.open_file("f", OpenOptions(write=True))
    await writer.write(2 * CHUNK, content[2 * CHUNK :])
    await writer.close()
    assert await get(backend, "f") == content


async def test_dropped_append_leaves_the_file_as_it_was() -> None:
    inner = MemoryBackend()
    backend = encrypted(inner)
    content = os.urandom(CHUNK + 10)
    await put(backend, "f", content)
    before = await raw(inner)
    for more in (b"x", bytes(3 * CHUNK)):
        handle = await backend.open_file("f", OpenOptions(write=True, append=True))
        await handle.write(0, more)
        await handle.sync()
        await handle.close(Outcome.DROP)
        assert await raw(inner) == before


async def test_a_reader_sees_a_file_grow() -> None:
    backend = encrypted(MemoryBackend())
    await put(backend, "log", b"one")
    reader = await backend.open_file("log", READ)
    await put(backend, "log", b"two", OpenOptions(write=True, append=True))
    assert (await reader.stat()).size == 6
    assert await reader.read(0, 100) in (b"one", b"onetwo")
    await reader.close()
    assert await get(backend, "log") == b"onetwo"


async def test_zeros_are_bounded() -> None:
    backend = encrypted(MemoryBackend())
    await put(backend, "f", b"x")
    with pytest.raises(TooLarge):
        await backend.set_attrs("f", Attrs(size=EXTEND + 2))
    assert await get(backend, "f") == b"x"


async def test_writes_out_of_order_are_refused() -> None:
    backend = encrypted(MemoryBackend())
    assert Capability.RANDOM_WRITE not in backend.capabilities
    handle = await backend.open_file("f", options_for())
    await handle.write(0, b"abc")
    for offset in (0, 2, 4, 10**18):
        with pytest.raises(Unsupported):
            await handle.write(offset, b"x")
    await handle.close()
    assert await get(backend, "f") == b"abc"


async def test_one_salt_for_a_root_after_a_start_too() -> None:
    inner = MemoryBackend()
    for number in range(3):
        await put(encrypted(inner), f"f{number}", b"x")
    salts = {Header.parse(await raw(inner, name)).salt for name in await names(inner)}
    assert len(salts) == 1


async def test_a_passphrase_is_stretched_once() -> None:
    stretched = Stretched()
    salt = bytes(16)
    first, second = await asyncio.gather(stretched.get(b"p", salt), stretched.get(b"p", salt))
    assert first == second == stretch(b"p", salt)
    # RFC 7914: scrypt with N = 65536, r = 8, p = 2; computed by another library.
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    assert first == Scrypt(salt, 32, 65536, 8, 2).derive(b"p")


def test_format_is_fixed() -> None:
    """A file that was made by hand from docs/adr/0049 is read; files of today have to be readable for ever."""
    import hmac

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    root, salt, file_salt = b"r" * 32, b"s" * 16, b"f" * 16
    keys = HKDF(SHA256(), 64, file_salt, b"tidegate.crypt.1 file").derive(root)
    known = hmac.digest(root, b"tidegate.crypt.1 key id", "sha256")[:4]
    header = b"TIDEGATE\x01\x01\x10\x00" + salt + file_salt + known
    header += hmac.digest(keys[32:], header, "sha256")[:16]
    assert len(header) == HEADER == 64
    chunk = b"n" * 12 + AESGCM(keys[:32]).encrypt(b"n" * 12, b"content", bytes(8) + b"\x01")
    cipher = FileCipher.of(Header.parse(header), root)
    assert bytes(cipher.header) == header
    assert cipher.open(0, chunk, last=True) == b"content"
    assert cipher.open(0, chunk, last=False) is None
    assert cipher.open(1, chunk, last=True) is None


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["new", "append", "resume", "truncate", "resize", "read", "kept", "dropped"]),
        st.integers(0, 4 * CHUNK),
        st.integers(0, 2 * CHUNK),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    "make", [MemoryBackend, lambda: ObjectBackend(MemoryBucket())], ids=["memory", "objects"]
)
@settings(max_examples=60, deadline=None)
@given(acts=ACTS)
def test_files_are_what_was_written(make: Callable[[], Backend], acts: list[tuple[str, int, int]]) -> None:
    """Any sequence of writing, growing, cutting and reading gives what a plain file would hold."""
    asyncio.run(_play(make(), acts))


async def _play(inner: Backend, acts: list[tuple[str, int, int]]) -> None:
    backend: Any = encrypted(inner)
    await inner.open()
    free = Capability.PARTIALS in backend.capabilities
    model = bytearray()
    await put(backend, "f", b"")
    for number, (act, at, size) in enumerate(acts):
        data = bytes([number + 1]) * size
        if act == "new":
            publish = (Publish.INPLACE, Publish.ATOMIC)[at % 2]
            handle = await backend.open_file("f", options_for(publish))
            await _write(handle, 0, data, at)
            await handle.close()
            model[:] = data
        elif act in ("append", "dropped"):
            handle = await backend.open_file("f", OpenOptions(write=True, append=True))
            await _write(handle, 0, data, at)
            await handle.close(Outcome.COMMIT if act == "append" else Outcome.DROP)
            if act == "append":
                model += data
        elif act in ("resume", "kept"):
            handle = await backend.open_file("f", OpenOptions(write=True, create=True))
            assert handle.existed_size == len(model)
            await _write(handle, len(model), data, at)
            outcome = Outcome.COMMIT if act == "resume" or not free else Outcome.KEEP
            await handle.close(outcome)
            model += data
        elif act == "truncate":
            await backend.set_attrs("f", Attrs(size=at))
            del model[at:]
            model += bytes(at - len(model))
        elif act == "resize":
            handle = await backend.open_file("f", OpenOptions(write=True, append=not free))
            await handle.set_attrs(Attrs(size=at))
            await _write(handle, at, data, size)
            await handle.close()
            del model[at:]
            model += bytes(at - len(model)) + data
        else:
            handle = await backend.open_file("f", READ)
            room = bytearray(size)
            count = handle.readinto_nowait(at, [memoryview(room)])
            if count is not None:
                assert room[:count] == model[at : at + size]
            assert await handle.read(at, size) == model[at : at + size]
            await handle.close()
        assert (await backend.stat("f")).size == len(model)
    assert await get(backend, "f") == model
    assert len(await raw(inner)) == stored_size(len(model))


async def _write(handle: Any, offset: int, data: bytes, step: int) -> None:
    """Write in pieces, now and then without waiting."""
    piece = max(1000, step % 70_000)
    for start in range(0, len(data), piece):
        part = data[start : start + piece]
        if start % 2 or not handle.write_nowait(offset + start, part):
            await handle.write(offset + start, part)


async def test_a_failed_write_does_not_become_a_file() -> None:
    inner = MemoryBackend(capacity=2 * STORED)
    backend = encrypted(inner)
    handle = await backend.open_file("f", options_for(Publish.ATOMIC))
    with pytest.raises(StorageFull):
        for number in range(5):
            await handle.write(number * CHUNK, bytes(CHUNK))
    with pytest.raises(StorageFull):
        await handle.close()
    assert await names(backend) == []


class _Torn(MemoryBackend):
    """Its device is full: of the next write that is longer than a chunk's half only a part arrives."""

    full = False

    async def open_file(self, key: str, options: OpenOptions) -> Any:
        handle: Any = await super().open_file(key, options)
        write = handle.write_nowait

        async def torn(offset: int, data: Any) -> None:
            if self.full and not isinstance(data, bytes):
                write(offset, bytes(data)[:1000])
                raise StorageFull
            write(offset, data)

        handle.write = torn
        handle.write_nowait = lambda _offset, _data: False
        return handle


@pytest.mark.parametrize("outcome", [Outcome.COMMIT, Outcome.KEEP])
async def test_a_full_device_tears_nothing_that_was_there(outcome: Outcome) -> None:
    inner = _Torn()
    backend = encrypted(inner)
    content = os.urandom(CHUNK + 500)
    await put(backend, "f", content)
    inner.full = True
    handle = await backend.open_file("f", OpenOptions(write=True, append=True))
    with pytest.raises(StorageFull):
        await handle.write(0, bytes(2 * CHUNK))
    try:
        await handle.close(outcome)
    except StorageFull:
        assert outcome is Outcome.COMMIT
    inner.full = False
    assert await get(backend, "f") == content


async def test_reading_an_upload_of_ones_own() -> None:
    for inner in (MemoryBackend(), ObjectBackend(MemoryBucket())):
        await inner.open()
        backend: Any = encrypted(inner)
        if not hasattr(backend, "reopen"):
            continue
        handle = await backend.open_file("f", options_for(Publish.ATOMIC))
        await handle.write(0, b"so far")
        view = await backend.reopen(handle, READ)
        assert await view.read(0, 100) == b"so far"
        await view.close()
        await backend.retarget(handle, "g", exclusive=True)
        await handle.close()
        assert await get(backend, "g") == b"so far"


async def test_what_needs_a_missing_ability_says_so() -> None:
    backend = encrypted(ObjectBackend(MemoryBucket()))
    assert Capability.PARTIALS not in backend.capabilities
    with pytest.raises(CallerError):
        await backend.open_file("f", options_for(Publish.RESUMABLE))
