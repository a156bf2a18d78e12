# SPDX-License-Identifier: Apache-2.0
"""The storage of a home or of a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from tidegate.model.sealing import SecretPlace
from tidegate.model.secrets import SEALED

LOCAL: Final = "local"
"""The kind of storage that is a directory of this host."""
NUMBERED: Final = (LOCAL, "s3", "gcs", "azblob", "crypt", "sftp", "http")
"""Kinds that records of the field name by a number, by that number."""


def provider_of(kind: str) -> int | str:
    """The name of a kind in records, and in texts for operators: its number if it has one."""
    return NUMBERED.index(kind) if kind in NUMBERED else kind


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """The storage that an account or a folder names; the default is local disk.

    Attributes:
        kind: name of a kind of storage: ``local``, ``s3``, or what a package brings.
        options: what the record says about it, as in its `filesystem` document without ``provider``. A kind
            reads its own section (``s3config``...) and checks it; nobody else looks inside.
        group: name of the group that an account has it from, which its secrets belong to; empty for its own.
    """

    kind: str = LOCAL
    options: dict[str, object] = field(default_factory=dict)
    group: str = field(default="", compare=False)

    @property
    def is_local(self) -> bool:
        """True for local disk."""
        return self.kind == LOCAL

    @property
    def key(self) -> str:
        """Equal for equal configurations; holds secrets, so it is for comparing only."""
        options = json.dumps(self.options, sort_keys=True, default=str) if self.options else "{}"
        return f"{self.kind}\0{options}"

    @property
    def is_sealed(self) -> bool:
        """True if it holds encrypted secrets."""
        return bool(self.options) and SEALED in self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"StorageConfig(kind={self.kind!r})"


LOCAL_DISK: Final = StorageConfig()
"""Local disk without options."""
NO_RECORD: Final = SecretPlace("", "")
"""The owner of storage that no record names; it has no encrypted secrets."""


@dataclass(frozen=True, slots=True)
class StorageSpec:
    """One storage as one account uses it: what a backend is built from.

    Attributes:
        directory: `home_dir` of the account or `mapped_path` of the folder: the root of local disk, and for
            other kinds what they make of it. May be empty where the kind needs none.
        config: which storage.
        uid: owner of what has to be created for it; 0 leaves the server's own.
        gid: likewise.
        owner: the record whose `filesystem` it is, which its encrypted secrets are bound to.
    """

    directory: str
    config: StorageConfig = LOCAL_DISK
    uid: int = field(default=0, compare=False)
    gid: int = field(default=0, compare=False)
    owner: SecretPlace = field(default=NO_RECORD, compare=False)

    @property
    def key(self) -> str:
        """Equal for specifications that mean the same storage root."""
        key = f"{self.directory}\0{self.config.key}"
        # Else a copied secret would open what its owner has open.
        return f"{key}\0{self.owner.kind}\0{self.owner.name}" if self.config.is_sealed else key

    @property
    def resource(self) -> object:
        """Equal for roots between which files may be moved: all local ones, others only within themselves."""
        return LOCAL if self.config.is_local else self.key


@dataclass(frozen=True, slots=True)
class Reach:
    """The hosts and credentials that storage makes the server use, by its options.

    Attributes:
        urls: URLs that requests go to and that the record chose, by the option.
        borrows: the option by which the server's own credentials are used; empty if the storage has its own.
    """

    urls: dict[str, str] = field(default_factory=dict)
    borrows: str = ""


__all__ = ["LOCAL", "LOCAL_DISK", "Reach", "StorageConfig", "StorageSpec"]
