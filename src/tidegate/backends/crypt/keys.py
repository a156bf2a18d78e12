# SPDX-License-Identifier: Apache-2.0
"""Passphrases and the keys they are stretched to (scrypt, RFC 7914), each once."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from typing import Final

from tidegate.backends.crypt.format import SALT

COST: Final = 1 << 16
"""N of scrypt, with r = 8 and p = 2: 64 MiB, and 0.6 s of one core where it was measured."""
BLOCKS: Final = 8
LANES: Final = 2
_MEMORY: Final = 128 * BLOCKS * COST + (1 << 20) * LANES
KEPT: Final = 4096
"""Stretched passphrases that a process keeps; each is 32 bytes."""


class Stretched:
    """Stretched passphrases, for all roots of one server.

    One is stretched at a time, whatever files ask for: 64 MiB are used once.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._one: asyncio.Lock | None = None

    async def get(self, passphrase: bytes, salt: bytes) -> bytes:
        """The 32 bytes that a passphrase is stretched to with a salt; in a thread, if that is not known."""
        key = hashlib.sha256(salt + passphrase).digest()
        known = self._known.get(key)
        if known is None:
            if self._one is None:
                self._one = asyncio.Lock()
            async with self._one:
                known = self._known.get(key)
                if known is None:
                    known = await asyncio.to_thread(stretch, passphrase, salt)
                    self._known[key] = known
                    while len(self._known) > KEPT:
                        self._known.popitem(last=False)
        self._known.move_to_end(key)
        return known


class RootKeys:
    """The passphrase of one root.

    Files that are made use the salt of the file that was seen first, so that a root has few of them: each
    costs a stretching after a start.

    Args:
        passphrase: of the root.
        stretched: shared by the roots of a server.
    """

    def __init__(self, passphrase: str, stretched: Stretched) -> None:
        self._passphrase = passphrase.encode("utf-8", "surrogatepass")
        self._stretched = stretched
        self.salt: bytes | None = None

    async def of(self, salt: bytes) -> bytes:
        """The stretched passphrase for a salt."""
        return await self._stretched.get(self._passphrase, salt)

    async def for_new(self) -> tuple[bytes, bytes]:
        """The stretched passphrase for a new file, and its salt."""
        if self.salt is None:
            self.salt = os.urandom(SALT)
        salt = self.salt
        return await self.of(salt), salt


def stretch(passphrase: bytes, salt: bytes) -> bytes:
    """Stretch a passphrase; takes about half a second."""
    return hashlib.scrypt(passphrase, salt=salt, n=COST, r=BLOCKS, p=LANES, maxmem=_MEMORY * 2, dklen=32)
