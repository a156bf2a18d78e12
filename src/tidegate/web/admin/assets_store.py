# SPDX-License-Identifier: Apache-2.0
"""Style sheet, scripts, icons and fonts: read once, under a path that changes with their content."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "ico": "image/x-icon",
}
"""Media types by the end of the name; files of other kinds are not served."""

SEALED: Final = ("woff2", "png", "jpg", "webp")
"""Kinds that are compressed already."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes:
        media_type: of the answer.
        content: bytes.
        packed: the same, compressed by gzip; empty if that is no gain.
        own: it is the operator's.
    """

    media_type: str
    content: bytes
    packed: bytes
    own: bool = False


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
    found = {
        file.name: _asset(file.name, file.read_bytes())
        for file in files("tidegate.web.admin").joinpath("assets").iterdir()
        if file.name.rpartition(".")[2] in TYPES
    }
    return Assets(_version(found), found)


def with_own(own: Mapping[str, bytes]) -> Assets:
    """The files of the package with those of an operator, which take the place of what has their name."""
    if not own:
        return load()
    found = load().by_name | {name: _asset(name, content, own=True) for name, content in own.items()}
    return Assets(_version(found), found)


def _asset(name: str, content: bytes, *, own: bool = False) -> Asset:
    kind = name.rpartition(".")[2]
    packed = b"" if kind in SEALED else gzip.compress(content, 9, mtime=0)
    return Asset(TYPES[kind], content, packed, own)


def _version(found: Mapping[str, Asset]) -> str:
    digest = hashlib.sha256()
    for name, asset in sorted(found.items()):
        digest.update(f"{name} {len(asset.content)} ".encode() + asset.content)
    return digest.hexdigest()[:16]
