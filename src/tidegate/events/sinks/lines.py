# SPDX-License-Identifier: Apache-2.0
"""The log line of each event: sender, level, fields. Pure; the reference page is made from it.

Senders and field names are those that log readers of the field already know. Absent numbers are -1, absent
texts empty, so that a line of one sender always has the same fields. Times are milliseconds where the name
says ``_ms``, sizes bytes.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tidegate.events import kinds
from tidegate.model.action import Action


@dataclass(frozen=True, slots=True)
class Line:
    """A log line before time and secrets are seen to."""

    level: int
    sender: str
    fields: dict[str, Any]


FIELDS: Final[dict[str, str]] = {
    "access_time": "Access time the client set, UTC; empty none.",
    "action": "What was done to the record: add, change or remove.",
    "admin": "Who changed the record: an administrator, or the user of the host at a shell.",
    "allowed": "The limit.",
    "by": "Who ended the connection when it was not the client: admin name, idle, shutdown.",
    "channel": "Way by which a change came: rest, cli, import, quickstart, environment, hook, page.",
    "cipher": "What sealed the login, with the MAC or the version of TLS; empty if that is not known.",
    "client": "What the client says it is.",
    "client_ip": "Address of the client.",
    "command": "Command of FTP, ABOR if that ended a transfer; lines of FTP alone have it.",
    "connection_id": "Id of the connection; the same in every line about it.",
    "duration_ms": "Milliseconds the connection lasted.",
    "elapsed": "Milliseconds the operation took; -1 unknown.",
    "elapsed_ms": "Milliseconds the transfer or the request took.",
    "encrypted": "Whether the connection is encrypted.",
    "errno": "Name of the system's error, for instance EACCES; empty if it has none.",
    "error": "What went wrong, empty if nothing.",
    "fields": "Names of the fields that were given or changed, comma separated; never their values.",
    "file_path": "Place on the host, or key in the store.",
    "filemode": "Mode the client set, as `ls -l` writes that of a file: `-rw-r-----`; empty none.",
    "gid": "Group the client set; -1 none.",
    "intent": "What was asked for.",
    "ip": "Address of the client.",
    "kind": "Kind of the record: user, folder, admin, api_key, event_action, event_rule.",
    "limit": "Name of the limit.",
    "local_addr": "Our end of the connection.",
    "login_type": "Login method that was tried: password, publickey, ..., or no_auth_tried.",
    "method": "Login method that was accepted; method of an HTTP request.",
    "modification_time": "Modification time the client set, UTC; empty none.",
    "muted": "Failures of the session since its last such line that made none at this level.",
    "name": "Name of the record; id of an API key, or of a file in quarantine.",
    "percent": "Mark that was crossed.",
    "protocol": "Door: SFTP, SCP, SSH, FTP, FTPS (by TLS), DAV, DAVS (by HTTPS), HTTP.",
    "remote_addr": "The client's end of the connection.",
    "reply": "Code of the reply of FTP: 226, 250, 425, 426, 450, 451, 452, 550, 552...; 0 without one.",
    "rule": "Rule that decided.",
    "size": "Bytes the operation was about; -1 none.",
    "size_bytes": "Bytes moved.",
    "ssh_command": "The SSH command, empty none.",
    "status": "ok, failed, or quota (stopped by a limit).",
    "target_path": "As file_path, for the operation's target.",
    "text": "What the client was told.",
    "uid": "Owner the client set; -1 none.",
    "used": "What is used now.",
    "username": "Account name.",
    "virtual_path": "Path as the client knows it.",
    "virtual_target_path": "As virtual_path, for the operation's target.",
}
"""Every field of event lines, explained."""

LOCATION_FIELDS: Final[dict[str, str]] = {
    "asn": "Autonomous system of the client, 0 unknown; only where `common.geoip` has databases.",
    "country": "Country of the client, empty unknown; only where `common.geoip` has databases.",
}
"""Fields that lines with the address of a client have besides, explained."""

_SENDER_OF: Final[dict[Action, str]] = {
    action: "SSHCommand" if action is Action.SSH_COMMAND else action.value.capitalize() for action in Action
}

_SPECIAL: Final = ((stat.S_ISUID, "u"), (stat.S_ISGID, "g"), (stat.S_ISVTX, "t"))

OPERATIONS: Final = tuple(
    sender for action, sender in _SENDER_OF.items() if action not in (Action.UPLOAD, Action.DOWNLOAD)
)
"""Senders of `Operated` events."""

SENDERS: Final[dict[str, str]] = {
    "Upload": "An upload ended.",
    "Download": "A download ended.",
    **dict.fromkeys(OPERATIONS, "The operation of that name was done."),
    "login": "A login was accepted.",
    "connection_failed": "A login was refused, or a connection ended without one.",
    "connected": "A client reached a door; `disconnected` follows.",
    "disconnected": "A connection ended.",
    "refused": "Policy refused an act; `rule` names the rule.",
    "quarantined": "A refused upload is kept apart; `name` is its id.",
    "failed": "A request failed that no rule refused; `rule` is storage, request or server.",
    "quota_warning": "Usage crossed a mark.",
    "administered": "An administrator added, changed or removed a record.",
}
"""Every sender of event lines, explained."""


def line_of(event: object) -> Line | None:
    """The line of an event, None for kinds that are not logged."""
    make = _LINES.get(type(event))  # type: ignore[arg-type]  # any other type is no key
    return None if make is None else make(event)


def _answer(event: kinds.Transferred | kinds.Operated | kinds.Failed | kinds.Refused) -> dict[str, Any]:
    """Command and reply, in protocols whose replies have codes; nothing elsewhere."""
    return {"command": event.command, "reply": event.reply} if event.command else {}


def _transferred(event: kinds.Transferred) -> Line:
    origin = event.origin
    return Line(
        logging.INFO if event.status == "ok" else logging.WARNING,
        _SENDER_OF[event.action],
        {
            "local_addr": origin.local_address,
            "remote_addr": origin.remote_address,
            "elapsed_ms": _ms(event.elapsed),
            "size_bytes": event.size,
            "username": origin.username,
            "file_path": event.file_path,
            "virtual_path": event.virtual_path,
            "connection_id": origin.connection_id,
            "protocol": origin.protocol,
            "status": event.status,
            "error": event.error,
            **_answer(event),
        },
    )


def _quarantined(event: kinds.Quarantined) -> Line:
    origin = event.origin
    return Line(
        logging.WARNING,
        "quarantined",
        {
            "username": origin.username,
            "virtual_path": event.virtual_path,
            "name": event.name,
            "rule": event.rule,
            "text": event.text,
            "size_bytes": event.size,
            "ip": origin.ip,
            "protocol": origin.protocol,
            "connection_id": origin.connection_id,
        },
    )


def _refused(event: kinds.Event, intent: str, path: str, rule: str, text: str, **answer: Any) -> Line:
    origin = event.origin
    return Line(
        logging.INFO,
        "refused",
        {
            "username": origin.username,
            "intent": intent,
            "virtual_path": path,
            "rule": rule,
            "text": text,
            "ip": origin.ip,
            "protocol": origin.protocol,
            "connection_id": origin.connection_id,
            **answer,
        },
    )


def _operated(event: kinds.Operated) -> Line:
    attrs, origin = event.attrs, event.origin
    return Line(
        logging.INFO,
        _SENDER_OF[event.action],
        {
            "local_addr": origin.local_address,
            "remote_addr": origin.remote_address,
            "username": origin.username,
            "file_path": event.file_path,
            "target_path": event.target_path,
            "virtual_path": event.virtual_path,
            "virtual_target_path": event.virtual_target_path,
            "filemode": "" if attrs.mode is None else _mode(attrs.mode),
            "uid": _number(attrs.uid),
            "gid": _number(attrs.gid),
            "access_time": _when(attrs.atime_ns),
            "modification_time": _when(attrs.mtime_ns),
            "size": _operation_size(event) if attrs.size is None else attrs.size,
            "elapsed": _ms(event.elapsed),
            "ssh_command": event.ssh_command,
            "connection_id": origin.connection_id,
            "protocol": origin.protocol,
            **_answer(event),
        },
    )


def _logged_in(event: kinds.LoggedIn) -> Line:
    origin = event.origin
    return Line(
        logging.INFO,
        "login",
        {
            "ip": origin.ip,
            "username": origin.username,
            "method": event.method,
            "protocol": origin.protocol,
            "client": event.client_version,
            "encrypted": event.encrypted,
            "cipher": event.cipher,
            "local_addr": origin.local_address,
            "connection_id": origin.connection_id,
        },
    )


def _login_failed(event: kinds.LoginFailed) -> Line:
    origin = event.origin
    return Line(
        logging.DEBUG,
        "connection_failed",
        {
            "client_ip": origin.ip,
            "username": origin.username,
            "login_type": event.login_type,
            "protocol": origin.protocol,
            "error": event.reason,
            "rule": event.rule,
            "connection_id": origin.connection_id,
        },
    )


def _connected(event: kinds.Connected) -> Line:
    origin = event.origin
    return Line(
        logging.DEBUG,
        "connected",
        {
            "ip": origin.ip,
            "remote_addr": origin.remote_address,
            "local_addr": origin.local_address,
            "protocol": origin.protocol,
            "connection_id": origin.connection_id,
        },
    )


def _disconnected(event: kinds.Disconnected) -> Line:
    origin = event.origin
    return Line(
        logging.INFO,
        "disconnected",
        {
            "ip": origin.ip,
            "username": origin.username,
            "protocol": origin.protocol,
            "duration_ms": _ms(event.duration),
            "client": event.client_version,
            "by": event.by,
            "error": event.error,
            "connection_id": origin.connection_id,
        },
    )


def _failed(event: kinds.Failed) -> Line:
    origin = event.origin
    return Line(
        event.level,
        "failed",
        {
            "username": origin.username,
            "intent": event.intent,
            "virtual_path": event.virtual_path,
            "virtual_target_path": event.virtual_target_path,
            "file_path": event.file_path,
            "target_path": event.target_path,
            "rule": event.rule,
            "errno": event.errno,
            "text": event.text,
            "muted": event.muted,
            "ip": origin.ip,
            "protocol": origin.protocol,
            "connection_id": origin.connection_id,
            **_answer(event),
        },
    )


def _quota_warning(event: kinds.QuotaWarning) -> Line:
    origin = event.origin
    return Line(
        logging.WARNING,
        "quota_warning",
        {
            "username": origin.username,
            "limit": event.limit,
            "percent": event.percent,
            "used": event.used,
            "allowed": event.allowed,
            "protocol": origin.protocol,
            "connection_id": origin.connection_id,
        },
    )


def _administered(event: kinds.Administered) -> Line:
    origin = event.origin
    return Line(
        logging.INFO,
        "administered",
        {
            "admin": origin.username,
            "action": event.action,
            "kind": event.kind,
            "name": event.name,
            "fields": ",".join(event.fields),
            "channel": event.channel,
            "ip": origin.ip,
        },
    )


def _mode(mode: int) -> str:
    """The permission bits as SFTPGo writes them: set-id and sticky bits as letters before, else a minus."""
    special = "".join(letter for bit, letter in _SPECIAL if mode & bit)
    return (special or "-") + stat.filemode(mode & 0o777)[1:]


def _number(value: int | None) -> int:
    return -1 if value is None else value


def _when(value: int | None) -> str:
    """A file's time, given in nanoseconds since 1970."""
    if value is None:
        return ""
    try:
        moment = datetime.fromtimestamp(value // 1_000_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(value)  # a client may set times that no calendar knows
    return moment.isoformat().replace("+00:00", "Z")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


_LINES: Final[dict[type[kinds.Event], Callable[[Any], Line]]] = {
    kinds.Transferred: _transferred,
    kinds.Operated: _operated,
    kinds.LoggedIn: _logged_in,
    kinds.LoginFailed: _login_failed,
    kinds.Connected: _connected,
    kinds.Disconnected: _disconnected,
    kinds.ConnectionRefused: lambda event: _refused(event, "connect", "", event.rule, event.text),
    kinds.Banned: lambda event: _refused(event, "banned", "", "common.defender", event.reason),
    kinds.Refused: lambda event: _refused(
        event, event.intent, event.virtual_path, event.rule, event.text, **_answer(event)
    ),
    kinds.Quarantined: _quarantined,
    kinds.Failed: _failed,
    kinds.QuotaWarning: _quota_warning,
    kinds.Administered: _administered,
}


def _operation_size(event: kinds.Operated) -> int:
    """Bytes of a copy; what was removed is not told, as in SFTPGo's log."""
    return -1 if event.action is Action.REMOVE else event.size
