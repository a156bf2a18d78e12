# SPDX-License-Identifier: Apache-2.0
"""Keys, and the names of unfinished uploads on the other server.

Those names hold a tag of the endpoint. Each server in a row of several hides its own and lets those of the
one before it pass; two servers that reach one endpoint hide each other's.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from tidegate.errors import InvalidPath, NotFound

MAX_NAME_BYTES: Final = 255
MAX_KEY_BYTES: Final = 4095
"""Longest key, PATH_MAX of most systems without its NUL."""


class Names:
    """Names of one root.

    Args:
        root: absolute path of the root there without a slash at its end.
        endpoint: ``host:port`` of the server.
    """

    def __init__(self, root: bytes, endpoint: str) -> None:
        self.root = root
        tag = hashlib.blake2b(endpoint.lower().encode(), digest_size=4).hexdigest()
        self._hidden = f".tidegate-{tag}-"
        self._part = f"{self._hidden}part."
        self._hashed = f"{self._hidden}hash."
        self.upload_prefix = f"{self._hidden}upload."
        self._tree = f"{self._hidden}tree."
        self._moved = f"{self._tree}moved."
        self.staged: set[str] = set()
        """Names of trees that are made beside others now: random, and told to nobody."""

    def check(self, key: str) -> None:
        """Refuse a key that is not a clean relative path.

        Raises:
            InvalidPath: it is not clean, or a name is too long.
            NotFound: it names an unfinished upload.
        """
        if not key:
            return
        if "\0" in key:
            raise InvalidPath("invalid path: NUL byte")
        if len(raw(key)) > MAX_KEY_BYTES:
            raise InvalidPath("invalid path: too long")
        for part in key.split("/"):
            if part in {"", ".", ".."}:
                raise InvalidPath("invalid path: not a clean relative path")
            if len(raw(part)) > MAX_NAME_BYTES:
                raise InvalidPath("invalid path: too long")
            if part.startswith(self._hidden) and part not in self.staged:
                raise NotFound

    def path(self, key: str) -> bytes:
        """The path of a key there.

        Raises:
            InvalidPath, NotFound: see `check`.
        """
        self.check(key)
        return self.root + b"/" + raw(key) if key else self.root or b"/"

    def above(self, key: str) -> list[bytes]:
        """The paths of the directories between the root and what a key names, the uppermost first."""
        parts = key.split("/")[:-1]
        return [self.root + b"/" + raw("/".join(parts[: end + 1])) for end in range(len(parts))]

    def is_hidden(self, name: str) -> bool:
        """True for the name of an unfinished upload."""
        return name.startswith(self._hidden)

    def part(self, key: str) -> bytes:
        """The path of the unfinished upload that is kept for a key."""
        folder, _, name = key.rpartition("/")
        kept = f"{self._part}{name}"
        if len(raw(kept)) > MAX_NAME_BYTES:
            kept = self._hashed + hashlib.blake2b(raw(name), digest_size=16).hexdigest()
        return self._beside(folder, kept)

    def name_of_part(self, hidden: str) -> str | None:
        """The name that an unfinished upload is kept for; None if it is not kept, or not known."""
        return hidden.removeprefix(self._part) if hidden.startswith(self._part) else None

    def is_part(self, hidden: str) -> bool:
        """True for the name of an unfinished upload that is kept for resuming."""
        return hidden.startswith((self._part, self._hashed))

    def upload(self, key: str) -> bytes:
        """A fresh path for a file that lies beside a key until it is published."""
        return self._beside(key.rpartition("/")[0], self.upload_prefix + secrets.token_hex(8))

    def tree(self, *, moves: bool) -> str:
        """A fresh hidden name for what takes another's place; 128 bits of chance."""
        return (self._moved if moves else self._tree) + secrets.token_hex(16)

    def is_tree(self, hidden: str) -> bool:
        """True for such a name, and for one of what it took the place of."""
        return hidden.startswith(self._tree)

    def is_moved(self, hidden: str) -> bool:
        """True for a hidden tree that is all that there is of what was moved."""
        return hidden.startswith(self._moved)

    def fresh(self) -> bytes:
        """A fresh hidden name."""
        return raw(self.upload_prefix + secrets.token_hex(8))

    def hidden_path(self, key: str) -> bytes:
        """The path of a hidden name, or of one below a directory."""
        return self.root + b"/" + raw(key)

    def _beside(self, folder: str, name: str) -> bytes:
        return b"/".join((self.root, raw(folder), raw(name)) if folder else (self.root, raw(name)))


def raw(text: str) -> bytes:
    """The bytes of a path (ADR 0008).

    Raises:
        InvalidPath: it holds a surrogate that stands for no byte.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidPath("invalid path: not encodable") from None
