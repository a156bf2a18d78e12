# SPDX-License-Identifier: Apache-2.0
"""Digests of files and of standard input: ``md5sum`` and its kin, in the output of GNU coreutils.

Clients parse it: rclone compares files by it, backup programs verify by it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Final

from typing_extensions import Buffer

from tidegate.doors.ssh.command import Call
from tidegate.errors import TidegateError
from tidegate.model import VPath


def _escaped(name: str) -> tuple[str, str]:
    """Coreutils' form of a file name: a line that begins with a backslash has an escaped name."""
    if not any(char in name for char in "\\\n\r"):
        return "", name
    return "\\", name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


async def digest(call: Call) -> int:
    """Print the digest of each argument; exit status 1 if one of them has none."""
    algorithm, start = DIGESTS[call.invocation.name]
    status = 0
    paths: list[str] = []
    options = True
    for word in call.invocation.arguments:
        if options and word == "--":
            options = False
        elif options and word.startswith("-") and word != "-":
            if word not in ("-b", "-t", "--binary", "--text"):
                await call.output.error(f"{call.invocation.name}: {word} unknown option")
                return 1
        else:
            paths.append(word)
    for path in paths or ["-"]:
        if path == "-":
            hasher = start()
            async for chunk in call.stdin:
                hasher.update(chunk)
            await call.output.write(f"{hasher.hexdigest()}  -\n".encode())
            continue
        clean: VPath | None = None
        try:
            clean = VPath.parse(path, call.session.start_directory)
            (digest,) = await call.session.checksum(clean, algorithm)
        except TidegateError as error:
            call.session.failed("checksum", clean or path, error)
            await call.output.error(f"{call.invocation.name}: {_escaped(path)[1]} {error.text}")
            status = 1
            continue
        mark, name = _escaped(clean)
        await call.output.write(f"{mark}{digest.hex()}  {name}\n".encode("utf-8", "surrogateescape"))
    return status


def _blake3() -> Any:
    from blake3 import blake3  # loaded by the first who asks

    return blake3()


class _Crc32:
    """CRC-32 (ISO 3309) with the methods of `hashlib`."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Buffer) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


DIGESTS: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "md5sum": ("md5", lambda: hashlib.md5(usedforsecurity=False)),
    "sha1sum": ("sha1", lambda: hashlib.sha1(usedforsecurity=False)),
    "sha256sum": ("sha256", hashlib.sha256),
    "sha384sum": ("sha384", hashlib.sha384),
    "sha512sum": ("sha512", hashlib.sha512),
    "b3sum": ("blake3", _blake3),
    "crc32sum": ("crc32", _Crc32),
}
"""Command to the name of its algorithm in `vfs.api.Session.checksum`, and the hash of standard input."""
