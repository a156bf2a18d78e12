# SPDX-License-Identifier: Apache-2.0
"""The provider contract over `RecordTransaction`, shared by `memory` and `bolt`; a driver runs the work.

Long, because it has every method of the contract, a few lines each.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

from tidegate.accounts.names import can_be_stored
from tidegate.errors import NotFound
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store import records
from tidegate.store.contract import (
    AdminsGuard,
    Guard,
    Kind,
    ListChanges,
    LoadGuard,
    LoadReport,
    Order,
    Provider,
    Record,
    Snapshot,
    UsageDelta,
)
from tidegate.store.options import ProviderOptions, WriteRules
from tidegate.store.outbox import MemoryOutbox, OutboxStore
from tidegate.store.record_load import with_admins_guard
from tidegate.store.records import RecordTable, RecordTransaction
from tidegate.store.sealing import seal_record
from tidegate.store.streams import BATCH_RECORDS, MAX_PAGE, batches_of

if TYPE_CHECKING:
    from tidegate.model.properties import PropertyStore
    from tidegate.store.browser_sessions import BrowserSessionStore
    from tidegate.store.deliveries import DeliveryStore
    from tidegate.store.user_query import UserQuery

T = TypeVar("T")
R = TypeVar("R", Account, Folder, Group, Role, Admin, ApiKey, EventAction, EventRule, ListEntry)

Work = Callable[[RecordTransaction], T]

_TABLES: Final[dict[Kind, RecordTable]] = {
    "user": "users",
    "folder": "folders",
    "group": "groups",
    "role": "roles",
    "admin": "admins",
    "api_key": "api_keys",
    "event_action": "event_actions",
    "event_rule": "event_rules",
    "ip_list": "ip_lists",
}


class RecordProvider(abc.ABC):
    """Turns each call of the contract into work in one transaction."""

    def __init__(self, options: ProviderOptions) -> None:
        self._options: Final = options
        self._rules: Final = WriteRules(options.manage_users, options.track_quota != 0)
        self.outbox: OutboxStore = MemoryOutbox()
        self._properties: PropertyStore | None = None
        self._deliveries: DeliveryStore | None = None
        self._sessions: BrowserSessionStore | None = None

    @property
    def properties(self) -> PropertyStore:
        """Dead properties of files."""
        if self._properties is None:
            from tidegate.store.properties import MemoryProperties  # needed by few

            self._properties = MemoryProperties()
        return self._properties

    @property
    def deliveries(self) -> DeliveryStore:
        """Deliveries of event rules; loaded when somebody asks."""
        if self._deliveries is None:
            self._deliveries = self._make_deliveries()
        return self._deliveries

    def _make_deliveries(self) -> DeliveryStore:
        from tidegate.store.deliveries import MemoryDeliveries

        return MemoryDeliveries()

    @property
    def browser_sessions(self) -> BrowserSessionStore:
        """Sessions of browsers; loaded when somebody asks."""
        if self._sessions is None:
            self._sessions = self._make_sessions()
        return self._sessions

    def _make_sessions(self) -> BrowserSessionStore:
        from tidegate.store.browser_sessions import MemorySessions

        return MemorySessions()

    async def property_roots(self) -> set[str]:
        """Storage roots that have properties, as far as this process does not know them itself."""
        return set()  # others than this process set none; it knows its own

    @abc.abstractmethod
    async def open(self, *, migrate: bool = True) -> None:
        """Make ready."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Release what `open` took."""

    @abc.abstractmethod
    async def _read(self, work: Callable[[RecordTransaction], T]) -> T:
        """Run reading work on one consistent state."""

    @abc.abstractmethod
    async def _write(self, work: Callable[[RecordTransaction], T]) -> T:
        """Run writing work; all of it is stored, or none."""

    @abc.abstractmethod
    async def load_batches(
        self,
        batches: AsyncIterable[Sequence[Record]],
        *,
        mode: int = 0,
        guard: LoadGuard | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> LoadReport:
        """Store everything in one transaction, a batch at a time."""

    async def check(self) -> None:
        """Ask for a sign of life."""
        await self._read(lambda transaction: transaction.count("users"))

    async def reload(self) -> None:
        """Nothing, unless a driver says otherwise."""
        return

    # -- users -------------------------------------------------------------------------------------------

    async def user(self, username: str) -> Account | None:
        """One account with its folder mounts."""
        if not can_be_stored(username):
            return None
        return await self._read(lambda transaction: records.user(transaction, username))

    async def users(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC", role: str = ""
    ) -> list[Account]:
        """A page of accounts by name."""
        offset, limit = _page(offset, limit)
        if role:
            return await self._read(
                lambda transaction: records.role_page(transaction, role, offset, limit, order)
            )
        return await self._read(lambda transaction: records.users(transaction, offset, limit, order))

    async def iter_users(self, *, fresh: bool = False) -> AsyncIterator[Account]:  # noqa: ARG002  no replica
        """Every account by name, a batch at a time."""
        last = ""
        while batch := await self._after(last):
            for account in batch:
                yield account
            last = batch[-1].username

    async def find_users(self, query: UserQuery) -> list[Account]:
        """A page of the accounts that a search finds."""
        from tidegate.store import user_query

        return await self._read(
            lambda transaction: [
                cast("Account", records.shown(transaction, account))
                for account in user_query.pick(query, transaction.scan_users(query))
            ]
        )

    async def _after(self, last: str) -> list[Account]:
        return await self._read(lambda transaction: records.users_after(transaction, last, BATCH_RECORDS))

    async def existing(self, kind: Kind, names: Sequence[str]) -> set[str]:
        """Those of the names that are taken."""
        table = _TABLES[kind]

        def look(transaction: RecordTransaction) -> set[str]:
            return {
                name for name in names if can_be_stored(name) and transaction.get(table, name) is not None
            }

        return await self._read(look)

    async def count_users(self) -> int:
        """The number of accounts."""
        return await self._read(lambda transaction: transaction.count("users"))

    async def add_user(self, account: Account) -> Account:
        """Store a new account."""
        self._rules.require_users()
        account = seal_record(account, self._options.seals)
        return await self._write(lambda transaction: records.add(transaction, account))

    async def update_user(
        self, account: Account, *, keep_usage: bool = True, guard: Guard[Account] | None = None
    ) -> Account:
        """Replace an account by name."""
        self._rules.require_users()
        account = seal_record(account, self._options.seals)
        return await self._write(
            lambda transaction: records.change(transaction, account, keep_usage=keep_usage, guard=guard)
        )

    async def delete_user(self, username: str, *, guard: Guard[Account] | None = None) -> None:
        """Remove an account."""
        self._rules.require_users()
        await self._remove("users", username, guard)

    async def set_password(self, username: str, password_hash: str, *, changed_at: int | None = None) -> None:
        """Replace the hash alone."""
        self._rules.require_users()
        _must_be_storable(username)
        await self._write(
            lambda transaction: records.set_password(transaction, username, password_hash, changed_at)
        )

    async def touch_login(self, username: str, when_ms: int, *, logins: int = 1) -> None:
        """Set `last_login` and count; nothing happens where accounts are read-only."""
        if self._rules.manage_users:
            _must_be_storable(username)
            await self._write(lambda transaction: records.touch_login(transaction, username, when_ms, logins))

    async def touch_first(self, username: str, kind: Literal["upload", "download"], when_ms: int) -> None:
        """Set `first_upload` or `first_download` once; nothing happens where accounts are read-only."""
        if self._rules.manage_users:
            _must_be_storable(username)
            await self._write(
                lambda transaction: records.touch_first(transaction, username, f"first_{kind}", when_ms)
            )

    # -- accounts that are not stored ----------------------------------------------------------------------

    async def external(self, username: str) -> Account | None:
        """The kept part of an account that only an authenticator knows."""
        return cast("Account | None", await self._get("external", username))

    async def keep_external(self, username: str) -> Account:
        """The same, made if there is none."""
        _must_be_storable(username)
        if not self._rules.keeps_usage:
            return Account(username=username)
        found = await self.external(username)
        if found is None:
            found = await self._write(lambda transaction: records.keep_external(transaction, username))
        return found

    # -- usage -------------------------------------------------------------------------------------------

    async def add_usage(self, username: str, delta: UsageDelta) -> None:
        """Add to an account's counters; nothing happens where usage is not tracked."""
        if self._rules.keeps_usage:
            _must_be_storable(username)
            await self._write(lambda transaction: records.add_usage(transaction, username, delta))

    async def set_usage(self, username: str, *, size: int, files: int) -> None:
        """Set the quota counters."""
        self._rules.require_usage()
        now = records.now_ms()
        await self._patch(username, used_quota_size=size, used_quota_files=files, last_quota_update=now)

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        """Set the transfer counters."""
        self._rules.require_usage()
        await self._patch(username, used_upload_data_transfer=upload, used_download_data_transfer=download)

    async def add_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Add to a folder's counters; nothing happens where usage is not tracked."""
        if self._rules.track_quota:
            _must_be_storable(name)
            await self._write(lambda transaction: records.add_folder_usage(transaction, name, size, files))

    async def set_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Set a folder's counters."""
        self._rules.require_tracking()
        _must_be_storable(name)
        await self._write(lambda transaction: records.set_folder_usage(transaction, name, size, files))

    async def mark_usage(self, username: str, *, dirty: bool, server: str = "") -> None:
        """Remember that an account's counters may be behind, or are settled again."""
        if self._rules.keeps_usage:
            _must_be_storable(username)
            await self._write(
                lambda transaction: records.mark(transaction, username, dirty=dirty, server=server)
            )

    async def dirty_usage(self) -> list[str]:
        """Accounts whose counters may be behind."""
        return sorted({username for username, _ in await self.usage_marks()})

    async def usage_marks(self) -> list[tuple[str, str]]:
        """Every mark: account and server."""
        return await self._read(lambda transaction: transaction.marked())

    # -- folders -----------------------------------------------------------------------------------------

    async def folder(self, name: str) -> Folder | None:
        """One folder."""
        return cast("Folder | None", await self._get("folders", name))

    async def folders(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Folder]:
        """A page of folders by name."""
        return cast("list[Folder]", await self._list("folders", offset, limit, order))

    async def folder_users(self, name: str) -> list[str]:
        """Names of the accounts that mount a folder."""
        if not can_be_stored(name):
            return []
        return await self._read(lambda transaction: transaction.linked(name))

    async def folder_groups(self, name: str) -> list[str]:
        """Names of the groups that mount a folder."""
        return await self._read(lambda transaction: records.folder_groups(transaction, name))

    async def add_folder(self, folder: Folder) -> Folder:
        """Store a new folder."""
        folder = seal_record(folder, self._options.seals)
        return await self._write(lambda transaction: records.add(transaction, folder))

    async def update_folder(self, folder: Folder, *, guard: Guard[Folder] | None = None) -> Folder:
        """Replace a folder by name, keeping its counters."""
        folder = seal_record(folder, self._options.seals)
        return await self._write(lambda transaction: records.change(transaction, folder, guard=guard))

    async def delete_folder(self, name: str, *, guard: Guard[Folder] | None = None) -> None:
        """Remove a folder and every mount of it."""
        await self._remove("folders", name, guard)

    # -- groups and roles --------------------------------------------------------------------------------

    async def group(self, name: str) -> Group | None:
        """One group with its folder mounts."""
        if not can_be_stored(name):
            return None
        return await self._read(lambda transaction: records.group(transaction, name))

    async def groups(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Group]:
        """A page of groups by name."""
        offset, limit = _page(offset, limit)
        return await self._read(lambda transaction: records.groups(transaction, offset, limit, order))

    async def groups_named(self, names: Sequence[str]) -> list[Group]:
        """Those of the groups that exist."""

        def look(transaction: RecordTransaction) -> list[Group]:
            found = [records.group(transaction, name) for name in names if can_be_stored(name)]
            return [group for group in found if group is not None]

        return await self._read(look)

    async def group_users(self, name: str) -> list[str]:
        """Names of the accounts that have a group."""
        return await self._linked(records.GROUP_LINK, name)

    async def add_group(self, group: Group) -> Group:
        """Store a new group."""
        group = seal_record(group, self._options.seals)
        return await self._write(lambda transaction: records.add(transaction, group))

    async def update_group(self, group: Group, *, guard: Guard[Group] | None = None) -> Group:
        """Replace a group by name."""
        group = seal_record(group, self._options.seals)
        return await self._write(lambda transaction: records.change(transaction, group, guard=guard))

    async def delete_group(self, name: str, *, guard: Guard[Group] | None = None) -> None:
        """Remove a group that no account has."""
        await self._remove("groups", name, guard)

    async def role(self, name: str) -> Role | None:
        """One role."""
        return cast("Role | None", await self._get("roles", name))

    async def roles(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Role]:
        """A page of roles by name."""
        return cast("list[Role]", await self._list("roles", offset, limit, order))

    async def role_users(self, name: str) -> list[str]:
        """Names of the accounts that have a role."""
        return await self._linked(records.ROLE_LINK, name)

    async def role_admins(self, name: str) -> list[str]:
        """Names of the administrators that have a role."""
        return await self._read(lambda transaction: records.role_admins(transaction, name))

    async def add_role(self, role: Role) -> Role:
        """Store a new role."""
        return await self._write(lambda transaction: records.add(transaction, role))

    async def update_role(self, role: Role, *, guard: Guard[Role] | None = None) -> Role:
        """Replace a role by name."""
        return await self._write(lambda transaction: records.change(transaction, role, guard=guard))

    async def delete_role(self, name: str, *, guard: Guard[Role] | None = None) -> None:
        """Remove a role that nobody has."""
        await self._remove("roles", name, guard)

    async def _linked(self, kind: str, name: str) -> list[str]:
        if not can_be_stored(name):
            return []
        return await self._read(lambda transaction: transaction.linked(kind + name))

    # -- administrators and API keys ---------------------------------------------------------------------

    async def admin(self, username: str) -> Admin | None:
        """One administrator."""
        return cast("Admin | None", await self._get("admins", username))

    async def admins(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Admin]:
        """A page of administrators by name."""
        return cast("list[Admin]", await self._list("admins", offset, limit, order))

    async def add_admin(self, admin: Admin) -> Admin:
        """Store a new administrator."""
        admin = seal_record(admin, self._options.seals)
        return await self._write(lambda transaction: records.add(transaction, admin))

    async def update_admin(
        self,
        admin: Admin,
        *,
        guard: Guard[Admin] | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> Admin:
        """Replace an administrator by name."""
        admin = seal_record(admin, self._options.seals)
        work: Work[Admin] = partial(records.change, record=admin, guard=guard)
        return await self._write(with_admins_guard(work, admins_guard))

    async def touch_admin(self, username: str, when_ms: int) -> None:
        """Set `last_login` alone."""
        await self._write(
            lambda transaction: records.touch(transaction, "admins", username, last_login=when_ms)
        )

    async def delete_admin(
        self,
        username: str,
        *,
        guard: Guard[Admin] | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> None:
        """Remove an administrator and the API keys bound to them."""
        _must_be_storable(username)
        work: Work[None] = partial(records.remove, table="admins", name=username, guard=guard)
        await self._write(with_admins_guard(work, admins_guard))

    async def api_key(self, key_id: str) -> ApiKey | None:
        """One API key."""
        return cast("ApiKey | None", await self._get("api_keys", key_id))

    async def api_keys(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[ApiKey]:
        """A page of API keys by id."""
        return cast("list[ApiKey]", await self._list("api_keys", offset, limit, order))

    async def add_api_key(self, key: ApiKey) -> ApiKey:
        """Store a new API key."""
        return await self._write(lambda transaction: records.add(transaction, key))

    async def update_api_key(self, key: ApiKey, *, guard: Guard[ApiKey] | None = None) -> ApiKey:
        """Replace an API key by id."""
        return await self._write(lambda transaction: records.change(transaction, key, guard=guard))

    async def touch_api_key(self, key_id: str, when_ms: int) -> None:
        """Set `last_use_at` alone."""
        await self._write(
            lambda transaction: records.touch(transaction, "api_keys", key_id, last_use_at=when_ms)
        )

    async def delete_api_key(self, key_id: str, *, guard: Guard[ApiKey] | None = None) -> None:
        """Remove an API key."""
        await self._remove("api_keys", key_id, guard)

    # -- event actions and event rules -------------------------------------------------------------------

    async def event_action(self, name: str) -> EventAction | None:
        """One event action."""
        return cast("EventAction | None", await self._get("event_actions", name))

    async def event_actions(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[EventAction]:
        """A page of event actions by name."""
        return cast("list[EventAction]", await self._list("event_actions", offset, limit, order))

    async def add_event_action(self, action: EventAction) -> EventAction:
        """Store a new event action."""
        action = seal_record(action, self._options.seals)
        return await self._write(lambda transaction: records.add(transaction, action))

    async def update_event_action(
        self, action: EventAction, *, guard: Guard[EventAction] | None = None
    ) -> EventAction:
        """Replace an event action by name."""
        action = seal_record(action, self._options.seals)
        return await self._write(lambda transaction: records.change(transaction, action, guard=guard))

    async def delete_event_action(self, name: str, *, guard: Guard[EventAction] | None = None) -> None:
        """Remove an event action."""
        await self._remove("event_actions", name, guard)

    async def event_rule(self, name: str) -> EventRule | None:
        """One event rule."""
        return cast("EventRule | None", await self._get("event_rules", name))

    async def event_rules(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[EventRule]:
        """A page of event rules by name."""
        return cast("list[EventRule]", await self._list("event_rules", offset, limit, order))

    async def add_event_rule(self, rule: EventRule) -> EventRule:
        """Store a new event rule."""
        rule = seal_record(rule, self._options.seals)
        return await self._write(lambda transaction: records.add(transaction, rule))

    async def update_event_rule(self, rule: EventRule, *, guard: Guard[EventRule] | None = None) -> EventRule:
        """Replace an event rule by name."""
        rule = seal_record(rule, self._options.seals)
        return await self._write(lambda transaction: records.change(transaction, rule, guard=guard))

    async def delete_event_rule(self, name: str, *, guard: Guard[EventRule] | None = None) -> None:
        """Remove an event rule."""
        await self._remove("event_rules", name, guard)

    async def list_entry(self, name: str) -> ListEntry | None:
        """One entry of a list of addresses, or one ban."""
        return cast("ListEntry | None", await self._get("ip_lists", name))

    async def list_entries(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[ListEntry]:
        """A page of entries of all lists, and of bans, by name."""
        return cast("list[ListEntry]", await self._list("ip_lists", offset, limit, order))

    async def list_state(self) -> str:
        """As `Provider.list_state`; the entries are in memory or in a file of this host."""
        count = highest = times = 0
        while page := cast("list[ListEntry]", await self._list("ip_lists", count, MAX_PAGE, "ASC")):
            count += len(page)
            highest = max(highest, *(one.id for one in page))
            times += sum(one.updated_at for one in page)
        return f"{count} {highest} {times}"

    async def list_changes(self, since: str) -> ListChanges:
        """See `Provider.list_changes`."""
        return await self._read(lambda transaction: records.changes_of_lists(transaction, since))

    async def add_list_entry(self, entry: ListEntry) -> ListEntry:
        """Store a new entry."""
        return await self._write(lambda transaction: records.add(transaction, entry))

    async def update_list_entry(
        self, entry: ListEntry, *, guard: Guard[ListEntry] | None = None
    ) -> ListEntry:
        """Replace an entry by name."""
        return await self._write(lambda transaction: records.change(transaction, entry, guard=guard))

    async def delete_list_entry(self, name: str, *, guard: Guard[ListEntry] | None = None) -> None:
        """Remove an entry."""
        await self._remove("ip_lists", name, guard)

    # -- the rest ----------------------------------------------------------------------------------------

    async def setting(self, name: str) -> str | None:
        """A value the server keeps for itself."""
        return await self._read(lambda transaction: transaction.setting(name))

    async def set_setting(self, name: str, value: str | None) -> None:
        """Store such a value, or forget it."""
        await self._write(lambda transaction: transaction.set_setting(name, value))

    async def revoke(self, subject: str, *, at_ms: int, expires_ms: int, limit: int) -> None:
        """Remember that something is void."""
        await self._write(
            lambda transaction: records.revoke(transaction, subject, (at_ms, expires_ms), limit)
        )

    async def claim(self, subject: str, *, at_ms: int, expires_ms: int) -> bool:
        """Take something that is good once."""
        return await self._write(lambda transaction: records.claim(transaction, subject, (at_ms, expires_ms)))

    async def revocations(self, subjects: Sequence[str]) -> dict[str, int]:
        """Those of the subjects that are void."""
        rows, now = await self._read(lambda transaction: transaction.revocations()), records.now_ms()
        return {name: rows[name][0] for name in subjects if name in rows and rows[name][1] > now}

    async def load(self, snapshot: Snapshot, *, mode: int = 0) -> LoadReport:
        """Store everything in one transaction."""
        return await self.load_batches(batches_of(snapshot), mode=mode)

    # -- pieces ------------------------------------------------------------------------------------------

    async def _get(self, table: RecordTable, name: str) -> Record | None:
        return (
            await self._read(lambda transaction: transaction.get(table, name))
            if can_be_stored(name)
            else None
        )

    async def _list(self, table: RecordTable, offset: int, limit: int, order: Order) -> list[Record]:
        offset, limit = _page(offset, limit)
        return await self._read(lambda transaction: transaction.page(table, offset, limit, order))

    async def _remove(self, table: RecordTable, name: str, guard: Guard[R] | None) -> None:
        _must_be_storable(name)
        await self._write(lambda transaction: records.remove(transaction, table, name, guard=guard))

    async def _patch(self, username: str, **values: int) -> None:
        _must_be_storable(username)
        await self._write(lambda transaction: records.patch(transaction, username, **values))


def _page(offset: int, limit: int) -> tuple[int, int]:
    return max(offset, 0), min(max(limit, 0), MAX_PAGE)


def _must_be_storable(name: str) -> None:
    if not can_be_stored(name):
        raise NotFound("no record can have this name")


def _keeps_the_contract(provider: RecordProvider) -> Provider:
    return provider
