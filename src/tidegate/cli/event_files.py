# SPDX-License-Identifier: Apache-2.0
"""Reads JSON documents that commands are given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from tidegate.cli.target import Document
from tidegate.errors import InvalidArgument

MAX_BYTES: Final = 4 * 1024 * 1024
"""Longest document."""


def read_document(file: str) -> Document:
    """The JSON object of a file; ``-`` is standard input.

    Raises:
        InvalidArgument: it cannot be read, or is no JSON object.
    """
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"{file}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{file}: longer than {MAX_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{file}: no JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"{file}: not a JSON object")
    return document
