# SPDX-License-Identifier: Apache-2.0
"""Digests of what is sent to a service, and of an object from those of its parts. Hex in lower case."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from typing_extensions import Buffer

THREAD_BYTES: Final = 512 * 1024
"""From this many bytes on, a digest is computed in a thread: it takes as long as several requests."""
IEEE: Final = 0xEDB88320
"""Polynomial of CRC-32."""
CASTAGNOLI: Final = 0x82F63B78
"""Polynomial of CRC-32C (RFC 3720, 12.1)."""

_Result = TypeVar("_Result")


async def digest(function: Callable[[Buffer], _Result], data: Buffer, size: int) -> _Result:
    """`function` of `data`, without blocking the loop for longer than a request takes."""
    return await asyncio.to_thread(function, data) if size > THREAD_BYTES else function(data)


def crc32(data: Buffer) -> str:
    """CRC-32 of IEEE 802.3, which services name CRC32."""
    return f"{zlib.crc32(data):08x}"


def md5(data: Buffer) -> str:
    """MD5; it tells apart what was damaged, not what was forged."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def base64_of(hexadecimal: str) -> str:
    """The form in headers."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def hex_of(text: str) -> str:
    """The hex of a header's base64; empty if it is none, as the ``...-3`` of a checksum of checksums."""
    try:
        return base64.b64decode(text, validate=True).hex()
    except ValueError:
        return ""


def md5_of_md5s(sums: Iterable[str]) -> str | None:
    """The ETag that S3 gives to an object of parts with these ETags; None if one of them is no MD5."""
    whole, count = hashlib.md5(usedforsecurity=False), 0
    for text in sums:
        if not is_md5(text):
            return None
        whole.update(bytes.fromhex(text))
        count += 1
    return f"{whole.hexdigest()}-{count}"


def is_md5(text: str) -> bool:
    """True for the 32 hex digits of an MD5."""
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)


def crc32_of_parts(parts: Sequence[tuple[str, int]]) -> str:
    """CRC-32 of parts one after another; see `crc_of_parts`."""
    return crc_of_parts(parts, IEEE)


def crc_of_parts(parts: Sequence[tuple[str, int]], polynomial: int) -> str:
    """CRC of parts one after another, from the CRC and the number of bytes of each.

    Appending n zero bytes is a linear map of the 32 bits of a CRC over GF(2); its matrix is found by
    squaring that of one zero bit. Most parts have one size, so there are few of them.
    """
    whole, maps = 0, dict[int, list[int]]()
    for text, size in parts:
        if size not in maps:
            maps[size] = _zeros(size, polynomial)
        whole = _times(maps[size], whole) ^ int(text, 16)
    return f"{whole:08x}"


def _zeros(size: int, polynomial: int) -> list[int]:
    """The matrix that appends `size` zero bytes: the image of each bit."""
    power = [polynomial, *(1 << bit for bit in range(31))]  # one zero bit
    for _ in range(3):
        power = _square(power)
    result = [1 << bit for bit in range(32)]
    while size:
        if size & 1:
            result = [_times(power, column) for column in result]
        size >>= 1
        power = _square(power)
    return result


def _square(matrix: list[int]) -> list[int]:
    return [_times(matrix, column) for column in matrix]


def _times(matrix: list[int], vector: int) -> int:
    total, bit = 0, 0
    while vector:
        if vector & 1:
            total ^= matrix[bit]
        vector >>= 1
        bit += 1
    return total
