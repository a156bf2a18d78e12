# SPDX-License-Identifier: Apache-2.0
"""Gates and accounts in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.model import Account, FilePatterns, Filters, Principal, VPath
from tidegate.policy.gate import Gate


def gate(
    permissions: Mapping[str, Sequence[str]] | None = None, patterns: Sequence[FilePatterns] = ()
) -> Gate:
    """A gate over an account with these rules; everything is granted by default."""
    granted = {"/": ("*",)} if permissions is None else {k: tuple(v) for k, v in permissions.items()}
    account = Account(
        username="ana",
        home_dir="/srv/ana",
        permissions=granted,
        filters=Filters(file_patterns=tuple(patterns)),
    )
    return Gate(Principal(account, "password", "192.0.2.7"), "SFTP")


def path(text: str) -> VPath:
    """A clean path."""
    return VPath.parse(text)
