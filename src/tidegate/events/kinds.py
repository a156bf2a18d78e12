# SPDX-License-Identifier: Apache-2.0
"""Event kinds: frozen, each with its origin. Times are seconds, sizes bytes, paths those of the client.

How a kind looks as a log line is the business of `tidegate.events.sinks.lines` alone.

`Transferred` is a named tuple, the others are frozen dataclasses (ADR 0029): every small file makes one, and
filling the fields of a frozen dataclass takes four times as long as a tuple whose fields are given in order.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from tidegate.model.action import Action
from tidegate.model.entry import Attrs
from tidegate.model.origin import NOWHERE, Origin

TransferAction = Literal[Action.UPLOAD, Action.DOWNLOAD]

NOTHING_SET: Final = Attrs()


class Event:
    """Common part of all events; who takes events knows them by this class.

    Attributes:
        origin: who did it and from where.
        at: when, seconds since the epoch.
    """

    __slots__ = ()

    @property
    def origin(self) -> Origin:
        """The origin of the event."""
        raise NotImplementedError

    @property
    def at(self) -> float:
        """Time of the event, seconds since the epoch."""
        raise NotImplementedError


class _Transferred(NamedTuple):
    origin: Origin
    at: float
    action: TransferAction
    status: Literal["ok", "failed", "quota"] = "ok"
    virtual_path: str = ""
    file_path: str = ""
    size: int = 0
    elapsed: float = 0.0
    error: str = ""
    first: bool = False
    command: str = ""
    reply: int = 0
    storage: str = ""
    first_byte: float = 0.0
    file_size: int = -1


class Transferred(_Transferred, Event):
    """A transfer ended, well or badly.

    Attributes:
        action: `Action.UPLOAD` or `Action.DOWNLOAD`.
        status: ``ok``, ``failed``, or ``quota`` (stopped by a limit).
        virtual_path: what the client calls it.
        size: bytes moved.
        elapsed: seconds.
        file_size: of a complete upload: bytes of the file now, which may have been there in part; else -1.
        file_path: place on the host or key, for operators only.
        first: it is the first of its kind that the account has completed.
        command: verb of a protocol with reply codes (FTP), ``ABOR`` if that ended the transfer; else empty.
        reply: code of the reply (RFC 959 section 4.2): 226, 425, 426, 451, 452, 552...; else 0.
        storage: kind of storage, for instance ``local`` or ``s3``.
        first_byte: of a download: seconds from the open file to its first bytes; 0 if there were none, or
            that is not known.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Common(Event):
    """Fields that all kinds begin with."""

    origin: Origin = NOWHERE
    at: float = field(default_factory=time.time, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected(Common):
    """A client reached a door; `Disconnected` follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected(Common):
    """The connection ended. `by`, if not the client: admin, idle, shutdown, disabled, expired, deleted.

    Attributes:
        logged_in: a login was accepted; else `origin.username` is what was typed.
    """

    duration: float = 0.0
    by: str = ""
    client_version: str = ""
    error: str = ""
    logged_in: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRefused(Common):
    """A door did not take a connection; `origin` has no connection then.

    Attributes:
        rule: the limit or list that decided.
        text: why; refusals that were not told one by one are counted here.
        unreported: their number.
    """

    rule: str = ""
    text: str = ""
    unreported: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn(Common):
    """A login was accepted.

    Attributes:
        encrypted: True if nobody on the way could read the credentials.
        cipher: that sealed them, and the MAC or version of TLS; empty if that is not known.
        elapsed: seconds from the question to the data provider to the answer; -1 if that is not known.
    """

    method: str = ""
    client_version: str = ""
    encrypted: bool = False
    cipher: str = field(default="", compare=False)
    elapsed: float = field(default=-1.0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Banned(Common):
    """An address was banned; `origin` has no connection then.

    Attributes:
        source: see `model.sources`.
        until: end of the ban, Unix seconds.
        reason: the score that it reached the threshold by, such as ``score_invalid``.
    """

    source: str = ""
    until: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFailed(Common):
    """A login was refused, or a connection ended without one (`login_type` no_auth_tried)."""

    login_type: str = ""
    reason: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operated(Common):
    """Something other than a transfer was done.

    Attributes:
        action: every `Action` but transfers.
        attrs: of CHMOD, CHOWN, CHTIMES and TRUNCATE what was set, as far as it was.
        size: bytes copied by COPY, bytes of the file that REMOVE removed; -1 otherwise.
        ssh_command: the command of SSH_COMMAND; exit_status what it ended with.
        file_path: place on the host or key, for operators only; target_path likewise.
        elapsed: seconds.
        command: verb of a protocol with reply codes (FTP), such as ``DELE``; else empty. reply its code.
        storage: kind of storage, for instance ``local`` or ``s3``; empty of SSH commands.
    """

    action: Action
    virtual_path: str = ""
    virtual_target_path: str = ""
    file_path: str = ""
    target_path: str = ""
    elapsed: float = 0.0
    attrs: Attrs = NOTHING_SET
    size: int = -1
    ssh_command: str = ""
    exit_status: int = -1
    command: str = ""
    reply: int = 0
    storage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Common):
    """Policy refused an act; the rule that decided is named.

    Attributes:
        infected: an inspector found the content of an upload malicious.
    """

    intent: str = ""
    virtual_path: str = ""
    rule: str = ""
    text: str = ""
    command: str = ""
    reply: int = 0
    infected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined(Common):
    """An upload was refused, and its content is kept apart; `Refused` and `Transferred` are told besides.

    Attributes:
        name: its id in the quarantine.
        rule: the inspector that refused it; text is why.
        size: bytes.
    """

    name: str = ""
    virtual_path: str = ""
    rule: str = ""
    text: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Common):
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
    command: str = ""
    reply: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaWarning(Common):
    """Usage crossed a mark upwards."""

    limit: str = ""
    percent: int = 0
    used: int = 0
    allowed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Administered(Common):
    """A record of the data provider was added, changed or removed; `origin.username` is who did it.

    Attributes:
        action: what was done.
        kind: what kind of record: user, folder, admin, api_key, event_action, event_rule.
        name: the record's name, or the id of an API key.
        fields: names of the fields that were given or changed; never their values.
        channel: the way: rest, cli, import, quickstart, environment, hook, page.
        record: the document of a removed record without its secrets, as JSON text, because nobody can read it
            any more; empty otherwise.
        own: a user has changed their own record, as far as they may.
    """

    action: Literal["add", "change", "remove"] = "change"
    kind: str = ""
    name: str = ""
    fields: tuple[str, ...] = ()
    channel: str = ""
    record: str = ""
    own: bool = False
