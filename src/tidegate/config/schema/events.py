# SPDX-License-Identifier: Apache-2.0
"""Section ``events``: who is told what happens, besides the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import create_model

from tidegate.config.schema.base import Section, key

FileEvent = Literal[
    "download", "upload", "delete", "rename", "ssh_cmd", "pre-download", "pre-upload", "pre-delete",
    "first-download", "first-upload", "mkdir", "rmdir", "copy",
]  # fmt: skip
RecordKind = Literal[
    "user", "folder", "group", "admin", "api_key", "share", "event_action", "event_rule", "role",
    "ip_list_entry", "configs",
]  # fmt: skip


class FileActionKeys(Section):
    """Programs and URLs that are told of file operations; see docs/reference/event-rules.md."""

    execute_on: list[FileEvent] = key([], "Events that are told; empty switches the actions off.")
    execute_sync: list[FileEvent] = key(
        [],
        "Of `upload` and the `pre-` events: those for which a client waits, and is refused if the hook "
        "fails. `pre-` events always are.",
    )
    hook: str = key("", "Program (absolute path) or URL, told as by SFTPGo 2.x.")
    command: str = key("", "Program (absolute path), told as by SFTPGo 0.9: five arguments.")
    http_notification_url: str = key("", "URL, told as by SFTPGo 0.9: GET with a query.", secret=True)


class RecordActionKeys(Section):
    """Programs and URLs that are told of changed records; see docs/reference/event-rules.md."""

    execute_on: list[Literal["add", "update", "delete"]] = key(
        [], "Changes that are told; empty switches the actions off. Usage and last logins are no change."
    )
    execute_for: list[RecordKind] = key([], "Kinds of records that `hook` is told of.")
    hook: str = key("", "Program (absolute path) or URL, told as by SFTPGo 2.x.")
    command: str = key("", "Program (absolute path), told of users as by SFTPGo 0.9: eight arguments.")
    http_notification_url: str = key(
        "", "URL, told of users as by SFTPGo 0.9: POST with the user as JSON.", secret=True
    )


class EventManagerKeys(Section):
    """Event rules."""

    enabled_commands: list[str] = key(
        [], "Programs (absolute paths) that event actions may run; no other one is run."
    )


class _SmtpKeys(Section):
    """The mail server."""

    host: str = key("", "Mail server; empty sends no mail.")
    port: int = key(587, "Its port.", ge=1, le=65_535)
    user: str = key("", "User name at the mail server; empty does not log in.")
    password: str = key("", "Their password.", secret=True)
    auth_type: int = key(
        0, "0 plain, 1 login, 2 CRAM-MD5; the best that the server offers is used.", ge=0, le=2
    )
    encryption: int = key(0, "0 none, 1 TLS from the start, 2 STARTTLS.", ge=0, le=2)
    domain: str = key("", "Our name at the mail server; empty takes the host's.")

    # -- accepted, not acted on ----------------------------------------------------------------------------
    templates_path: str = key("", "Directory of texts of mails (actions have their own).", available=False)
    debug: int = key(0, "Debug output of the mail dialogue.", available=False)
    oauth2: dict[str, Any] = key({}, "Login by OAuth 2.", available=False, switch="client_id")


if TYPE_CHECKING:

    class SmtpKeys(_SmtpKeys):
        """The mail server, with the key ``from``, which no class can spell."""

else:
    _SENDER = key("", "Sender, perhaps with a name: `Gateway <gw@example.com>`; empty takes `user`.")
    SmtpKeys = create_model(
        "SmtpKeys", __base__=_SmtpKeys, __doc__=_SmtpKeys.__doc__, **{"from": (str, _SENDER)}
    )


class SinkKeys(Section):
    """One sink."""

    use: str = key(
        "",
        "`file`, `opentelemetry`, the name of an installed sink (entry point group `tidegate.sinks`), or "
        "`package.module:name`.",
    )
    name: str = key("", "What it is remembered by if it is a kept one; empty is `use`.")
    events: list[str] = key(
        [],
        "Names of the events it gets (docs/reference/events.md); empty are all, for a kept sink finished "
        "transfers, removals, renames, logins and administration.",
    )
    options: dict[str, Any] = key({}, "What the sink is given; see its documentation.", secret=True)


class EventKeys(Section):
    """Receivers of events besides the log."""

    sinks: list[SinkKeys] = key(
        [], "Sinks; kept ones get each event at least once, over crashes and restarts."
    )
    outbox_limit: int = key(
        100_000,
        "Events that may wait in the data provider for kept sinks.",
        unit="events",
        ge=1,
        le=100_000_000,
    )
    give_up_hours: int = key(
        72,
        "How long event rules that fail are tried again; then they are given up and kept.",
        unit="hours",
        ge=0,
        le=8_760,
    )
    outbox_full: Literal["drop", "refuse"] = key(
        "drop",
        "`drop` loses the newest events while the outbox is full, and says so; `refuse` refuses logins and "
        "file operations until there is room.",
    )
