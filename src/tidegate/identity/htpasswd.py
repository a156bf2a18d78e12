# SPDX-License-Identifier: Apache-2.0
"""User files in the form of Apache's htpasswd, read again when they change."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from tidegate.errors import ConfigError, Problem
from tidegate.identity.hashing import PasswordChecker

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""Largest user file."""

_ACCEPTED: Final = ("$2a$", "$2b$", "$2y$", "$apr1$", "$5$", "$6$", "$argon2id$")
"""Kinds of hashes taken; htpasswd makes ``$apr1$`` by default and ``$2y$`` with -B."""


def parse_htpasswd(text: str, where: str) -> dict[str, str]:
    """Names and hashes of a user file.

    Args:
        text: the file's content: lines ``name:hash``, blank lines, lines starting with ``#``.
        where: name of the file, for problems.

    Raises:
        ConfigError: every line that cannot be used, by number; plain text, {SHA} and DES are not taken.
    """
    users: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, rest = line.partition(":")
        stored = rest.split(":", 1)[0]
        what = ""
        if not name or not colon:
            what = "expected name:hash"
        elif name in users:
            what = f"user {name[:64]!r} stands here twice"
        elif not stored.startswith(_ACCEPTED):
            what = f"the hash of user {name[:64]!r} is none of bcrypt, apr1, SHA-crypt, argon2id"
        if what:
            problems.append(Problem(f"{where}:{number}", what))
        else:
            users[name] = stored
    if problems:
        raise ConfigError(problems)
    return users


def read_htpasswd(path: Path) -> tuple[dict[str, str], tuple[int, int, int]]:
    """Names and hashes of a user file, and what tells whether it changed. Blocks.

    Raises:
        ConfigError: the file cannot be read or holds a mistake.
    """
    try:
        with path.open("rb") as file:
            seen = _mark(os.fstat(file.fileno()))
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError([Problem(str(path), f"larger than {MAX_FILE_BYTES} bytes")])
        return parse_htpasswd(data.decode(), str(path)), seen
    except OSError as error:
        raise ConfigError([Problem(str(path), error.strerror or "cannot be read")]) from error
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "not UTF-8")]) from None


class HtpasswdFile:
    """Checks passwords against a user file.

    Life: constructed, `load` (blocking; at start and on SIGHUP), used. The file is looked at again whenever
    a password is checked; a file that became unreadable or wrong leaves the users as they were.
    """

    def __init__(self, path: Path, checker: PasswordChecker) -> None:
        self._path = path
        self._checker = checker
        self._users: dict[str, str] = {}
        self._seen: tuple[int, int, int] | None = None
        self.problem = ""
        """The reason that the file's last state is not in use; empty if it is."""

    def load(self) -> None:
        """Read the file now. Blocks.

        Raises:
            ConfigError: the file cannot be read or holds a mistake; the users stay as they were.
        """
        try:
            self._users, self._seen = read_htpasswd(self._path)
        except ConfigError as error:
            self.problem = str(error)
            raise
        self.problem = ""

    async def verify(self, source: str, username: str, password: str) -> bool:
        """True if the file has this user with this password; costs the same for an unknown user.

        Raises:
            LoginRefused: too many checks are waiting (reason ``busy``).
        """
        await self._checker.off_loop(source, self._refresh)
        return await self._checker.fits(
            source, f"htpasswd:{username}", self._users.get(username, ""), password
        )

    async def stored(self, username: str) -> str:
        """The hash that the file has of a user now; empty if it has none.

        It waits behind no password that is checked: who has signed in asks with each request.
        """
        await asyncio.to_thread(self._refresh)
        return self._users.get(username, "")

    def _refresh(self) -> None:
        try:
            if _mark(self._path.stat()) != self._seen:
                self.load()
        except (OSError, ConfigError):
            # `problem` says it; a file that is just being replaced must not lock everybody out.
            return


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino
