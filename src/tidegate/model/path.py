# SPDX-License-Identifier: Apache-2.0
"""Virtual paths: parsed once at the edge, trusted everywhere after."""

from __future__ import annotations

import os
from typing import Final

from tidegate.errors import InvalidPath

MAX_PATH_BYTES: Final = 4096
"""Longest accepted path, the PATH_MAX of Linux."""


class VPath(str):
    """An absolute, clean virtual path.

    It starts with ``/``, has no empty, ``.`` or ``..`` component, no trailing slash (but for the root) and
    no NUL. Names that are not UTF-8 are kept as surrogate escapes (PEP 383), so that every byte sequence a
    client sends survives. A `VPath` compares and hashes as the text it is. Build one with `parse`, `child`
    or `parent`, never by calling the class on unchecked text.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, raw: str | bytes, base: VPath | None = None) -> VPath:
        """Turn what a client sent into a clean path.

        ``..`` is resolved by text and stops at the root, as REALPATH of the peers does; links are the
        backend's matter.

        Args:
            raw: the path as received; bytes are decoded as UTF-8 with surrogate escapes.
            base: what a relative path is relative to; the root by default.

        Raises:
            InvalidPath: NUL byte, half a surrogate pair, or longer than `MAX_PATH_BYTES`.
        """
        text = raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else str(raw)
        if len(text) > MAX_PATH_BYTES or "\0" in text:
            raise InvalidPath("invalid path: NUL byte" if "\0" in text else "invalid path: too long")
        if not text.startswith("/"):
            text = f"{base or '/'}/{text}"
        if "//" not in text and "/." not in text and (text[-1] != "/" or len(text) == 1):
            clean = text
        else:
            parts: list[str] = []
            for part in text.split("/"):
                if part in ("", "."):
                    continue
                if part == "..":
                    if parts:
                        parts.pop()
                else:
                    parts.append(part)
            clean = "/" + "/".join(parts)
        if not clean.isascii():
            try:
                size = len(clean.encode("utf-8", "surrogateescape"))
            except UnicodeEncodeError:  # half a surrogate pair, from JSON: neither text nor bytes
                raise InvalidPath("invalid path: not valid Unicode") from None
            if size > MAX_PATH_BYTES:
                raise InvalidPath("invalid path: too long")
        return cls(clean)

    @property
    def parent(self) -> VPath:
        """The directory that holds this path; the root is its own parent."""
        return VPath(self[: self.rfind("/")] or "/")

    @property
    def name(self) -> str:
        """The last component; empty for the root."""
        return self[self.rfind("/") + 1 :]

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, without the root."""
        return tuple(self[1:].split("/")) if len(self) > 1 else ()

    @property
    def key(self) -> str:
        """The path without its leading slash; what a backend mounted at the root is asked for."""
        return self[1:]

    def child(self, name: str) -> VPath:
        """The entry `name` of this directory.

        Raises:
            InvalidPath: `name` is not one plain component.
        """
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise InvalidPath
        return VPath(f"{self}/{name}" if len(self) > 1 else f"/{name}")

    def is_within(self, directory: str) -> bool:
        """True if this is `directory` or lies below it."""
        return directory == "/" or self == directory or self.startswith(directory + "/")

    def relative_to(self, directory: str) -> str:
        """The path below `directory` without a leading slash; empty if they are equal."""
        if self == directory:
            return ""
        return self[1:] if directory == "/" else self[len(directory) + 1 :]

    def ancestors(self) -> list[VPath]:
        """This path and every directory above it, nearest first; the root is last."""
        found = [self]
        while len(found[-1]) > 1:
            found.append(found[-1].parent)
        return found

    def to_bytes(self) -> bytes:
        """The bytes to put on the wire."""
        return os.fsencode(self)


ROOT: Final = VPath("/")
