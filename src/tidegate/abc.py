# SPDX-License-Identifier: Apache-2.0
"""Every contract that third parties implement, by the names that are promised.

They stand by subject in `tidegate.contracts`: storage, identity, events, inspection, cluster. A door has its
contract in `tidegate.doors.common.door`.
"""

from __future__ import annotations

from tidegate.contracts.cluster import (
    Live,
    Message,
)
from tidegate.contracts.events import (
    KeptEvent,
    KeptSink,
    Sink,
)
from tidegate.contracts.identity import (
    AsksFirst,
    Authenticator,
    Challenge,
    Credential,
    KnowsKeys,
    LoginAttempt,
    NextStep,
    PreLogin,
    Prompt,
)
from tidegate.contracts.inspection import (
    ALLOWED,
    Inspected,
    InspectedAct,
    Inspector,
    Verdict,
)
from tidegate.contracts.storage import (
    Backend,
    Capability,
    ChecksRoot,
    ClosesAtOnce,
    ExpiresPartials,
    FileHandle,
    HostsPrograms,
    Key,
    KnowsDigests,
    KnowsPlaces,
    ListsPartials,
    ListsSizes,
    ObjectRules,
    OpenOptions,
    OpensAtOnce,
    Outcome,
    Publish,
    QuickHandle,
    RenamesAcross,
    SharesUploads,
    StorageHost,
    StorageKind,
    Surveys,
    TellsPartials,
    TriesItself,
    WrapsStorage,
)

__all__ = [
    "ALLOWED",
    "AsksFirst",
    "Authenticator",
    "Backend",
    "Capability",
    "Challenge",
    "ChecksRoot",
    "ClosesAtOnce",
    "Credential",
    "ExpiresPartials",
    "FileHandle",
    "HostsPrograms",
    "Inspected",
    "InspectedAct",
    "Inspector",
    "KeptEvent",
    "KeptSink",
    "Key",
    "KnowsDigests",
    "KnowsKeys",
    "KnowsPlaces",
    "ListsPartials",
    "ListsSizes",
    "Live",
    "LoginAttempt",
    "Message",
    "NextStep",
    "ObjectRules",
    "OpenOptions",
    "OpensAtOnce",
    "Outcome",
    "PreLogin",
    "Prompt",
    "Publish",
    "QuickHandle",
    "RenamesAcross",
    "SharesUploads",
    "Sink",
    "StorageHost",
    "StorageKind",
    "Surveys",
    "TellsPartials",
    "TriesItself",
    "Verdict",
    "WrapsStorage",
]
