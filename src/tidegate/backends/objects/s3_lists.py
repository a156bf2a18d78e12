# SPDX-License-Identifier: Apache-2.0
"""Lists of objects of S3 in XML, read into the form in which the client library gives them.

(S3 API reference, "ListObjectsV2".) The library takes many times the CPU: it walks its description of the
service for each element, and reads each date with a general parser.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from botocore import exceptions as b

from tidegate.backends.objects.bucket import StorageMisconfigured

LIST_BYTES: Final = 8 * 1024 * 1024
"""Longest answer: 1,000 keys of 1,024 bytes, each byte as three, and 4 KiB beside each."""
FIXED: Final = {"encoding-type": "url", "list-type": "2"}
"""Parameters of every request: keys come encoded, for XML cannot hold every character."""
_ROOT: Final = "ListBucketResult"


def objects_of(body: bytes) -> dict[str, Any] | None:
    """Read a page of a list of objects; None if numbers or dates are not written as the reference says.

    Raises:
        botocore.exceptions.HTTPClientError: it is not whole, or no XML.
        botocore.exceptions.ClientError: it is an error, sent as a success.
        StorageMisconfigured: it is something else.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314 - expat has bounds of its own
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two: an encoding that nobody knows
        raise b.HTTPClientError(error=f"a list that is none: {error}") from None
    # Services write elements with or without the namespace.
    space, _, tag = root.tag.rpartition("}")
    space = f"{space}}}" if space else ""
    if tag == "Error":
        said = {child.tag.rpartition("}")[2]: child.text or "" for child in root}
        meta = {"HTTPStatusCode": 500, "HTTPHeaders": {}}  # as the library: it may be tried again
        raise b.ClientError({"Error": said, "ResponseMetadata": meta}, "ListObjectsV2")
    if tag != _ROOT:
        raise StorageMisconfigured(detail=f"an answer without {_ROOT}: this is no S3")
    encoded = root.findtext(f"{space}EncodingType") == "url"
    found: dict[str, Any] = {"Contents": [], "CommonPrefixes": []}
    try:
        for child in root:
            name = child.tag.removeprefix(space)
            if name in {"Contents", "CommonPrefixes"}:
                found[name].append(_entry(child, space, encoded))
            elif name == "IsTruncated":
                found[name] = child.text == "true"
            elif name == "NextContinuationToken":
                found[name] = child.text or ""
    except ValueError:
        return None
    return found


def _entry(element: ET.Element, space: str, encoded: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for child in element:
        name, text = child.tag.removeprefix(space), child.text or ""
        if name in {"Key", "Prefix"}:
            entry[name] = unquote_plus(text) if encoded else text
        elif name == "Size":
            entry[name] = int(text)
        elif name == "LastModified":
            at = datetime.fromisoformat(text)
            entry[name] = at if at.tzinfo else at.replace(tzinfo=UTC)
        elif name == "ETag":
            entry[name] = text
    return entry


__all__ = ["FIXED", "LIST_BYTES", "objects_of"]
