# SPDX-License-Identifier: Apache-2.0
"""Values: paths, entries, accounts, principals, peers, intents.

Rules of this room: frozen values only; imports the standard library and `tidegate.errors`, nothing else
of ours; no I/O.
"""

from tidegate.model.account import (
    TALLY_NAMES,
    Account,
    Admin,
    AdminFilters,
    ApiKey,
    BandwidthLimit,
    FilePatterns,
    Filters,
    Folder,
    FolderMount,
    GroupUse,
    Tally,
    TallyLimits,
    TimeWindow,
    TransferLimit,
)
from tidegate.model.action import Action
from tidegate.model.entry import Attrs, Entry, Kind, Space
from tidegate.model.intent import Intent, Permission
from tidegate.model.origin import NOWHERE, Origin
from tidegate.model.path import ROOT, VPath
from tidegate.model.peer import OtherProtocol, Peer, Protocol
from tidegate.model.principal import Principal
from tidegate.model.program import ProgramDirectory, ProgramUse
from tidegate.model.storage import LOCAL, LOCAL_DISK, Reach, StorageConfig, StorageSpec
from tidegate.model.usage import UsageDelta

__all__ = [
    "LOCAL",
    "LOCAL_DISK",
    "NOWHERE",
    "ROOT",
    "TALLY_NAMES",
    "Account",
    "Action",
    "Admin",
    "AdminFilters",
    "ApiKey",
    "Attrs",
    "BandwidthLimit",
    "Entry",
    "FilePatterns",
    "Filters",
    "Folder",
    "FolderMount",
    "GroupUse",
    "Intent",
    "Kind",
    "Origin",
    "OtherProtocol",
    "Peer",
    "Permission",
    "Principal",
    "ProgramDirectory",
    "ProgramUse",
    "Protocol",
    "Reach",
    "Space",
    "StorageConfig",
    "StorageSpec",
    "Tally",
    "TallyLimits",
    "TimeWindow",
    "TransferLimit",
    "UsageDelta",
    "VPath",
]
