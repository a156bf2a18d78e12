# SPDX-License-Identifier: Apache-2.0
"""Event actions and event rules as records: numbers and field names are those of SFTPGo's dumps and REST API.

Numbers from 101 on are ours; SFTPGo has nothing of the kind.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


class Trigger(enum.IntEnum):
    """The kind of event that a rule waits for."""

    FILE = 1
    """a file operation, or one that is about to happen (`pre-...`)"""
    PROVIDER = 2
    """a record of the data provider was added, updated or deleted"""
    SCHEDULE = 3
    IP_BLOCKED = 4
    CERTIFICATE = 5
    ON_DEMAND = 6
    IDP_LOGIN = 7
    LOGIN = 101
    """a login was accepted or refused"""
    QUOTA = 102
    """usage crossed a mark upwards"""


class ActionType(enum.IntEnum):
    """The kind of an event action."""

    HTTP = 1
    COMMAND = 2
    EMAIL = 3
    BACKUP = 4
    USER_QUOTA_RESET = 5
    FOLDER_QUOTA_RESET = 6
    TRANSFER_QUOTA_RESET = 7
    RETENTION = 8
    FILESYSTEM = 9
    PASSWORD_EXPIRATION = 11
    USER_EXPIRATION = 12
    IDP_ACCOUNT = 13
    INACTIVITY = 14
    ROTATE_LOG = 15
    CHAT = 101
    """a message to a webhook of Slack or Teams"""


class FileAction(enum.IntEnum):
    """The kind of a file system action."""

    RENAME = 1
    DELETE = 2
    MKDIRS = 3
    EXIST = 4
    COMPRESS = 5
    COPY = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAction:
    """Something that rules can do.

    Attributes:
        name: unique.
        options: the settings, in the shape that SFTPGo's `options` has; checked by
            `tidegate.rules.documents`.
        id: number of the record, 0 before it is stored.
        created_at: Unix milliseconds; updated_at likewise.
    """

    name: str
    type: ActionType
    description: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleAction:
    """An action as a rule uses it.

    Attributes:
        name: of the action.
        order: actions run by increasing order.
        is_failure_action: runs only when another action of the rule has failed.
        stop_on_failure: what comes after it is left out if it fails.
        execute_sync: the client waits for it, and is refused if it fails.
    """

    name: str
    order: int = 1
    is_failure_action: bool = False
    stop_on_failure: bool = False
    execute_sync: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRule:
    """Says which actions run on which events.

    Attributes:
        name: unique.
        status: 1 active, 0 not.
        conditions: in SFTPGo's shape; checked by `tidegate.rules.documents`.
        muted_until: Unix milliseconds; until then the rule does nothing.
        created_at: Unix milliseconds; updated_at likewise.
        id: number of the record, 0 before it is stored.
    """

    name: str
    trigger: Trigger
    status: int = 1
    description: str = ""
    conditions: Mapping[str, Any] = field(default_factory=dict)
    actions: tuple[RuleAction, ...] = ()
    muted_until: int = 0
    created_at: int = 0
    updated_at: int = 0
    id: int = 0


ACTION_SECRETS: Final = (
    ("http_config", "password"),
    ("http_config", "signing_secret"),
    ("chat_config", "url_secret"),
)
"""Options of actions that are secrets, by section and key: encrypted when stored, and never shown."""
