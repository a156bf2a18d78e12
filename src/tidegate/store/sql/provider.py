# SPDX-License-Identifier: Apache-2.0
"""The provider contract on SQL: each call is handed to the statements' modules.

Long, because the contract is one class; each of its methods has a few lines.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, delete, select

from tidegate.accounts.names import can_be_stored
from tidegate.errors import AlreadyExists, NotFound
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store.contract import (
    SCOPES,
    AdminsGuard,
    Guard,
    Kind,
    ListChanges,
    LoadGuard,
    LoadReport,
    LoadRow,
    Order,
    Provider,
    Record,
    Snapshot,
    UsageDelta,
)
from tidegate.store.options import ProviderOptions, WriteRules
from tidegate.store.records import now_ms
from tidegate.store.sealing import seal_record
from tidegate.store.sql import accounts, external_users, groups, lists, loading, revocations, settings, usage
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database, ping
from tidegate.store.sql.opening import Opening
from tidegate.store.sql.outbox import SqlOutbox
from tidegate.store.sql.record_table import (
    admin_table,
    api_key_table,
    event_action_table,
    event_rule_table,
    folder_table,
    group_table,
    list_table,
    role_table,
    taken,
)
from tidegate.store.sql.tables import make_tables
from tidegate.store.sql.transport import cipher
from tidegate.store.streams import MAX_PAGE, batches_of

if TYPE_CHECKING:
    from tidegate.model.properties import PropertyStore
    from tidegate.store.sql.deliveries import SqlDeliveries
    from tidegate.store.sql.sessions import SqlSessions
    from tidegate.store.user_query import UserQuery

_OF_GROUPS: Final = ("groups", "folders")
T = TypeVar("T")
P = ParamSpec("P")


class SqlProvider:
    """Accounts and the rest in SQLite, PostgreSQL or MySQL/MariaDB."""

    def __init__(self, options: ProviderOptions) -> None:
        self._options: Final = options
        self._rules: Final = WriteRules(options.manage_users, options.track_quota != 0)
        self._tables: Final = make_tables(
            options.sql_tables_prefix, options.users_table, external_users=bool(options.external_table)
        )
        self._database: Final = Database(options)
        self._folders: Final = folder_table(self._tables)
        self._roles: Final = role_table(self._tables)
        self._admins: Final = admin_table(self._tables)
        self._keys: Final = api_key_table(self._tables)
        self._actions: Final = event_action_table(self._tables)
        self._event_rules: Final = event_rule_table(self._tables)
        self._lists: Final = list_table(self._tables)
        self._external_users: external_users.ExternalUsers | None = None
        self._opening: Final = Opening(self._database, self._tables, options)
        self.outbox: Final = SqlOutbox(self._database, self._tables, lambda: self._opening.complete)
        self._properties: PropertyStore | None = None
        self._deliveries: SqlDeliveries | None = None
        self._sessions: SqlSessions | None = None

    @property
    def properties(self) -> PropertyStore:
        """Dead properties of files."""
        if self._properties is None:
            from tidegate.store.sql.properties import SqlProperties  # needed by few

            self._properties = SqlProperties(self._database, self._tables, lambda: self._opening.complete)
        return self._properties

    @property
    def deliveries(self) -> SqlDeliveries:
        """Deliveries of event rules; loaded when somebody asks."""
        if self._deliveries is None:
            from tidegate.store.sql.deliveries import SqlDeliveries

            self._deliveries = SqlDeliveries(self._database, self._tables, lambda: self._opening.complete)
        return self._deliveries

    @property
    def browser_sessions(self) -> SqlSessions:
        """Sessions of browsers; loaded when somebody asks."""
        if self._sessions is None:
            from tidegate.store.sql.sessions import SqlSessions

            self._sessions = SqlSessions(self._database, self._tables, lambda: self._opening.complete)
        return self._sessions

    async def property_roots(self) -> set[str]:
        """Storage roots that have properties."""
        if not self._opening.complete:
            return set()
        return await self._database.read(_do(settings.property_roots, self._tables), single=True)

    # -- life ------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """True after a rehearsal if the schema is older than this version; the next start changes that."""
        return self._opening.pending

    async def open(self, *, migrate: bool = True, rehearse: bool = False) -> None:
        """Connect and settle the schema; with `rehearse` only try whether that would work."""
        await self._opening.open(migrate=migrate, rehearse=rehearse)
        try:
            if self._options.external_table:
                self._external_users = external_users.ExternalUsers(self._options.external_table)
                await self._database.read(self._external_users.learn)
        except BaseException:
            await self._database.stop()
            raise

    async def schema_version(self) -> str:
        """The schema version that the database has now, ``0`` for none; for a provider that is not open."""
        return await self._opening.schema_version()

    async def revert(self, to: str) -> bool:
        """Take the schema back; for a provider that is not open.

        Returns:
            False if it was at that version already.
        """
        return await self._opening.revert(to)

    async def close(self) -> None:
        """Release connections."""
        await self._database.stop()

    async def check(self) -> None:
        """Ask the writer for a sign of life."""
        await self._database.read(ping)

    async def cipher(self) -> str:
        """The TLS cipher of a connection to the writer; empty if there is none."""
        return await self._database.read(cipher)

    async def reload(self) -> None:
        """Nothing: the database is always current."""

    # -- users -------------------------------------------------------------------------------------------

    async def user(self, username: str) -> Account | None:
        """One account."""
        if not can_be_stored(username):
            return None
        if self._external_users is not None:
            return await self._database.read(_do(self._external_users.get, username))
        if self._database.lookup is not None:
            asked, account = await accounts.look_up(self._database.lookup, self._tables, username)
            if asked:
                return account
        return await self._database.read(_do(accounts.get, self._tables, username), single=True)

    async def users(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC", role: str = ""
    ) -> list[Account]:
        """A page of accounts by name."""
        offset, limit = max(offset, 0), min(max(limit, 0), MAX_PAGE)
        if role:
            if self._external_users is not None:
                every = [account async for account in self.iter_users() if account.role == role]
                return (every[::-1] if order == "DESC" else every)[offset : offset + limit]
            wanted = _do(groups.role_page, self._tables, role, offset=offset, limit=limit, order=order)
            return await self._database.listing(wanted, about="users")
        if self._external_users is not None:
            return await self._database.listing(
                _do(self._external_users.page, offset=offset, limit=limit, order=order)
            )
        work = _do(accounts.page, self._tables, offset=offset, limit=limit, order=order)
        return await self._database.listing(work, about="users")

    async def iter_users(self, *, fresh: bool = False) -> AsyncIterator[Account]:
        """Every account by name, a batch at a time.

        One read for each batch, so that no transaction is held open while the caller thinks.
        """
        read: Any = self._database.read if fresh else partial(self._database.listing, about="users")
        last = ""
        while True:
            if self._external_users is not None:
                batch = await read(_do(self._external_users.after, last, accounts.BATCH))
            else:
                batch = await read(_do(accounts.after, self._tables, last, accounts.BATCH))
            for account in batch:
                yield account
            if len(batch) < accounts.BATCH:
                return
            last = batch[-1].username

    async def existing(self, kind: Kind, names: Sequence[str]) -> set[str]:
        """Those of the names that are taken, as the writer says."""
        column: ColumnElement[str]
        if kind == "user":
            users = self._tables.users.c.username
            column = users if self._external_users is None else self._external_users.names
        else:
            tables = self._tables
            column = {
                "folder": folder_table(tables).key,
                "group": group_table(tables).key,
                "role": role_table(tables).key,
                "admin": admin_table(tables).key,
                "api_key": api_key_table(tables).key,
                "event_action": event_action_table(tables).key,
                "event_rule": event_rule_table(tables).key,
                "ip_list": list_table(tables).key,
            }[kind]
        found: set[str] = set()
        storable = [name for name in names if can_be_stored(name)]
        for start in range(0, len(storable), accounts.BATCH):
            found |= await self._database.read(_do(taken, column, storable[start : start + accounts.BATCH]))
        return found & set(storable)

    async def find_users(self, query: UserQuery) -> list[Account]:
        """A page of the accounts that a search finds."""
        from tidegate.store.sql import user_search
        from tidegate.store.user_query import pick

        if self._external_users is not None:
            return pick(query, [account async for account in self.iter_users()])
        return await self._database.listing(_do(user_search.find, self._tables, query), about="users")

    async def count_users(self) -> int:
        """The number of accounts."""
        if self._external_users is not None:
            return await self._database.listing(_do(self._external_users.count))
        return await self._database.listing(_do(accounts.count, self._tables.users), about="users")

    async def add_user(self, account: Account) -> Account:
        """Store a new account."""
        self._rules.require_users()
        account = seal_record(account, self._options.seals)
        return await self._write_user(account.username, _do(accounts.add, self._tables, account))

    async def update_user(
        self, account: Account, *, keep_usage: bool = True, guard: Guard[Account] | None = None
    ) -> Account:
        """Replace an account by name."""
        self._rules.require_users()
        account = seal_record(account, self._options.seals)
        work = _do(accounts.change, self._tables, account, keep_usage=keep_usage, guard=guard)
        return await self._write_user(account.username, work)

    async def delete_user(self, username: str, *, guard: Guard[Account] | None = None) -> None:
        """Remove an account."""
        self._rules.require_users()
        await self._write_user(username, _do(accounts.remove, self._tables, username, guard=guard))

    async def set_password(self, username: str, password_hash: str, *, changed_at: int | None = None) -> None:
        """Replace the hash alone."""
        self._rules.require_users()
        work = _do(accounts.set_password, self._tables, username, password_hash, changed_at)
        await self._write_user(username, work)

    async def touch_login(self, username: str, when_ms: int, *, logins: int = 1) -> None:
        """Set `last_login` and count; nothing happens where accounts are read-only."""
        if self._rules.manage_users:
            work = _do(usage.touch_login, self._tables, username, when_ms, logins)
            await self._write_user(username, work)

    async def touch_first(self, username: str, kind: Literal["upload", "download"], when_ms: int) -> None:
        """Set `first_upload` or `first_download` once; nothing happens where accounts are read-only."""
        if self._rules.manage_users:
            work = _do(usage.touch_first, self._tables, username, f"first_{kind}", when_ms)
            await self._write_user(username, work)

    # -- accounts that are not stored ----------------------------------------------------------------------

    async def external(self, username: str) -> Account | None:
        """The kept part of an account that only an authenticator knows."""
        if not self._opening.complete or not can_be_stored(username):
            return None
        return await self._database.read(_do(usage.external, self._tables, username))

    async def keep_external(self, username: str) -> Account:
        """The same, made if there is none."""
        if not self._rules.keeps_usage:
            return Account(username=username)
        found = await self.external(username)
        if found is None:
            with contextlib.suppress(AlreadyExists):  # another server was faster
                await self._write_user(username, _do(usage.keep_external, self._tables, username))
            found = await self.external(username)
        return found or Account(username=username)

    # -- usage -------------------------------------------------------------------------------------------

    async def add_usage(self, username: str, delta: UsageDelta) -> None:
        """Add to an account's counters; nothing happens where usage is not tracked."""
        if self._rules.keeps_usage:
            await self._write_user(username, _do(usage.add_usage, self._tables, username, delta))

    async def set_usage(self, username: str, *, size: int, files: int) -> None:
        """Set the quota counters."""
        self._rules.require_usage()
        values = {"used_quota_size": size, "used_quota_files": files, "last_quota_update": now_ms()}
        await self._set_user(username, values)

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        """Set the transfer counters."""
        self._rules.require_usage()
        values = {"used_upload_data_transfer": upload, "used_download_data_transfer": download}
        await self._set_user(username, values)

    async def add_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Add to a folder's counters; nothing happens where usage is not tracked."""
        if self._rules.track_quota:
            columns = self._tables.folders.c
            values: dict[str, Any] = {
                "used_quota_size": usage.raised(columns.used_quota_size, size),
                "used_quota_files": usage.raised(columns.used_quota_files, files),
                "last_quota_update": now_ms(),
            }
            await self._database.write(_do(self._folders.set_columns, name, values), about=("folders",))

    async def set_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Set a folder's counters."""
        self._rules.require_tracking()
        values = {"used_quota_size": size, "used_quota_files": files, "last_quota_update": now_ms()}
        await self._database.write(_do(self._folders.set_columns, name, values), about=("folders",))

    async def mark_usage(self, username: str, *, dirty: bool, server: str = "") -> None:
        """Remember that an account's counters may be behind."""
        if self._rules.keeps_usage:
            await self._write_user(username, _do(usage.mark, self._tables, username, server, dirty=dirty))

    async def dirty_usage(self) -> list[str]:
        """Accounts whose counters may be behind."""
        return sorted({username for username, _ in await self.usage_marks()})

    async def usage_marks(self) -> list[tuple[str, str]]:
        """Every mark: account and server."""
        return await self._database.read(_do(usage.dirty, self._tables)) if self._opening.complete else []

    # -- folders -----------------------------------------------------------------------------------------

    async def folder(self, name: str) -> Folder | None:
        """One folder."""
        if not self._opening.complete or not can_be_stored(name):
            return None
        return await self._database.read(_do(self._folders.get, name))

    async def folders(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Folder]:
        """A page of folders by name."""
        return await self._page(self._folders.page, "folders", offset, limit, order)

    async def folder_users(self, name: str) -> list[str]:
        """Names of the accounts that mount a folder."""
        if not self._opening.complete or not can_be_stored(name):
            return []
        return await self._database.read(_do(accounts.mounting, self._tables, name))

    async def folder_groups(self, name: str) -> list[str]:
        """Names of the groups that mount a folder."""
        if not self._opening.complete or not can_be_stored(name):
            return []
        return await self._database.read(_do(groups.mounting, self._tables, name))

    async def add_folder(self, folder: Folder) -> Folder:
        """Store a new folder."""
        folder = seal_record(folder, self._options.seals)
        return await self._database.write(_do(self._folders.add, folder), about=("folders",))

    async def update_folder(self, folder: Folder, *, guard: Guard[Folder] | None = None) -> Folder:
        """Replace a folder by name, keeping its counters."""
        folder = seal_record(folder, self._options.seals)
        return await self._database.write(_do(self._folders.change, folder, guard=guard), about=("folders",))

    async def delete_folder(self, name: str, *, guard: Guard[Folder] | None = None) -> None:
        """Remove a folder and every mount of it."""
        self._folders.require_name(name)
        mounts, folders = self._tables.mounts, self._tables.folders
        held = select(folders.c.id).where(folders.c.name == name).scalar_subquery()

        async def work(connection: AsyncConnection) -> None:
            await self._folders.lock(connection, name, guard)
            await connection.execute(delete(mounts).where(mounts.c.folder_id == held))
            await groups.unmount(connection, self._tables, name)
            await self._folders.remove(connection, name)

        await self._database.write(work, about=("folders", "groups"))

    # -- groups and roles --------------------------------------------------------------------------------

    async def group(self, name: str) -> Group | None:
        """One group with its folder mounts."""
        if not self._opening.complete or not can_be_stored(name):
            return None
        return await self._database.read(_do(groups.get, self._tables, name))

    async def groups(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Group]:
        """A page of groups by name."""
        if not self._opening.complete:
            return []
        work = _do(groups.page, self._tables, max(offset, 0), min(max(limit, 0), MAX_PAGE), order)
        return await self._database.listing(work, about="groups")

    async def groups_named(self, names: Sequence[str]) -> list[Group]:
        """Those of the groups that exist."""
        if not self._opening.complete:
            return []
        storable = [name for name in names if can_be_stored(name)]
        return await self._database.read(_do(groups.named, self._tables, storable))

    async def group_users(self, name: str) -> list[str]:
        """Names of the accounts that have a group."""
        if not self._opening.complete or not can_be_stored(name):
            return []
        return await self._database.read(_do(groups.users, self._tables, name))

    async def add_group(self, group: Group) -> Group:
        """Store a new group."""
        group = seal_record(group, self._options.seals)
        return await self._database.write(_do(groups.add, self._tables, group), about=_OF_GROUPS)

    async def update_group(self, group: Group, *, guard: Guard[Group] | None = None) -> Group:
        """Replace a group by name."""
        group = seal_record(group, self._options.seals)
        work = _do(groups.change, self._tables, group, guard=guard)
        return await self._database.write(work, about=_OF_GROUPS)

    async def delete_group(self, name: str, *, guard: Guard[Group] | None = None) -> None:
        """Remove a group that no account has."""
        await self._database.write(_do(groups.remove, self._tables, name, guard=guard), about=_OF_GROUPS)

    async def role(self, name: str) -> Role | None:
        """One role."""
        if not self._opening.complete or not can_be_stored(name):
            return None
        return await self._database.read(_do(self._roles.get, name))

    async def roles(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Role]:
        """A page of roles by name."""
        return await self._page(self._roles.page, "roles", offset, limit, order)

    async def role_users(self, name: str) -> list[str]:
        """Names of the accounts that have a role."""
        return await self._role_names(name, "users")

    async def role_admins(self, name: str) -> list[str]:
        """Names of the administrators that have a role."""
        return await self._role_names(name, "admins")

    async def _role_names(self, name: str, of: str) -> list[str]:
        if not self._opening.complete or not can_be_stored(name):
            return []
        return await self._database.read(_do(groups.role_names, self._tables, name, of))

    async def add_role(self, role: Role) -> Role:
        """Store a new role."""
        return await self._database.write(_do(self._roles.add, role), about=("roles",))

    async def update_role(self, role: Role, *, guard: Guard[Role] | None = None) -> Role:
        """Replace a role by name."""
        return await self._database.write(_do(self._roles.change, role, guard=guard), about=("roles",))

    async def delete_role(self, name: str, *, guard: Guard[Role] | None = None) -> None:
        """Remove a role that nobody has."""
        await self._database.write(_do(groups.remove_role, self._tables, name, guard=guard), about=("roles",))

    # -- administrators and API keys ---------------------------------------------------------------------

    async def admin(self, username: str) -> Admin | None:
        """One administrator."""
        if not self._opening.complete or not can_be_stored(username):
            return None
        return await self._database.read(_do(self._admins.get, username))

    async def admins(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[Admin]:
        """A page of administrators by name."""
        return await self._page(self._admins.page, "admins", offset, limit, order)

    async def add_admin(self, admin: Admin) -> Admin:
        """Store a new administrator."""
        admin = seal_record(admin, self._options.seals)

        async def work(connection: AsyncConnection) -> Admin:
            await groups.require_roles(connection, self._tables, [admin])
            return await self._admins.add(connection, admin)

        return await self._database.write(work, about=("admins",))

    async def update_admin(
        self,
        admin: Admin,
        *,
        guard: Guard[Admin] | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> Admin:
        """Replace an administrator by name."""
        admin = seal_record(admin, self._options.seals)

        async def work(connection: AsyncConnection) -> Admin:
            await groups.require_roles(connection, self._tables, [admin])
            return await self._admins.change(connection, admin, guard=guard)

        return await self._database.write(self._with_admins_guard(work, admins_guard), about=("admins",))

    async def touch_admin(self, username: str, when_ms: int) -> None:
        """Set `last_login` alone."""
        work = _do(self._admins.set_columns, username, {"last_login": when_ms})
        await self._database.write(work, about=("admins",))

    async def delete_admin(
        self,
        username: str,
        *,
        guard: Guard[Admin] | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> None:
        """Remove an administrator and the API keys bound to them."""
        keys = self._tables.api_keys

        async def work(connection: AsyncConnection) -> None:
            await self._admins.remove(connection, username, guard=guard)
            await connection.execute(delete(keys).where(keys.c.admin == username))

        guarded = self._with_admins_guard(work, admins_guard)
        await self._database.write(guarded, about=("admins", "api_keys"))

    async def api_key(self, key_id: str) -> ApiKey | None:
        """One API key."""
        if not self._opening.complete or not can_be_stored(key_id):
            return None
        return await self._database.read(_do(self._keys.get, key_id))

    async def api_keys(self, *, offset: int = 0, limit: int = 100, order: Order = "ASC") -> list[ApiKey]:
        """A page of API keys by id."""
        return await self._page(self._keys.page, "api_keys", offset, limit, order)

    async def add_api_key(self, key: ApiKey) -> ApiKey:
        """Store a new API key."""
        return await self._database.write(_do(self._keys.add, key), about=("api_keys",))

    async def update_api_key(self, key: ApiKey, *, guard: Guard[ApiKey] | None = None) -> ApiKey:
        """Replace an API key by id."""
        return await self._database.write(_do(self._keys.change, key, guard=guard), about=("api_keys",))

    async def touch_api_key(self, key_id: str, when_ms: int) -> None:
        """Set `last_use_at` alone."""
        work = _do(self._keys.set_columns, key_id, {"last_use_at": when_ms})
        await self._database.write(work, about=("api_keys",))

    async def delete_api_key(self, key_id: str, *, guard: Guard[ApiKey] | None = None) -> None:
        """Remove an API key."""
        await self._database.write(_do(self._keys.remove, key_id, guard=guard), about=("api_keys",))

    # -- event actions and event rules ---------------------------------------------------------------------

    async def event_action(self, name: str) -> EventAction | None:
        """One event action."""
        if not self._opening.complete or not can_be_stored(name):
            return None
        return await self._database.read(_do(self._actions.get, name))

    async def event_actions(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[EventAction]:
        """A page of event actions by name."""
        return await self._page(self._actions.page, "event_actions", offset, limit, order)

    async def add_event_action(self, action: EventAction) -> EventAction:
        """Store a new event action."""
        action = seal_record(action, self._options.seals)
        return await self._database.write(_do(self._actions.add, action), about=("event_actions",))

    async def update_event_action(
        self, action: EventAction, *, guard: Guard[EventAction] | None = None
    ) -> EventAction:
        """Replace an event action by name."""
        action = seal_record(action, self._options.seals)
        return await self._database.write(
            _do(self._actions.change, action, guard=guard), about=("event_actions",)
        )

    async def delete_event_action(self, name: str, *, guard: Guard[EventAction] | None = None) -> None:
        """Remove an event action."""
        await self._database.write(_do(self._actions.remove, name, guard=guard), about=("event_actions",))

    async def event_rule(self, name: str) -> EventRule | None:
        """One event rule."""
        if not self._opening.complete or not can_be_stored(name):
            return None
        return await self._database.read(_do(self._event_rules.get, name))

    async def event_rules(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[EventRule]:
        """A page of event rules by name."""
        return await self._page(self._event_rules.page, "event_rules", offset, limit, order)

    async def add_event_rule(self, rule: EventRule) -> EventRule:
        """Store a new event rule."""
        rule = seal_record(rule, self._options.seals)
        return await self._database.write(_do(self._event_rules.add, rule), about=("event_rules",))

    async def update_event_rule(self, rule: EventRule, *, guard: Guard[EventRule] | None = None) -> EventRule:
        """Replace an event rule by name."""
        rule = seal_record(rule, self._options.seals)
        return await self._database.write(
            _do(self._event_rules.change, rule, guard=guard), about=("event_rules",)
        )

    async def delete_event_rule(self, name: str, *, guard: Guard[EventRule] | None = None) -> None:
        """Remove an event rule."""
        await self._database.write(_do(self._event_rules.remove, name, guard=guard), about=("event_rules",))

    # -- lists of addresses ----------------------------------------------------------------------------

    async def list_entry(self, name: str) -> ListEntry | None:
        """One entry of a list of addresses, or one ban."""
        if not self._opening.complete or not can_be_stored(name):
            return None
        return await self._database.read(_do(self._lists.get, name))

    async def list_entries(
        self, *, offset: int = 0, limit: int = 100, order: Order = "ASC"
    ) -> list[ListEntry]:
        """A page of entries of all lists, and of bans, by name."""
        return await self._page(self._lists.page, "ip_lists", offset, limit, order)

    async def list_state(self) -> str:
        """See `Provider.list_state`."""
        return await self._database.listing(_do(lists.list_state, self._tables), about="ip_lists")

    async def list_changes(self, since: str) -> ListChanges:
        """See `Provider.list_changes`."""
        return await self._database.listing(_do(lists.changes, self._tables, since), about="ip_lists")

    async def add_list_entry(self, entry: ListEntry) -> ListEntry:
        """Store a new entry."""
        return await self._database.write(_do(lists.add, self._tables, entry), about=("ip_lists",))

    async def update_list_entry(
        self, entry: ListEntry, *, guard: Guard[ListEntry] | None = None
    ) -> ListEntry:
        """Replace an entry by name."""
        work = _do(lists.change, self._tables, entry, guard)
        return await self._database.write(work, about=("ip_lists",))

    async def delete_list_entry(self, name: str, *, guard: Guard[ListEntry] | None = None) -> None:
        """Remove an entry."""
        await self._database.write(_do(lists.remove, self._tables, name, guard), about=("ip_lists",))

    # -- small persistent facts ----------------------------------------------------------------------------

    async def setting(self, name: str) -> str | None:
        """A value the server keeps for itself."""
        if not self._opening.complete:
            return None
        return await self._database.read(_do(settings.get, self._tables, name))

    async def set_setting(self, name: str, value: str | None) -> None:
        """Store such a value, or forget it."""
        await self._database.write(_do(settings.put, self._tables, name, value))

    async def revoke(self, subject: str, *, at_ms: int, expires_ms: int, limit: int) -> None:
        """Remember that something is void."""
        work = _do(revocations.revoke, self._tables, subject, (at_ms, expires_ms), limit)
        try:
            await self._database.write(work)
        except AlreadyExists:
            await self._database.write(work)

    async def claim(self, subject: str, *, at_ms: int, expires_ms: int) -> bool:
        """Take something that is good once."""
        work = _do(revocations.claim, self._tables, subject, (at_ms, expires_ms))
        try:
            return await self._database.write(work)
        except AlreadyExists:
            return await self._database.write(work)

    async def revocations(self, subjects: Sequence[str]) -> dict[str, int]:
        """Those of the subjects that are void."""
        if not self._opening.complete:
            return {}
        return await self._database.read(_do(revocations.revoked, self._tables, subjects))

    # -- all or nothing --------------------------------------------------------------------------------------

    async def load(self, snapshot: Snapshot, *, mode: int = 0) -> LoadReport:
        """Store everything in one transaction."""
        return await self.load_batches(batches_of(snapshot), mode=mode)

    async def load_batches(
        self,
        batches: AsyncIterable[Sequence[Record]],
        *,
        mode: int = 0,
        guard: LoadGuard | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> LoadReport:
        """Store everything in one transaction, a batch at a time."""
        report: list[LoadRow] = []

        async def work(connection: AsyncConnection) -> None:
            before: list[Admin] | None = None
            async for batch in batches:
                if any(isinstance(record, Account) for record in batch):
                    self._rules.require_users()
                if admins_guard and before is None and any(isinstance(record, Admin) for record in batch):
                    before = await self._admins.every(connection)
                sealed = [seal_record(record, self._options.seals) for record in batch]
                report.extend(await loading.store(connection, self._tables, sealed, mode, guard))
            if admins_guard is not None and before is not None:
                admins_guard(before, await self._admins.every(connection))

        # The batches can be read once only, hence no second run.
        await self._database.write(work, about=SCOPES, seconds=None, again=False)
        return LoadReport(report)

    # -- pieces ----------------------------------------------------------------------------------------

    async def _page(
        self,
        page: Callable[[AsyncConnection, int, int, Order], Awaitable[list[T]]],
        about: str,
        offset: int,
        limit: int,
        order: Order,
    ) -> list[T]:
        if not self._opening.complete:
            return []
        work = _do(page, max(offset, 0), min(max(limit, 0), MAX_PAGE), order)
        return await self._database.listing(work, about=about)

    def _with_admins_guard(
        self, work: Callable[[AsyncConnection], Awaitable[T]], guard: AdminsGuard | None
    ) -> Callable[[AsyncConnection], Awaitable[T]]:
        """Work on administrators after which a guard is asked.

        All of them are locked first and in one order, so that two such changes wait for each other.
        """
        if guard is None:
            return work

        async def guarded(connection: AsyncConnection) -> T:
            before = await self._admins.every(connection)
            done = await work(connection)
            guard(before, await self._admins.every(connection))
            return done

        return guarded

    async def _write_user(self, name: str, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if not can_be_stored(name):
            raise NotFound("no user can have this name")
        return await self._database.write(work, about=("users", "folders"))

    async def _set_user(self, name: str, values: dict[str, Any]) -> None:
        await self._write_user(name, _do(usage.set_columns, self._tables, name, lambda _: values))


def _do(
    function: Callable[Concatenate[AsyncConnection, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> Callable[[AsyncConnection], Awaitable[T]]:
    """Work that calls a statements' function with everything but the connection filled in."""

    def work(connection: AsyncConnection) -> Awaitable[T]:
        return function(connection, *args, **kwargs)

    return work


def _keeps_the_contract(provider: SqlProvider) -> Provider:
    return provider
