# SPDX-License-Identifier: Apache-2.0
"""Settings that decide what a valid record is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from tidegate.model import Reach, StorageConfig, StorageSpec


class StorageChecks(Protocol):
    """The registry of storage, as validation uses it."""

    def problem(self, config: StorageConfig) -> str | None:
        """The reason why storage of this kind cannot be used here at all; None if it can."""
        ...

    def check(self, spec: StorageSpec, where: str = "", directory: str = "mapped_path") -> None:
        """Check what a record says about storage that can be used here.

        Raises:
            BadRecord: the first mistake.
        """
        ...

    def reach(self, spec: StorageSpec) -> Reach | None:
        """The hosts and credentials of storage on other hosts, by fields; None if they are not known."""
        ...

    async def try_out(self, spec: StorageSpec, *, writes: bool = True) -> None:
        """Ask the storage of a record for what users need; see `tidegate.abc.TriesItself`.

        Raises:
            TidegateError: it cannot be used; its text says why.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Settings that decide what a valid record is.

    Attributes:
        users_base_dir: parent of homes that a record leaves out; empty makes `home_dir` mandatory.
        naming_rules: bit mask: 1 any UTF-8 in names (else only unreserved URI characters), 2 lower-case,
            4 trim.
        root_mounts: folders may be mounted at ``/``.
        server_dir: the server's configuration directory, never given out; empty judges no directory.
        storages: which kinds of storage there are; None judges no storage.
    """

    users_base_dir: str = ""
    naming_rules: int = 1
    root_mounts: bool = False
    server_dir: str = ""
    storages: StorageChecks | None = field(default=None, compare=False)


DEFAULT_RULES: Final = Rules()
