# SPDX-License-Identifier: Apache-2.0
"""Lists of Azure Blob in XML: of blobs, and of the blocks of one.

(REST reference, "List Blobs", "Get Block List", "Put Block List".)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from tidegate.backends.objects import sums
from tidegate.backends.objects.azure_names import read_key, read_metadata
from tidegate.backends.objects.bucket import StorageMisconfigured, Stored

FOLDER: Final = "hdi-isfolder"
"""Metadata of a blob without content that other programs put in place of a directory."""


@dataclass(frozen=True, slots=True)
class Blobs:
    """A page of a list of blobs.

    Attributes:
        objects: with metadata; those with `FOLDER` among them are directories.
        prefixes: keys up to and with the next ``/``.
        marker: where the next page begins; empty at the end.
    """

    objects: list[Stored]
    prefixes: list[str]
    marker: str


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a blob: identifiers (not in base64) and sizes.

    Attributes:
        committed: those that the blob is made of, in order.
        uncommitted: those of unfinished uploads.
    """

    committed: list[tuple[bytes, int]]
    uncommitted: list[tuple[bytes, int]]


def blobs_of(body: bytes) -> Blobs:
    """Read a page of a list.

    Raises:
        StorageMisconfigured: it is none.
    """
    root = _root(body, "EnumerationResults")
    objects: list[Stored] = []
    prefixes: list[str] = []
    for entry in root.iterfind("Blobs/*"):
        name = _stated(entry, "Name")
        element = entry.find("Name")
        if element is not None and element.get("Encoded") == "true":
            name = unquote(name)
        key = read_key(name)
        if entry.tag == "BlobPrefix":
            prefixes.append(key)
        elif entry.tag == "Blob":
            objects.append(_stored(key, entry))
    return Blobs(objects, prefixes, root.findtext("NextMarker") or "")


def blocks_of(body: bytes) -> Blocks:
    """Read a list of blocks.

    Raises:
        StorageMisconfigured: it is none.
    """
    root = _root(body, "BlockList")
    return Blocks(
        *(_blocks(root.iterfind(f"{kind}/Block")) for kind in ("CommittedBlocks", "UncommittedBlocks"))
    )


def block_list(identifiers: Iterable[bytes]) -> bytes:
    """The body of a request that makes a blob of uncommitted blocks."""
    lines = [f"<Uncommitted>{base64.b64encode(one).decode()}</Uncommitted>" for one in identifiers]
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{"".join(lines)}</BlockList>'.encode()


def time_of(text: str) -> float:
    """Seconds since 1970 of a date of HTTP.

    Raises:
        StorageMisconfigured: it is none.
    """
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        raise StorageMisconfigured(detail="an answer without a date: this is no Azure Blob") from None


def sums_of(md5: str) -> dict[str, str]:
    """The digests of a blob whose MD5 is this, in base64; empty if it is not known."""
    found = sums.hex_of(md5)
    return {"md5": found} if sums.is_md5(found) else {}


def _stored(key: str, entry: ET.Element) -> Stored:
    size = _stated(entry, "Properties/Content-Length")
    metadata = {one.tag: one.text or "" for one in entry.iterfind("Metadata/*")}
    return Stored(
        key,
        int(size) if size.isdigit() else 0,
        time_of(_stated(entry, "Properties/Last-Modified")),
        (entry.findtext("Properties/Etag") or "").strip('"'),
        read_metadata(metadata),
        sums_of(entry.findtext("Properties/Content-MD5") or ""),
    )


def _blocks(entries: Iterable[ET.Element]) -> list[tuple[bytes, int]]:
    found: list[tuple[bytes, int]] = []
    for entry in entries:
        size = _stated(entry, "Size")
        try:
            found.append((base64.b64decode(_stated(entry, "Name")), int(size) if size.isdigit() else 0))
        except binascii.Error:
            continue  # another program's
    return found


def _root(body: bytes, tag: str) -> ET.Element:
    try:
        root = ET.fromstring(body.removeprefix(b"\xef\xbb\xbf"))  # noqa: S314 - expat has bounds of its own
    except ET.ParseError:
        root = None
    if root is None or root.tag != tag:
        raise StorageMisconfigured(detail=f"an answer without {tag}: this is no Azure Blob")
    return root


def _stated(entry: ET.Element, path: str) -> str:
    found = entry.findtext(path)
    if found is None:
        raise StorageMisconfigured(detail=f"an answer without {path}: this is no Azure Blob")
    return found
