# SPDX-License-Identifier: Apache-2.0
"""Hundreds of thousands of empty objects in a bucket of SeaweedFS, some 5,000 a second.

One object is put by S3; its metadata is saved by ``weed shell``, multiplied and loaded again. A loader that
ends before its last entries are stored is made good by S3, so that what is there is what was asked for.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.object_servers import ObjectServer

LOAD_SECONDS = 1800.0
PAGE_NAMES = 1000


def fill(server: ObjectServer, bucket: str, folder: str, count: int) -> None:
    """Put `count` empty objects into an empty folder; their names are those of `name_of`.

    Args:
        folder: of the bucket, without slashes.
    """
    first = name_of(0)
    server.admin.put_object(Bucket=bucket, Key=f"{folder}/{first}", Body=b"")
    with tempfile.TemporaryDirectory() as directory:
        saved, many = Path(directory, "saved"), Path(directory, "many")
        _shell(server, f"fs.meta.save -o {saved} /buckets/{bucket}/{folder}")
        (entry,) = [one for one in _entries(saved.read_bytes()) if first.encode() in one]
        with many.open("wb") as out:
            for number in range(1, count):
                made = entry.replace(first.encode(), name_of(number).encode())
                out.write(struct.pack(">I", len(made)) + made)
        _shell(server, f"fs.meta.load -concurrency=8 {many}")
    missing = set(map(name_of, range(count))) - _names(server.admin, bucket, f"{folder}/")
    assert len(missing) <= PAGE_NAMES, f"{len(missing)} of {count} objects were not made"
    for name in missing:
        server.admin.put_object(Bucket=bucket, Key=f"{folder}/{name}", Body=b"")


def name_of(number: int) -> str:
    """Name of the object of a number; all are of one length, as the length of an entry counts its name."""
    return f"an-ordinary-name-{number:07}.txt"


def _shell(server: ObjectServer, line: str) -> None:
    words = [f"-{name}=127.0.0.1:{port}" for name, port in server.shell_ports.items()]
    with tempfile.TemporaryFile() as out:
        subprocess.run(
            [server.program, "shell", *words],
            input=f"{line}\nexit\n".encode(),
            stdout=out,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=LOAD_SECONDS,
        )


def _entries(saved: bytes) -> list[bytes]:
    """The entries of a saved file: each has its length before it, 4 bytes, the highest first."""
    found, position = [], 0
    while position < len(saved):
        (size,) = struct.unpack_from(">I", saved, position)
        found.append(saved[position + 4 : position + 4 + size])
        position += 4 + size
    return found


def _names(client: Any, bucket: str, prefix: str) -> set[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {one["Key"].removeprefix(prefix) for page in pages for one in page.get("Contents", ())}
