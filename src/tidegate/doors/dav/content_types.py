# SPDX-License-Identifier: Apache-2.0
"""Content types, by the extension of a name; tables of the host are not read, so all hosts say the same."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_TYPES: Final = mimetypes.MimeTypes(filenames=())


def content_type(name: str, own: Mapping[str, str]) -> str:
    """The content type of a name, by its extension."""
    dot = name.rfind(".")
    if dot < 0:
        return "application/octet-stream"
    extension = name[dot:].lower()
    return own.get(extension) or _known_type(extension)


@lru_cache(maxsize=1000)
def _known_type(extension: str) -> str:
    for strict in (True, False):
        found = _TYPES.types_map[strict].get(extension)
        if found:
            return f"{found}; charset=utf-8" if found in ("text/plain", "text/csv") else found
    return "application/octet-stream"
