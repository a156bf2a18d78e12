# SPDX-License-Identifier: Apache-2.0
"""Event kinds. Field names are those of the log lines; times are seconds, sizes bytes.

An event is handed to every sink and MUST NOT be changed. It is not frozen all the same: filling the fields of
a frozen one takes three times as long, and every small file makes one.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True, kw_only=True)
class Event:
    """Common part of all events.

    Attributes:
        connection_id: the connection it happened on, empty if none.
        username: who did it, empty if unknown.
        protocol: the door, empty if none.
        ip: remote address without port.
        at: when, seconds since the epoch.
    """

    connection_id: str = ""
    username: str = ""
    protocol: str = ""
    ip: str = ""
    at: float = field(default_factory=time.time, compare=False)


@dataclass(slots=True, kw_only=True)
class Connected(Event):
    """A client reached a door; `Disconnected` follows."""

    remote_address: str = ""
    local_address: str = ""


@dataclass(slots=True, kw_only=True)
class Disconnected(Event):
    """The connection ended. `by`, if not the client: admin, idle, shutdown, disabled, expired, deleted."""

    duration: float = 0.0
    by: str = ""
    client_version: str = ""
    error: str = ""


@dataclass(slots=True, kw_only=True)
class LoggedIn(Event):
    """A login was accepted."""

    method: str = ""
    client_version: str = ""
    local_address: str = ""


@dataclass(slots=True, kw_only=True)
class LoginFailed(Event):
    """A login was refused, or a connection ended without one (`login_type` no_auth_tried)."""

    login_type: str = ""
    reason: str = ""
    rule: str = ""


@dataclass(slots=True, kw_only=True)
class Transferred(Event):
    """A transfer ended, well or badly.

    Attributes:
        kind: upload or download.
        status: ``ok``, ``failed``, or ``quota`` (stopped by a limit).
        virtual_path: what the client calls it.
        size: bytes moved.
        elapsed: seconds.
        file_path: place on the host or key, for operators only.
    """

    kind: Literal["upload", "download"] = "upload"
    status: Literal["ok", "failed", "quota"] = "ok"
    virtual_path: str = ""
    file_path: str = ""
    size: int = 0
    elapsed: float = 0.0
    error: str = ""
    local_address: str = ""
    remote_address: str = ""


@dataclass(slots=True, kw_only=True)
class Operated(Event):
    """Something other than a transfer was done.

    Attributes:
        operation: Rename, Rmdir, Mkdir, Symlink, Link, Remove, Chmod, Chown, Chtimes, Truncate, Copy,
            SSHCommand.
        details: operation specific fields of the log line (filemode, uid, gid, times, size, ssh_command).
    """

    operation: str = ""
    virtual_path: str = ""
    virtual_target_path: str = ""
    file_path: str = ""
    target_path: str = ""
    elapsed: float = 0.0
    details: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Refused(Event):
    """Policy refused an act; the rule that decided is named."""

    intent: str = ""
    virtual_path: str = ""
    rule: str = ""
    text: str = ""


@dataclass(slots=True, kw_only=True)
class Failed(Event):
    """A request failed, and no rule of policy had refused it: storage could not do it, or it made no sense.

    Attributes:
        intent: what was wanted, a word that `explain --op` takes.
        rule: `storage`; `request` (it makes no sense anywhere); `server` (not now).
        errno: name of the system's error, empty if it has none.
        file_path: place on the host or key, for operators only; target_path likewise.
        level: severity as of `logging`.
        muted: failures of the session since the last line at a level above debug that had none.
    """

    intent: str = ""
    virtual_path: str = ""
    virtual_target_path: str = ""
    file_path: str = ""
    target_path: str = ""
    rule: str = ""
    errno: str = ""
    text: str = ""
    level: int = logging.INFO
    muted: int = 0


@dataclass(slots=True, kw_only=True)
class QuotaWarning(Event):
    """Usage crossed a mark upwards."""

    limit: str = ""
    percent: int = 0
    used: int = 0
    allowed: int = 0
