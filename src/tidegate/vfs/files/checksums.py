# SPDX-License-Identifier: Apache-2.0
"""Digests of files and parts of files, in bounded memory and off the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from tidegate.abc import FileHandle, KnowsDigests
from tidegate.errors import InvalidArgument, Unsupported

CHUNK_BYTES: Final = 1_048_576
"""Bytes read and hashed at a time."""
INLINE_BYTES: Final = 16_384
"""Less than this is hashed on the loop: handing it to a thread would cost more."""
BREATH_BYTES: Final = 65_536
"""Bytes digested on the loop in small blocks before other tasks get their turn."""

MIN_BLOCK_BYTES: Final = 256
"""Smallest block (draft-ietf-secsh-filexfer-extensions-00, check-file)."""
MAX_BLOCKS: Final = 16_384
"""Digests in one answer; with SHA-512 one mebibyte."""


class Digest(Protocol):
    """The part of hashlib objects that is needed."""

    def update(self, data: memoryview, /) -> object:
        """Feed bytes."""
        ...

    def digest(self) -> bytes:
        """The digest so far."""
        ...


class _Crc32:
    """CRC-32 (ISO-HDLC) in the shape of hashlib; four bytes, big-endian."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _hashlib(name: str) -> Callable[[], Digest]:
    return lambda: hashlib.new(name, usedforsecurity=False)


def new_blake3() -> Digest:
    """A BLAKE3 digest; the library is loaded by the first."""
    from blake3 import blake3

    return blake3()


ALGORITHMS: Final[dict[str, Callable[[], Digest]]] = {
    **{name: _hashlib(name) for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")},
    "crc32": _Crc32,
    "blake3": new_blake3,
}
"""Digests by the names that doors use."""


async def digest_range(
    handle: FileHandle, algorithm: str, offset: int, length: int, block: int
) -> Sequence[bytes]:
    """Digests of a range of an open file, one for each block.

    Storage that keeps the digest of the whole is asked for it, and nothing is read then.

    Args:
        length: bytes, 0 to the end.
        block: bytes a digest covers, 0 for one digest in all.

    Raises:
        Unsupported: unknown algorithm.
        InvalidArgument: negative numbers, a block too small, or too many blocks.
    """
    make = ALGORITHMS.get(algorithm.lower())
    if make is None:
        raise Unsupported("unknown digest algorithm")
    if offset < 0 or length < 0 or block < 0:
        raise InvalidArgument("negative offset, length or block size")
    size = (await handle.stat()).size
    end = min(size, offset + length) if length else size
    wanted = max(0, end - offset)
    if block and block < MIN_BLOCK_BYTES:
        raise InvalidArgument(f"block size below {MIN_BLOCK_BYTES} bytes")
    if block and wanted > block * MAX_BLOCKS:
        raise InvalidArgument(f"more than {MAX_BLOCKS} blocks")

    if isinstance(handle, KnowsDigests) and wanted == size and (not block or block >= size):
        known = await handle.digest(algorithm.lower())
        if known is not None:
            return [known]

    digests: list[bytes] = []
    hasher = make()
    room = block or wanted
    left = wanted
    fed = inline = 0
    while left:
        data = await handle.read(offset, min(CHUNK_BYTES, left))
        if not data:
            break  # shorter than it was a moment ago
        offset += len(data)
        left -= len(data)
        view = memoryview(data)
        while view:
            part = view[: room - fed] if block else view
            if len(part) <= INLINE_BYTES:
                hasher.update(part)
                inline += len(part)
                if inline >= BREATH_BYTES:
                    inline = 0
                    await asyncio.sleep(0)
            else:
                await asyncio.to_thread(hasher.update, part)
            fed += len(part)
            view = view[len(part) :]
            if block and fed == room:
                digests.append(hasher.digest())
                hasher, fed = make(), 0
    if not block or fed or not digests:
        digests.append(hasher.digest())
    return digests
