# SPDX-License-Identifier: Apache-2.0
"""The provider contract that every driver keeps (sqlite, postgresql, mysql, bolt, memory).

Long, because whoever writes a driver reads it as one text.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar

from tidegate.model import Account, Admin, ApiKey, Folder, UsageDelta
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store.legacy.remarks import Remarks
from tidegate.store.outbox import OutboxStore

if TYPE_CHECKING:
    from tidegate.model.properties import PropertyStore
    from tidegate.store.browser_sessions import BrowserSessionStore
    from tidegate.store.deliveries import DeliveryStore
    from tidegate.store.user_query import UserQuery

__all__ = [
    "ADD_ONLY",
    "EVERYTHING",
    "AdminsGuard",
    "Guard",
    "LoadGuard",
    "LoadReport",
    "Order",
    "Provider",
    "Snapshot",
    "UsageDelta",
]

Order = Literal["ASC", "DESC"]

CLAIMED: Final = "claim:"
"""Beginning of the subjects under which claims are stored beside revocations."""
EVERYTHING: Final = "*"
"""The subject of a revocation that stands for every other one."""

SCOPES: Final = (
    "users", "folders", "groups", "roles", "admins", "api_keys", "event_actions", "event_rules", "ip_lists",
)  # fmt: skip
"""Kinds of records that a dump holds, in its order."""

ADD_ONLY: Final = 1
"""The load mode that leaves existing records as they are."""

Record = Account | Folder | Group | Role | Admin | ApiKey | EventAction | EventRule | ListEntry
"""Anything that a dump holds."""

R = TypeVar("R")
Guard = Callable[[R], None]
"""Called with the record as it is stored, inside the transaction that changes or removes it and after the
record is locked against other writers. What it raises undoes the transaction. It may be called again if the
database asks to repeat the work, so it MUST NOT have effects."""

AdminsGuard = Callable[[Sequence[Admin], Sequence[Admin]], None]
"""Called with all administrators before and after a change, by name. Otherwise as `Guard`: each is
locked against other writers, so what holds of both lists holds when the change is stored."""

LoadGuard = Callable[[Record, Record], None]
"""Called with a stored record and the one of the load that replaces it. Otherwise as `Guard`."""

Kind = Literal["user", "folder", "group", "role", "admin", "api_key", "event_action", "event_rule", "ip_list"]
"""The kinds of records."""

LoadRow = tuple[str, str, str]
"""(kind, name, action): kind as of `Kind`; action ``added``,
``updated`` or ``kept``."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a dump holds, decoded and checked."""

    users: Sequence[Account] = ()
    folders: Sequence[Folder] = ()
    groups: Sequence[Group] = ()
    roles: Sequence[Role] = ()
    admins: Sequence[Admin] = ()
    api_keys: Sequence[ApiKey] = ()
    event_actions: Sequence[EventAction] = ()
    event_rules: Sequence[EventRule] = ()
    ip_lists: Sequence[ListEntry] = ()


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The outcome of a load, record by record.

    Attributes:
        rows: one for each record.
        notes: what was accepted and has no effect in this version.
        remarks: the same with its subjects; None for a load that was no dump.
    """

    rows: Sequence[LoadRow] = ()
    notes: Sequence[str] = ()
    remarks: Remarks | None = None


@dataclass(frozen=True, slots=True)
class ListChanges:
    """Changes of the lists of addresses.

    Attributes:
        state: to be asked with the next time.
        entries: those that have changed by name, None for one that is gone; None as a whole if everything
            has to be read.
    """

    state: str
    entries: dict[str, ListEntry | None] | None = None


class Provider(Protocol):
    """A data provider.

    Every method may raise `ProviderUnavailable`, after which the provider MUST recover by itself when its
    database does. Reads by name return None if nothing has that name; writes raise `NotFound` or
    `AlreadyExists`. Stored values are exactly the given ones but for `id`, `created_at`, `updated_at`;
    records that a load adds keep the times that they have.
    Writing an account or a group creates or updates the folders its mounts describe with a `mapped_path`.
    Writing an account raises `BadRecord` if a group or the role that it names does not exist, and so does
    writing an administrator with a role.
    """

    @property
    def outbox(self) -> OutboxStore:
        """Events that are kept until they were handed on."""
        ...

    @property
    def properties(self) -> PropertyStore:
        """Dead properties of files."""
        ...

    @property
    def deliveries(self) -> DeliveryStore:
        """Deliveries of event rules that are not over."""
        ...

    @property
    def browser_sessions(self) -> BrowserSessionStore:
        """Sessions of browsers."""
        ...

    async def property_roots(self) -> set[str]:
        """Every `PropertyPatch.root` for which properties may be kept; cheap, however many there are."""
        ...

    async def open(self, *, migrate: bool = True) -> None:
        """Connect; bring the schema up to date if `migrate`.

        Raises:
            ProviderError: the schema is newer than this version, or older and `migrate` is False.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...

    async def check(self) -> None:
        """Return if the provider works now, else raise `ProviderUnavailable`."""
        ...

    # -- users -----------------------------------------------------------------------------------------

    async def user(self, username: str) -> Account | None:
        """One account with its folder mounts."""
        ...

    async def users(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC", role: str = ""
    ) -> list[Account]:
        """A page of accounts by name; with `role` of those that have it."""
        ...

    def iter_users(self, *, fresh: bool = False) -> AsyncIterator[Account]:
        """Every account by name, without holding them all; with `fresh` never from a replica."""
        ...

    async def find_users(self, query: UserQuery) -> list[Account]:
        """A page of the accounts that a search finds, in its order."""
        ...

    async def count_users(self) -> int:
        """The number of accounts."""
        ...

    async def add_user(self, account: Account) -> Account:
        """Store a new account; returns it with `id` and times."""
        ...

    async def update_user(
        self, account: Account, *, keep_usage: bool = True, guard: Guard[Account] | None = None
    ) -> Account:
        """Replace an account by name; with `keep_usage` the stored counters and last login stay."""
        ...

    async def delete_user(self, username: str, *, guard: Guard[Account] | None = None) -> None:
        """Remove an account."""
        ...

    async def set_password(self, username: str, password_hash: str, *, changed_at: int | None = None) -> None:
        """Replace the hash alone (upgrade at login, or change)."""
        ...

    async def touch_login(self, username: str, when_ms: int, *, logins: int = 1) -> None:
        """Set `last_login`, and add to `login_count`."""
        ...

    async def touch_first(self, username: str, kind: Literal["upload", "download"], when_ms: int) -> None:
        """Set `first_upload` or `first_download` if it is not set yet."""
        ...

    # -- accounts that are not stored --------------------------------------------------------------------

    async def external(self, username: str) -> Account | None:
        """The kept part of an account that only an authenticator knows; None if nothing is.

        Name, `created_at`, usage and the times of logins and transfers; the rest is empty.
        """
        ...

    async def keep_external(self, username: str) -> Account:
        """The same, made if there is none.

        From then on the methods for usage, marks and times act on this record as long as no account of that
        name is stored. Where usage is not kept it is empty and not stored.
        """
        ...

    # -- usage -----------------------------------------------------------------------------------------

    async def add_usage(self, username: str, delta: UsageDelta) -> None:
        """Add to an account's counters; they never go below zero."""
        ...

    async def set_usage(self, username: str, *, size: int, files: int) -> None:
        """Set the quota counters (scan, or by hand)."""
        ...

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        """Set the transfer counters."""
        ...

    async def add_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Add to a folder's counters."""
        ...

    async def set_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Set a folder's counters."""
        ...

    async def mark_usage(self, username: str, *, dirty: bool, server: str = "") -> None:
        """Remember that an account's counters may be behind (before uploads), or are settled again.

        Args:
            username: of the account.
            dirty: set the mark, or clear it.
            server: whose mark; several servers may have marks on one account. The empty name stands for marks
                that any server may take care of.
        """
        ...

    async def usage_marks(self) -> list[tuple[str, str]]:
        """Every mark: account and server, in this order."""
        ...

    async def dirty_usage(self) -> list[str]:
        """Accounts whose counters may be behind, to be scanned at start."""
        ...

    # -- folders ---------------------------------------------------------------------------------------

    async def folder(self, name: str) -> Folder | None:
        """One folder."""
        ...

    async def folders(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Folder]:
        """A page of folders by name."""
        ...

    async def folder_users(self, name: str) -> list[str]:
        """Names of the accounts that mount a folder themselves."""
        ...

    async def folder_groups(self, name: str) -> list[str]:
        """Names of the groups that mount a folder."""
        ...

    async def add_folder(self, folder: Folder) -> Folder:
        """Store a new folder."""
        ...

    async def update_folder(self, folder: Folder, *, guard: Guard[Folder] | None = None) -> Folder:
        """Replace a folder by name, keeping its counters."""
        ...

    async def delete_folder(self, name: str, *, guard: Guard[Folder] | None = None) -> None:
        """Remove a folder and every mount of it, those of groups included."""
        ...

    # -- groups and roles ------------------------------------------------------------------------------

    async def group(self, name: str) -> Group | None:
        """One group with its folder mounts."""
        ...

    async def groups(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Group]:
        """A page of groups by name."""
        ...

    async def groups_named(self, names: Sequence[str]) -> list[Group]:
        """Those of the groups that exist, in one consistent state; every login of a member asks for them."""
        ...

    async def group_users(self, name: str) -> list[str]:
        """Names of the accounts that have a group, whatever its type."""
        ...

    async def add_group(self, group: Group) -> Group:
        """Store a new group, and the folders that its mounts describe."""
        ...

    async def update_group(self, group: Group, *, guard: Guard[Group] | None = None) -> Group:
        """Replace a group by name."""
        ...

    async def delete_group(self, name: str, *, guard: Guard[Group] | None = None) -> None:
        """Remove a group.

        Raises:
            BadRecord: an account has it.
        """
        ...

    async def role(self, name: str) -> Role | None:
        """One role."""
        ...

    async def roles(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Role]:
        """A page of roles by name."""
        ...

    async def role_users(self, name: str) -> list[str]:
        """Names of the accounts that have a role."""
        ...

    async def role_admins(self, name: str) -> list[str]:
        """Names of the administrators that have a role."""
        ...

    async def add_role(self, role: Role) -> Role:
        """Store a new role."""
        ...

    async def update_role(self, role: Role, *, guard: Guard[Role] | None = None) -> Role:
        """Replace a role by name."""
        ...

    async def delete_role(self, name: str, *, guard: Guard[Role] | None = None) -> None:
        """Remove a role.

        Raises:
            BadRecord: an account or an administrator has it.
        """
        ...

    # -- admins and API keys ---------------------------------------------------------------------------

    async def admin(self, username: str) -> Admin | None:
        """One administrator."""
        ...

    async def admins(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Admin]:
        """A page of administrators by name."""
        ...

    async def add_admin(self, admin: Admin) -> Admin:
        """Store a new administrator."""
        ...

    async def update_admin(
        self,
        admin: Admin,
        *,
        guard: Guard[Admin] | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> Admin:
        """Replace an administrator by name."""
        ...

    async def touch_admin(self, username: str, when_ms: int) -> None:
        """Set an administrator's `last_login` alone; their `updated_at` stays."""
        ...

    async def delete_admin(
        self,
        username: str,
        *,
        guard: Guard[Admin] | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> None:
        """Remove an administrator and the API keys bound to them."""
        ...

    async def api_key(self, key_id: str) -> ApiKey | None:
        """One API key."""
        ...

    async def api_keys(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[ApiKey]:
        """A page of API keys by id."""
        ...

    async def add_api_key(self, key: ApiKey) -> ApiKey:
        """Store a new API key."""
        ...

    async def update_api_key(self, key: ApiKey, *, guard: Guard[ApiKey] | None = None) -> ApiKey:
        """Replace an API key by id."""
        ...

    async def touch_api_key(self, key_id: str, when_ms: int) -> None:
        """Set an API key's `last_use_at` alone; its `updated_at` stays."""
        ...

    async def delete_api_key(self, key_id: str, *, guard: Guard[ApiKey] | None = None) -> None:
        """Remove an API key."""
        ...

    # -- event actions and event rules -------------------------------------------------------------------

    async def event_action(self, name: str) -> EventAction | None:
        """One event action."""
        ...

    async def event_actions(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[EventAction]:
        """A page of event actions by name."""
        ...

    async def add_event_action(self, action: EventAction) -> EventAction:
        """Store a new event action."""
        ...

    async def update_event_action(
        self, action: EventAction, *, guard: Guard[EventAction] | None = None
    ) -> EventAction:
        """Replace an event action by name."""
        ...

    async def delete_event_action(self, name: str, *, guard: Guard[EventAction] | None = None) -> None:
        """Remove an event action; rules that use it stay."""
        ...

    async def event_rule(self, name: str) -> EventRule | None:
        """One event rule."""
        ...

    async def event_rules(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[EventRule]:
        """A page of event rules by name."""
        ...

    async def add_event_rule(self, rule: EventRule) -> EventRule:
        """Store a new event rule."""
        ...

    async def update_event_rule(self, rule: EventRule, *, guard: Guard[EventRule] | None = None) -> EventRule:
        """Replace an event rule by name."""
        ...

    async def delete_event_rule(self, name: str, *, guard: Guard[EventRule] | None = None) -> None:
        """Remove an event rule; its actions stay."""
        ...

    async def list_entry(self, name: str) -> ListEntry | None:
        """One entry of a list of addresses, or one ban."""
        ...

    async def list_entries(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[ListEntry]:
        """A page of entries of all lists, and of bans, by name."""
        ...

    async def list_state(self) -> str:
        """A version of all lists, by one query: each change of an entry changes it; empty if unknown."""
        ...

    async def list_changes(self, since: str) -> ListChanges:
        """Entries that have changed since another call, as they are now; costs what has changed.

        Args:
            since: `ListChanges.state` of that call; empty at first.
        """
        ...

    async def add_list_entry(self, entry: ListEntry) -> ListEntry:
        """Store a new entry."""
        ...

    async def update_list_entry(
        self, entry: ListEntry, *, guard: Guard[ListEntry] | None = None
    ) -> ListEntry:
        """Replace an entry by name."""
        ...

    async def delete_list_entry(self, name: str, *, guard: Guard[ListEntry] | None = None) -> None:
        """Remove an entry."""
        ...

    async def existing(self, kind: Kind, names: Sequence[str]) -> set[str]:
        """Those of the names that are taken, by few questions for many names; asks the main database."""
        ...

    # -- small persistent facts --------------------------------------------------------------------------

    async def setting(self, name: str) -> str | None:
        """A value the server keeps for itself (token revocation mark, instance id)."""
        ...

    async def set_setting(self, name: str, value: str | None) -> None:
        """Store such a value, or forget it."""
        ...

    async def revoke(self, subject: str, *, at_ms: int, expires_ms: int, limit: int) -> None:
        """Remember that something is void, for every server on this provider. Expired rows go.

        Args:
            subject: at most 255 characters; a later time replaces an earlier one.
            at_ms: when it was revoked.
            expires_ms: until when that matters.
            limit: with more rows than this `EVERYTHING` takes their place, with these times.
        """
        ...

    async def revocations(self, subjects: Sequence[str]) -> dict[str, int]:
        """Those of the subjects that are void, with the time since when; the writer is asked."""
        ...

    async def claim(self, subject: str, *, at_ms: int, expires_ms: int) -> bool:
        """Take something that is good once, such as a one-time code; only one of all servers gets it.

        Rows of claims are no revocations: they count for no limit.

        Args:
            subject: at most 200 characters.
            at_ms: its time; earlier and equal ones of the subject cannot be taken any more.
            expires_ms: until when that matters.

        Returns:
            True if it is the caller's; False if it, or a later one, was taken before.
        """
        ...

    async def reload(self) -> None:
        """Take over what changed outside (the dump file of the memory driver); nothing elsewhere."""
        ...

    # -- all or nothing ----------------------------------------------------------------------------------

    async def load(self, snapshot: Snapshot, *, mode: int = 0) -> LoadReport:
        """Add (mode 1) or add and update (modes 0 and 2) everything in one transaction.

        Raises:
            BadRecord: nothing was changed.
        """
        ...

    async def load_batches(
        self,
        batches: AsyncIterable[Sequence[Record]],
        *,
        mode: int = 0,
        guard: LoadGuard | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> LoadReport:
        """As `load`, for more records than should be held at once.

        Folders come before the groups and accounts that mount them without a `mapped_path`, groups and roles
        before the accounts that have them. Whatever the iterator or a
        guard raises undoes everything.

        Args:
            batches: of records.
            mode: as for `load`.
            guard: called for each record that is replaced.
            admins_guard: called at the end, if the load has administrators.
        """
        ...
