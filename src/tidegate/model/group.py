# SPDX-License-Identifier: Apache-2.0
"""Groups, whose settings accounts inherit, and roles, which administrators can be limited to.

Field names are those of SFTPGo's dumps and REST API. `tidegate.policy.groups` says what an account inherits.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from tidegate.model.account import Filters, FolderMount
from tidegate.model.storage import LOCAL_DISK, StorageConfig


class Membership(enum.IntEnum):
    """The number in `tidegate.model.GroupUse.type`."""

    PRIMARY = 1
    """gives what the account leaves unset, and its own home, storage and permissions of ``/``; one at most"""
    SECONDARY = 2
    """adds to lists, permissions of further directories, and folders"""
    MEMBERSHIP = 3
    """gives nothing; conditions of event rules see it"""


MEMBERSHIP_NAMES: Final = {one.value: one.name.lower() for one in Membership}
"""The word for each number, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """The settings that accounts inherit; what is empty or 0 is not set.

    Attributes:
        home_dir: absolute directory; ``%username%``, ``%role%`` and ``%custom1%`` stand for values of the
            account. Likewise in paths of `permissions`, of patterns and of mounts, and in key prefixes.
        expires_in: days after its creation that an account expires without a date of its own.
        permissions: as of an account; ``/`` may be missing.
        filesystem: storage of the home; plain local disk gives none.
    """

    home_dir: str = ""
    max_sessions: int = 0
    quota_size: int = 0
    quota_files: int = 0
    permissions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    upload_bandwidth: int = 0
    download_bandwidth: int = 0
    upload_data_transfer: int = 0
    download_data_transfer: int = 0
    total_data_transfer: int = 0
    expires_in: int = 0
    filters: Filters = field(default_factory=Filters)
    filesystem: StorageConfig = LOCAL_DISK


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Settings that several accounts have in common.

    Attributes:
        name: unique.
        user_settings: what accounts inherit.
        virtual_folders: folders that its accounts mount.
        id: number of the record, 0 before it is stored.
        created_at: Unix milliseconds; updated_at likewise.
    """

    name: str
    description: str = ""
    user_settings: GroupSettings = field(default_factory=GroupSettings)
    virtual_folders: tuple[FolderMount, ...] = ()
    id: int = 0
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A set of accounts: an administrator with a role sees and changes only accounts that have it.

    Attributes:
        name: unique.
        id: number of the record, 0 before it is stored.
        created_at: Unix milliseconds; updated_at likewise.
    """

    name: str
    description: str = ""
    id: int = 0
    created_at: int = 0
    updated_at: int = 0
