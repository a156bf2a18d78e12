# SPDX-License-Identifier: Apache-2.0
"""The credentials of a comparison: a file of passwords, or an operator's own key."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncssh

from tidegate.errors import InvalidArgument

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_CREDENTIALS: Final = 100_000
FORM: Final = "a line for each user, NAME:PASSWORD"


@dataclass(frozen=True, slots=True)
class Credential:
    """One way for one user to log in.

    Attributes:
        username: as the old server knows it.
        password: empty if a key alone is used.
        key: the private key; None if a password alone is used. With both, the password is for a second step.
    """

    username: str
    password: str = field(default="", repr=False)
    key: asyncssh.SSHKey | None = field(default=None, repr=False)

    @property
    def method(self) -> str:
        """``password``, ``publickey`` or ``publickey+password``."""
        if self.key is None:
            return "password"
        return "publickey+password" if self.password else "publickey"


def read_credentials(path: Path) -> list[Credential]:
    """The credentials of a file: `FORM`; empty lines and those that begin with ``#`` are left out. Blocks.

    Raises:
        InvalidArgument: it cannot be read, others may read it, or a line is not of that form.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise InvalidArgument(f"--credentials: others may read {path}; chmod 600 {path}")
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"--credentials: {path}: {error.strerror}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise InvalidArgument(f"--credentials: {path}: longer than {MAX_FILE_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument(f"--credentials: {path}: not UTF-8 text") from None
    found = []
    for number, whole in enumerate(text.split("\n"), 1):  # other ends of lines may stand in a password
        line = whole.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not name or not colon or not password:
            raise InvalidArgument(f"--credentials: {path}:{number}: is not {FORM}")
        found.append(Credential(name, password))
    if not found:
        raise InvalidArgument(f"--credentials: {path}: holds none; {FORM}")
    if len(found) > MAX_CREDENTIALS:
        raise InvalidArgument(f"--credentials: {path}: more than {MAX_CREDENTIALS} users")
    return found


def read_identity(path: Path) -> asyncssh.SSHKey:
    """A private key. Blocks.

    Raises:
        InvalidArgument: it cannot be read, or needs a passphrase.
    """
    try:
        return asyncssh.read_private_key(str(path))
    except OSError as error:
        raise InvalidArgument(f"--identity: {path}: {error.strerror}") from None
    except asyncssh.KeyImportError as error:
        what = "needs a passphrase; use a copy without one" if "assphrase" in str(error) else str(error)
        raise InvalidArgument(f"--identity: {path}: {what}") from None
