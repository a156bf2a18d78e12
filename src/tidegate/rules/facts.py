# SPDX-License-Identifier: Apache-2.0
"""Facts: all that a rule can know of an event, whatever it was made of, and back and forth as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from tidegate.events import kinds
from tidegate.model.action import Action
from tidegate.model.listed import told_name
from tidegate.model.rule import Trigger

OK: Final = 1
FAILED: Final = 2
QUOTA: Final = 3
"""Statuses of events, with SFTPGo's numbers."""

_OPERATIONS: Final = {
    Action.REMOVE: "delete",
    Action.RENAME: "rename",
    Action.MKDIR: "mkdir",
    Action.RMDIR: "rmdir",
    Action.COPY: "copy",
    Action.SSH_COMMAND: "ssh_cmd",
}
FILE_EVENTS: Final = (
    "upload", "pre-upload", "first-upload", "download", "pre-download", "first-download", "delete",
    "pre-delete", "rename", "mkdir", "rmdir", "copy", "ssh_cmd",
)  # fmt: skip
PRE_EVENTS: Final = frozenset(("pre-upload", "pre-download", "pre-delete"))
SYNC_EVENTS: Final = PRE_EVENTS | {"upload"}
"""Events whose actions a client can wait for."""
ABOUT_SOMEBODY: Final = frozenset((Trigger.FILE, Trigger.LOGIN, Trigger.QUOTA, Trigger.IDP_LOGIN))
"""Triggers whose events are about one account."""
PROVIDER_EVENTS: Final = ("add", "update", "delete")
LOGIN_EVENTS: Final = ("login", "login-failed")
BLOCKED: Final = "IP Blocked"
"""The event of a ban, as SFTPGo calls it."""
RENEWED: Final = "Certificate renewal"
EXPIRES: Final = "Certificate expiration"
"""Events of TLS certificates: the file holds another one; it ends soon, or has ended."""
LISTED: Final = "ip_list"
LIST_ENTRY: Final = "ip_list_entry"
"""Entries of lists of addresses as our events call them, and as SFTPGo does."""
SELF: Final = "__self__"
"""The name in place of a user's who has changed their own record."""
_USAGE: Final = frozenset(
    ("used_quota_size", "used_quota_files", "used_upload_data_transfer", "used_download_data_transfer")
)
_STATUS: Final = {"ok": OK, "failed": FAILED, "quota": QUOTA}
_CHANGES: Final = {"add": "add", "change": "update", "remove": "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """An event, or an act that is about to happen.

    Attributes:
        trigger: the kind of rule that may want it.
        event: its name as rules spell it.
        id: tells two reports of one event apart from two events; empty for an act that is asked about.
        name: the account, or the administrator of a change of records; `SELF` for a user who has changed
            their own.
        status: OK, FAILED or QUOTA.
        fs_path: place on the host, or key; fs_target_path likewise.
        size: bytes; -1 if there is none to tell.
        elapsed: milliseconds.
        at: nanoseconds since the epoch.
        object_type: kind of a changed record; object_name its name; object_data the record as JSON text.
        fs_provider: SFTPGo's number of the storage of the path; 0 is local disk.
        ssh_command: name of the command, without its arguments.
        client_gone: an upload whose client has gone.
        groups: of the account, once that was looked up; role likewise.
        reports: names and texts of reports that actions of the rule have made before.
    """

    trigger: Trigger
    event: str
    id: str = ""
    name: str = ""
    status: int = OK
    error: str = ""
    virtual_path: str = ""
    virtual_target_path: str = ""
    fs_path: str = ""
    fs_target_path: str = ""
    size: int = -1
    elapsed: int = 0
    protocol: str = ""
    ip: str = ""
    session_id: str = ""
    role: str = ""
    email: str = ""
    ssh_command: str = ""
    object_type: str = ""
    object_name: str = ""
    object_data: str = ""
    open_flags: int = 0
    fs_provider: int = 0
    bucket: str = ""
    endpoint: str = ""
    at: int = 0
    client_gone: bool = False
    groups: tuple[str, ...] = ()
    reports: tuple[tuple[str, str], ...] = ()

    @property
    def file_size(self) -> int:
        """Bytes; 0 if there is nothing to tell."""
        return max(self.size, 0)


_FIELDS: Final = tuple(item.name for item in fields(Facts))


def facts_of(event: kinds.Event, event_id: str = "") -> tuple[Facts, ...]:
    """Facts of an event: none, one, or two (an upload that was the first of its account)."""
    origin = event.origin
    common: dict[str, Any] = {
        "id": event_id,
        "name": origin.username,
        "protocol": origin.door,
        "ip": origin.ip,
        "session_id": origin.connection_id,
        "at": int(event.at * 1_000_000_000),
    }
    match event:
        case kinds.Transferred():
            done = Facts(
                trigger=Trigger.FILE,
                event=event.action.value,
                status=_STATUS[event.status],
                error=event.error,
                virtual_path=str(event.virtual_path),
                fs_path=event.file_path,
                size=event.size if event.file_size < 0 else event.file_size,
                elapsed=int(event.elapsed * 1000),
                **common,
            )
            return (done, replace(done, event=f"first-{done.event}")) if event.first else (done,)
        case kinds.Operated(action=action) if action in _OPERATIONS:
            failed = event.ssh_command != "" and event.exit_status != 0
            return (
                Facts(
                    trigger=Trigger.FILE,
                    event=_OPERATIONS[action],
                    status=FAILED if failed else OK,
                    error=f"exit status {event.exit_status}" if failed else "",
                    virtual_path=str(event.virtual_path),
                    virtual_target_path=event.virtual_target_path,
                    fs_path=event.file_path,
                    fs_target_path=event.target_path,
                    size=event.size,
                    elapsed=int(event.elapsed * 1000),
                    ssh_command=event.ssh_command.split(maxsplit=1)[0] if event.ssh_command else "",
                    **common,
                ),
            )
        case kinds.Administered(channel="hook"):
            return ()  # SFTPGo tells nobody of what a login hook changes
        case kinds.Administered(fields=changed) if changed and _USAGE.issuperset(changed):
            return ()  # nor of usage that somebody has set
        case kinds.Administered():
            listed = event.kind == LISTED
            return (
                Facts(
                    trigger=Trigger.PROVIDER,
                    event=_CHANGES[event.action],
                    object_type=LIST_ENTRY if listed else event.kind,
                    object_name=told_name(event.name) if listed else event.name,
                    object_data=event.record,
                    **{**common, "name": SELF if event.own else origin.username},
                ),
            )
        case kinds.LoggedIn():
            return (Facts(trigger=Trigger.LOGIN, event="login", **common),)
        case kinds.LoginFailed():
            error = event.reason
            return (Facts(trigger=Trigger.LOGIN, event="login-failed", status=FAILED, error=error, **common),)
        case kinds.Banned():
            return (Facts(trigger=Trigger.IP_BLOCKED, event=BLOCKED, **{**common, "ip": event.source}),)
        case kinds.QuotaWarning():
            return (
                Facts(
                    trigger=Trigger.QUOTA,
                    event="quota",
                    size=event.used,
                    object_name=event.limit,
                    error=f"{event.limit} at {event.percent} %: {event.used} of {event.allowed}",
                    **common,
                ),
            )
        case _:
            return ()


def encode_facts(facts: Facts) -> str:
    """Facts as JSON text, ASCII; what is empty is left out."""
    values = {name: value for name in _FIELDS if (value := getattr(facts, name)) not in ("", 0, False, ())}
    always = {"event": facts.event, "trigger": int(facts.trigger), "size": facts.size}
    return json.dumps({**values, **always}, separators=(",", ":"))


def decode_facts(text: str) -> Facts:
    """Facts of JSON text; fields that this version does not know are left out.

    Raises:
        ValueError: it is no such text.
    """
    values = json.loads(text)
    if not isinstance(values, dict) or "event" not in values:
        raise ValueError("not an object with the fields of an event")
    known = {item.name: item.type for item in fields(Facts)}
    found = {name: value for name, value in values.items() if name in known}
    try:
        found["trigger"] = Trigger(found.get("trigger", Trigger.FILE))
    except (ValueError, TypeError):
        raise ValueError(f"trigger: {found.get('trigger')!r} is no trigger") from None
    found.pop("reports", None)
    groups = found.pop("groups", ())
    if not isinstance(groups, list | tuple) or not all(isinstance(one, str) for one in groups):
        raise ValueError(f"groups: {groups!r} should be a list of texts")
    for name, value in found.items():
        wanted = {"str": str, "int": int, "bool": bool}.get(str(known[name]))
        if wanted is not None and (
            not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))
        ):
            raise ValueError(f"{name}: {value!r} should be a {wanted.__name__}")
    return Facts(**found, groups=tuple(groups))
