# SPDX-License-Identifier: Apache-2.0
"""Versions of records in HTTP: `ETag` in answers, `If-Match` in requests (RFC 9110, 8.8.3 and 13.1.1)."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Depends, Header

from tidegate.accounts.versions import Record, version_of
from tidegate.errors import InvalidArgument

MAX_TAG_CHARS: Final = 512
"""Longest `If-Match` that is looked at."""

_TAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e]*)"')
"""One entity tag. A proxy that compresses answers makes tags weak; ours stand for the record all the same."""


def etag(record: Record) -> dict[str, str]:
    """The header that tells a record's version."""
    return {"ETag": f'"{version_of(record)}"'}


def wanted_version(
    if_match: Annotated[
        str | None,
        Header(
            max_length=MAX_TAG_CHARS,
            description="`ETag` of the record as it was read: an older one is refused with 412. "
            "Without it, or with `*`, any version is changed.",
        ),
    ] = None,
) -> str:
    """The version that a request is about; empty for any.

    Raises:
        InvalidArgument: it is not one entity tag.
    """
    text = (if_match or "").strip()
    if text in ("", "*"):
        return ""
    found = _TAG.fullmatch(text)
    if found is None:
        raise InvalidArgument("If-Match: give one entity tag in quotes, as ETag gives it, or *")
    return found[1] or "-"  # an empty tag is of no record


Version = Annotated[str, Depends(wanted_version)]
