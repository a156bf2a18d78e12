# SPDX-License-Identifier: Apache-2.0
"""An object with its metadata in the body of one request (JSON API, "Multipart upload"; RFC 2387)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from typing_extensions import Buffer

PIECE_BYTES: Final = 256 * 1024
"""Bytes that are handed to a connection at once."""


class Related(aiohttp.Payload):
    """The description of an object as JSON, and its content, which must not change until it is sent."""

    def __init__(self, resource: Mapping[str, Any], data: Buffer) -> None:
        boundary = secrets.token_hex(16)
        kind = resource.get("contentType", "application/octet-stream")
        before = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
        )
        before += f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n"
        self._resource = resource
        self._view = memoryview(data).cast("B")
        self._before = before.encode()
        self._after = f"\r\n--{boundary}--\r\n".encode()
        super().__init__(self._view)
        self.related = f'multipart/related; boundary="{boundary}"'
        self._size = len(self._before) + self._view.nbytes + len(self._after)

    def again(self) -> Related:
        """The same for another try: a payload is sent once."""
        return Related(self._resource, self._view)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The content as text; nothing here asks for it."""
        return str(self._view, encoding, errors)

    async def write(self, writer: Any) -> None:
        """Send it all."""
        await writer.write(self._before)
        for start in range(0, self._view.nbytes, PIECE_BYTES):
            await writer.write(self._view[start : start + PIECE_BYTES])
        await writer.write(self._after)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:  # noqa: ARG002 - the whole
        """Send it all; its length is known."""
        await self.write(writer)
