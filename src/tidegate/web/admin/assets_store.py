# SPDX-License-Identifier: Apache-2.0
"""Style sheet, scripts, icons and fonts: read once, under a path that changes with their content."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}
"""Media types by the end of the name; files of other kinds are not served."""

SEALED: Final = ("woff2",)
"""Kinds that are compressed already."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes:
        media_type: of the answer.
        content: bytes.
        packed: the same, compressed by gzip; empty if that is no gain.
    """

    media_type: str
    content: bytes
    packed: bytes


@dataclass(frozen=True, slots=True)
class Assets:
    """All files.

    Attributes:
        version: digest of their names and contents, a part of every URL: files refer to each other by name,
            and a browser may keep them for a year.
        by_name: file name to file.
    """

    version: str
    by_name: dict[str, Asset]


@cache
def load() -> Assets:
    """Read the files of the package. Blocking."""
    found: dict[str, Asset] = {}
    digest = hashlib.sha256()
    for file in sorted(files("tidegate.web.admin").joinpath("assets").iterdir(), key=lambda one: one.name):
        kind = file.name.rpartition(".")[2]
        if kind not in TYPES:
            continue
        content = file.read_bytes()
        packed = b"" if kind in SEALED else gzip.compress(content, 9, mtime=0)
        found[file.name] = Asset(TYPES[kind], content, packed)
        digest.update(f"{file.name} {len(content)} ".encode() + content)
    return Assets(digest.hexdigest()[:16], found)
