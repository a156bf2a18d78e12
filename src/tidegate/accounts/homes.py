# SPDX-License-Identifier: Apache-2.0
"""Homes of new accounts that name none, where the configuration puts them into a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tidegate.accounts.directories import DEFAULT_HOMES
from tidegate.accounts.names import fold_name
from tidegate.accounts.rules import Rules
from tidegate.model import StorageConfig

_NOT_A_DIRECTORY: Final = frozenset(("", ".", ".."))


def proposed_home(name: str, rules: Rules) -> str:
    """The directory that is proposed for a new account; empty for a name that no directory can have."""
    if "/" in name or name in _NOT_A_DIRECTORY:
        return ""
    home = rules.users_base_dir or f"{rules.server_dir}/{DEFAULT_HOMES}"
    return f"{home.rstrip('/')}/{name}"


@dataclass(frozen=True, slots=True)
class Homes:
    """The storage in which new accounts get homes, one below the other's prefix.

    Attributes:
        config: with the ``key_prefix`` that all of them share.
        section: of its options, for instance ``s3config``.
    """

    config: StorageConfig
    section: str

    def of(self, name: str) -> StorageConfig | None:
        """The storage of an account; None for a name that might lie in the home of another."""
        if "/" in name or name in _NOT_A_DIRECTORY:
            return None
        options: Any = self.config.options[self.section]
        prefix = str(options.get("key_prefix", ""))
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        return StorageConfig(self.config.kind, {self.section: {**options, "key_prefix": f"{prefix}{name}/"}})

    def place(self, document: Mapping[str, Any], rules: Rules) -> Mapping[str, Any]:
        """The document of a new account, with a home if it names neither directory nor storage."""
        name = document.get("username")
        if document.get("home_dir") or document.get("filesystem") or not isinstance(name, str):
            return document
        name = fold_name(name, rules)
        storage = self.of(name)
        if storage is None:
            return document
        return {
            **document,
            "home_dir": proposed_home(name, rules),
            "filesystem": {"provider": storage.kind, **storage.options},
        }
