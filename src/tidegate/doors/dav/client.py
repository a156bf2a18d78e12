# SPDX-License-Identifier: Apache-2.0
"""Somebody who is logged in, and what a login works with; `clients` has them all."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from tidegate.cluster.registry import Activity, LiveConnection, Registry
from tidegate.doors.common.idle import IdleWatch
from tidegate.doors.common.record import ConnectionRecord, Events
from tidegate.identity.api import Accounts, LoginService
from tidegate.model import Account, Peer, Principal, http_scope
from tidegate.resources import Ledger
from tidegate.resources.count import Share
from tidegate.vfs.api import Session, Sessions

if TYPE_CHECKING:
    from tidegate.doors.dav.part_uploads import PartUpload


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorServices:
    """The services that the door works with.

    Attributes:
        login: checks credentials.
        accounts: tells an account as it is now.
        sessions: opens file sessions.
        events: takes events.
        registry: the live connections.
        ledger: limits of resources.
    """

    login: LoginService
    accounts: Accounts
    sessions: Sessions
    events: Events
    registry: Registry
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Offer:
    """The credentials of a login; see `Clients.of`."""

    username: str
    password: str | None
    certificate: bytes | None

    def __repr__(self) -> str:
        return f"Offer({self.username!r})"


@dataclass(slots=True, eq=False)
class Client:
    """Somebody who is logged in.

    Attributes:
        key: finds it.
        peer: the other end, as it was at the login.
        record: its events.
        principal: who.
        session: its files.
        live: its entry among the account's sessions.
        handles: its open files, against the limits of the account and the process; parts, those of its
            uploads in parts, likewise.
        activity: when it last sent something.
        requests: that are under way, by the task that answers them.
        uploads: in parts, that are not complete, by their ids.
        checked: when its account was looked up last.
        since: when it logged in; both in seconds of `time.monotonic`.
        over: it has ended.
    """

    key: bytes
    peer: Peer
    record: ConnectionRecord
    principal: Principal
    session: Session
    live: LiveConnection
    handles: Share
    parts: Share
    activity: Activity
    requests: dict[asyncio.Task[Any], http_scope.Exchange] = field(default_factory=dict)
    uploads: dict[str, PartUpload] = field(default_factory=dict)
    checked: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.monotonic)
    idle: IdleWatch | None = None
    over: bool = False


_ALIVE: Final = (
    "last_login",
    "first_download",
    "first_upload",
    "used_quota_size",
    "used_quota_files",
    "last_quota_update",
    "used_upload_data_transfer",
    "used_download_data_transfer",
    "tally",
)
"""Fields of an account that move while it is used."""


def same_account(one: Account, other: Account) -> bool:
    """True if two states of an account differ in its usage only."""
    return _still(one) == _still(other)


def _still(account: Account) -> Account:
    rest: dict[str, Any] = dict.fromkeys(_ALIVE, 0)
    rest["tally"] = None
    mounts = tuple(
        replace(one, used_quota_size=0, used_quota_files=0, last_quota_update=0)
        for one in account.virtual_folders
    )
    return replace(account, **rest, virtual_folders=mounts)
