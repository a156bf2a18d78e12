# SPDX-License-Identifier: Apache-2.0
"""The contract for drivers that keep whole records under names: `memory` and `bolt`.

`RecordTransaction` is what such a driver offers inside one transaction; everything else (mounts that make
folders, counters that stay, what goes when an account goes) is here once for both.

Long, because it has every rule that the two drivers must not keep differently.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, cast

from tidegate.errors import AlreadyExists, BadRecord, NotFound, UnknownFolder
from tidegate.model import Account, Admin, ApiKey, Folder, FolderMount, Tally
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store import list_changes
from tidegate.store.contract import CLAIMED, EVERYTHING, Guard, ListChanges, Order, Record, UsageDelta
from tidegate.store.storages import stricter_storage

if TYPE_CHECKING:
    from tidegate.store.user_query import UserQuery

RecordTable = Literal[
    "users", "folders", "groups", "roles", "admins", "api_keys", "event_actions", "event_rules", "ip_lists",
    "external",
]  # fmt: skip

KINDS: Final[dict[RecordTable, str]] = {
    "users": "user",
    "folders": "folder",
    "groups": "group",
    "roles": "role",
    "admins": "admin",
    "api_keys": "API key",
    "event_actions": "event action",
    "event_rules": "event rule",
    "ip_lists": "list entry",
    "external": "user",
}
_NUMBERED: Final = (Account, Group, Role, Admin, EventAction, EventRule, ListEntry)
"""Records with a number."""
R = TypeVar("R", bound=Record)
G = TypeVar("G", bound=Record)
M = TypeVar("M", bound=Account | Group)

GROUP_LINK: Final = "\0g"
ROLE_LINK: Final = "\0r"
"""Beginnings of what accounts are linked to: a folder by its name alone, and no name holds a NUL."""


class RecordTransaction(Protocol):
    """One transaction on named records; it is undone if an error leaves it."""

    def get(self, table: RecordTable, name: str) -> Record | None:
        """A record."""
        ...

    def put(self, table: RecordTable, name: str, record: Record) -> None:
        """Store or replace a record."""
        ...

    def drop(self, table: RecordTable, name: str) -> None:
        """Remove a record that exists."""
        ...

    def page(self, table: RecordTable, offset: int, limit: int, order: Order) -> list[Record]:
        """Records by name."""
        ...

    def after(self, table: RecordTable, name: str, limit: int) -> list[Record]:
        """Records that follow a name."""
        ...

    def count(self, table: RecordTable) -> int:
        """The number of records."""
        ...

    def scan_users(self, query: UserQuery) -> Iterator[Account]:
        """The accounts that a search could find: all of its page and perhaps others."""
        ...

    def next_id(self) -> int:
        """A number never given before."""
        ...

    def link(self, folder: str, user: str) -> None:
        """Remember that an account mounts a folder."""
        ...

    def unlink(self, folder: str, user: str) -> None:
        """Forget it."""
        ...

    def linked(self, folder: str) -> list[str]:
        """Accounts that mount a folder, by name."""
        ...

    def mark(self, user: str, *, dirty: bool, server: str = "") -> None:
        """Set or clear a server's mark of unsettled counters."""
        ...

    def unmark(self, user: str) -> None:
        """Clear every mark of an account."""
        ...

    def marked(self) -> list[tuple[str, str]]:
        """Accounts with that mark and the servers that set it, sorted."""
        ...

    def revocations(self) -> dict[str, tuple[int, int]]:
        """Subjects that are void, each with since when and until when that matters."""
        ...

    def revoke(self, subject: str, times: tuple[int, int] | None) -> None:
        """Store or forget a revocation."""
        ...

    def setting(self, name: str) -> str | None:
        """A small value."""
        ...

    def set_setting(self, name: str, value: str | None) -> None:
        """Store or forget a small value."""
        ...


def name_of(record: Record) -> tuple[RecordTable, str]:
    """The table and the name of a record."""
    if isinstance(record, Account):
        return "users", record.username
    if isinstance(record, Folder):
        return "folders", record.name
    if isinstance(record, Group):
        return "groups", record.name
    if isinstance(record, Role):
        return "roles", record.name
    if isinstance(record, Admin):
        return "admins", record.username
    if isinstance(record, EventAction):
        return "event_actions", record.name
    if isinstance(record, EventRule):
        return "event_rules", record.name
    if isinstance(record, ListEntry):
        return "ip_lists", record.name
    return "api_keys", record.id


def now_ms() -> int:
    """The clock of stored times."""
    return time.time_ns() // 1_000_000


# --- reading --------------------------------------------------------------------------------------------


def user(transaction: RecordTransaction, name: str) -> Account | None:
    """One account with what its folders are now."""
    found = transaction.get("users", name)
    return None if found is None else _filled(transaction, cast("Account", found))


def users(transaction: RecordTransaction, offset: int, limit: int, order: Order) -> list[Account]:
    """A page of accounts."""
    return [
        _filled(transaction, cast("Account", item))
        for item in transaction.page("users", offset, limit, order)
    ]


def users_after(transaction: RecordTransaction, name: str, limit: int) -> list[Account]:
    """The accounts that follow a name."""
    return [_filled(transaction, cast("Account", item)) for item in transaction.after("users", name, limit)]


def shown(transaction: RecordTransaction, record: Record) -> Record:
    """A record as reading by name gives it."""
    return _filled(transaction, record) if isinstance(record, (Account, Group)) else record


def group(transaction: RecordTransaction, name: str) -> Group | None:
    """One group with what its folders are now."""
    found = transaction.get("groups", name)
    return None if found is None else _filled(transaction, cast("Group", found))


def groups(transaction: RecordTransaction, offset: int, limit: int, order: Order) -> list[Group]:
    """A page of groups."""
    return [
        _filled(transaction, cast("Group", item)) for item in transaction.page("groups", offset, limit, order)
    ]


def role_page(
    transaction: RecordTransaction, role: str, offset: int, limit: int, order: Order
) -> list[Account]:
    """A page of the accounts that have a role."""
    names = transaction.linked(ROLE_LINK + role)
    names = (names[::-1] if order == "DESC" else names)[offset : offset + limit]
    return [account for name in names if (account := user(transaction, name)) is not None]


def folder_groups(transaction: RecordTransaction, folder: str) -> list[str]:
    """Names of the groups that mount a folder."""
    return [
        one.name
        for one in cast("Iterator[Group]", every(transaction, "groups"))
        if any(mount.name == folder for mount in one.virtual_folders)
    ]


def role_admins(transaction: RecordTransaction, role: str) -> list[str]:
    """Names of the administrators that have a role."""
    return [one.username for one in cast("Iterator[Admin]", every(transaction, "admins")) if one.role == role]


def _filled(transaction: RecordTransaction, account: M) -> M:
    if not account.virtual_folders:
        return account
    mounts: list[FolderMount] = []
    for mount in account.virtual_folders:
        folder = cast("Folder | None", transaction.get("folders", mount.name))
        if folder is not None:
            mounts.append(
                replace(
                    mount,
                    mapped_path=folder.mapped_path,
                    description=folder.description,
                    used_quota_size=folder.used_quota_size,
                    used_quota_files=folder.used_quota_files,
                    last_quota_update=folder.last_quota_update,
                    filesystem=folder.filesystem,
                )
            )
    return cast("M", replace(cast("Any", account), virtual_folders=tuple(mounts)))


# --- writing --------------------------------------------------------------------------------------------


def add(transaction: RecordTransaction, record: R, *, keep_times: bool = False) -> R:
    """Store a new record; with `keep_times` the times that it has stay, as a load of a dump wants it.

    Raises:
        AlreadyExists: something has that name.
    """
    table, name = name_of(record)
    if transaction.get(table, name) is not None:
        raise AlreadyExists(f"{KINDS[table]} {name!r} already exists")
    now = now_ms()
    values: dict[str, Any] = {}
    if not isinstance(record, Folder):
        values = {"created_at": now, "updated_at": now}
        if keep_times:
            values = {name: getattr(record, name) or now for name in values}
    if isinstance(record, _NUMBERED):
        values["id"] = transaction.next_id()
    note(transaction, table, name)
    return _put(transaction, replace(record, **values))


def change(
    transaction: RecordTransaction, record: R, *, keep_usage: bool = True, guard: Guard[R] | None = None
) -> R:
    """Replace a record by name; counters stay unless told otherwise.

    Raises:
        NotFound: nothing has that name.
    """
    table, name = name_of(record)
    old = _existing(transaction, table, name)
    if guard is not None:
        guard(cast("R", shown(transaction, old)))
    values: dict[str, Any] = {}
    if isinstance(record, Folder):
        values = _usage(old, "used_quota_size", "used_quota_files", "last_quota_update")
    else:
        timed = cast("Account | Admin | ApiKey", old)
        values = {"created_at": timed.created_at, "updated_at": max(now_ms(), timed.updated_at + 1)}
    if isinstance(record, _NUMBERED):
        values["id"] = cast("Account | Admin", old).id
    if isinstance(record, Account) and keep_usage:
        values |= _usage(
            old,
            "used_quota_size",
            "used_quota_files",
            "last_quota_update",
            "used_upload_data_transfer",
            "used_download_data_transfer",
            "last_login",
            "login_count",
            "first_download",
            "first_upload",
            "tally",
        )
    if isinstance(old, Account):
        _unlink(transaction, old)
    note(transaction, table, name)
    return _put(transaction, replace(record, **values))


def remove(
    transaction: RecordTransaction, table: RecordTable, name: str, *, guard: Guard[G] | None = None
) -> None:
    """Remove a record and what belongs to it.

    Raises:
        NotFound: nothing has that name.
    """
    old = _existing(transaction, table, name)
    if guard is not None:
        guard(cast("G", shown(transaction, old)))
    if isinstance(old, Account):
        _unlink(transaction, old)
        transaction.unmark(name)
    elif isinstance(old, Group):
        require_unused("group", name, transaction.linked(GROUP_LINK + name))
    elif isinstance(old, Role):
        users_of = transaction.linked(ROLE_LINK + name)
        require_unused("role", name, users_of or role_admins(transaction, name))
    elif isinstance(old, Folder):
        for username in transaction.linked(name):
            account = cast("Account", transaction.get("users", username))
            mounts = tuple(mount for mount in account.virtual_folders if mount.name != name)
            transaction.put("users", username, replace(account, virtual_folders=mounts))
            transaction.unlink(name, username)
        for of in folder_groups(transaction, name):
            one = cast("Group", transaction.get("groups", of))
            mounts = tuple(mount for mount in one.virtual_folders if mount.name != name)
            transaction.put("groups", of, replace(one, virtual_folders=mounts))
    note(transaction, table, name)
    transaction.drop(table, name)
    if isinstance(old, (Account, Admin)):
        bound = "user" if isinstance(old, Account) else "admin"
        for key in [cast("ApiKey", key) for key in every(transaction, "api_keys")]:
            if getattr(key, bound) == name:
                transaction.drop("api_keys", key.id)


def note(transaction: RecordTransaction, table: RecordTable, *names: str) -> None:
    """Note that entries of lists are changed; of other tables nobody asks."""
    if table == "ip_lists":
        stored = transaction.setting(list_changes.NUMBER)
        for name, value in list_changes.notes(stored, names, now_ms()).items():
            transaction.set_setting(name, value)


def changes_of_lists(transaction: RecordTransaction, since: str) -> ListChanges:
    """See `store.contract.Provider.list_changes`."""
    stored = transaction.setting(list_changes.NUMBER)
    now, slots = stored or list_changes.NOTHING, list_changes.wanted(since, stored)
    if slots is None:
        return ListChanges(now)
    values = {slot: transaction.setting(slot) or "" for slot in slots}
    names = list_changes.changed(since, stored, values)
    if names is None:
        return ListChanges(now)
    entries = {name: cast("ListEntry | None", transaction.get("ip_lists", name)) for name in names}
    return ListChanges(now, entries)


def touch(transaction: RecordTransaction, table: RecordTable, name: str, **values: int) -> None:
    """Set times of a record that are no change of it.

    Raises:
        NotFound: nothing has that name.
    """
    old = cast("Admin | ApiKey", _existing(transaction, table, name))
    transaction.put(table, name, replace(old, **cast("dict[str, Any]", values)))


def patch(transaction: RecordTransaction, name: str, **values: Any) -> None:
    """Set fields of an account, or what is kept of one that is not stored.

    Raises:
        NotFound: there is no such account.
    """
    table, old = _kept(transaction, name)
    transaction.put(table, name, replace(old, **values))


def keep_external(transaction: RecordTransaction, name: str) -> Account:
    """The kept part of an account that is not stored, made if there is nothing."""
    found = transaction.get("external", name)
    if found is None:
        found = Account(username=name, created_at=now_ms())
        transaction.put("external", name, found)
    return cast("Account", found)


def revoke(transaction: RecordTransaction, subject: str, times: tuple[int, int], limit: int) -> None:
    """Remember that something is void; see `store.contract.Provider.revoke`."""
    now, known = now_ms(), transaction.revocations()
    for name, (_, expires) in known.items():
        if expires <= now:
            transaction.revoke(name, None)
    alive = {name: row for name, row in known.items() if row[1] > now}
    former = alive.get(subject, (0, 0))
    alive[subject] = max(former[0], times[0]), max(former[1], times[1])
    void = [name for name in alive if not name.startswith(CLAIMED)]
    if len(void) > limit:
        for name in void:
            transaction.revoke(name, None)
        subject, alive = EVERYTHING, {EVERYTHING: times}
    transaction.revoke(subject, alive[subject])


def claim(transaction: RecordTransaction, subject: str, times: tuple[int, int]) -> bool:
    """Take something that is good once; see `store.contract.Provider.claim`."""
    now, known = now_ms(), transaction.revocations()
    for name, (_, expires) in known.items():
        if expires <= now:
            transaction.revoke(name, None)
    name = f"{CLAIMED}{subject}"
    at, expires = known.get(name, (0, 0))
    if at >= times[0] and expires > now:
        return False
    transaction.revoke(name, times)
    return True


def set_password(transaction: RecordTransaction, name: str, password: str, changed_at: int | None) -> None:
    """Replace the hash alone."""
    old = cast("Account", _existing(transaction, "users", name))
    changed = old.last_password_change if changed_at is None else changed_at
    updated = max(now_ms(), old.updated_at + 1)
    patch(transaction, name, password=password, last_password_change=changed, updated_at=updated)


def touch_login(transaction: RecordTransaction, name: str, when_ms: int, logins: int) -> None:
    """Set the time of the last login, and count logins."""
    _, old = _kept(transaction, name)
    patch(transaction, name, last_login=when_ms, login_count=old.login_count + logins)


def touch_first(transaction: RecordTransaction, name: str, field: str, when_ms: int) -> None:
    """Set a time that is not set yet."""
    _, old = _kept(transaction, name)
    if not getattr(old, field):
        patch(transaction, name, **{field: when_ms})


def add_usage(transaction: RecordTransaction, name: str, delta: UsageDelta) -> None:
    """Add to an account's counters; they stop at zero."""
    _, old = _kept(transaction, name)
    tally = Tally(
        **{
            item.name: max(getattr(old.tally, item.name) + getattr(delta.tally, item.name), 0)
            for item in fields(Tally)
        }
    )
    patch(
        transaction,
        name,
        used_quota_size=max(old.used_quota_size + delta.size, 0),
        used_quota_files=max(old.used_quota_files + delta.files, 0),
        used_upload_data_transfer=max(old.used_upload_data_transfer + delta.upload, 0),
        used_download_data_transfer=max(old.used_download_data_transfer + delta.download, 0),
        last_quota_update=now_ms() if delta.size or delta.files else old.last_quota_update,
        tally=tally,
    )


def add_folder_usage(transaction: RecordTransaction, name: str, size: int, files: int) -> None:
    """Add to a folder's counters; they stop at zero."""
    old = cast("Folder", _existing(transaction, "folders", name))
    set_folder_usage(
        transaction, name, max(old.used_quota_size + size, 0), max(old.used_quota_files + files, 0)
    )


def set_folder_usage(transaction: RecordTransaction, name: str, size: int, files: int) -> None:
    """Set a folder's counters."""
    old = cast("Folder", _existing(transaction, "folders", name))
    new = replace(old, used_quota_size=size, used_quota_files=files, last_quota_update=now_ms())
    transaction.put("folders", name, new)


def mark(transaction: RecordTransaction, name: str, *, dirty: bool, server: str = "") -> None:
    """Set or clear a server's mark of unsettled counters."""
    _kept(transaction, name)
    transaction.mark(name, dirty=dirty, server=server)


# --- pieces ---------------------------------------------------------------------------------------------


def _kept(transaction: RecordTransaction, name: str) -> tuple[RecordTable, Account]:
    """The stored account, else what is kept of one that is not stored."""
    external = None if transaction.get("users", name) is not None else transaction.get("external", name)
    if external is not None:
        return "external", cast("Account", external)
    return "users", cast("Account", _existing(transaction, "users", name))


def _existing(transaction: RecordTransaction, table: RecordTable, name: str) -> Record:
    found = transaction.get(table, name)
    if found is None:
        raise NotFound(f"{KINDS[table]} {name!r} does not exist")
    return found


def _usage(old: Record, *names: str) -> dict[str, Any]:
    return {name: getattr(old, name) for name in names}


def _put(transaction: RecordTransaction, record: R) -> R:
    """Store a record; an account or group comes back with what its folders are."""
    table, name = name_of(record)
    if isinstance(record, (Account, Admin)) and record.role and transaction.get("roles", record.role) is None:
        raise BadRecord("role", f"there is no role {record.role!r}")
    if isinstance(record, Account):
        for index, use in enumerate(record.groups):
            if transaction.get("groups", use.name) is None:
                raise BadRecord(f"groups[{index}].name", f"there is no group {use.name!r}")
            transaction.link(GROUP_LINK + use.name, name)
        if record.role:
            transaction.link(ROLE_LINK + record.role, name)
        for mount in record.virtual_folders:
            transaction.link(mount.name, name)
    if isinstance(record, (Account, Group)):
        whole = _with_folders(transaction, record)
        transaction.put(table, name, whole)
        return cast("R", _filled(transaction, whole))
    transaction.put(table, name, record)
    return record


def _unlink(transaction: RecordTransaction, account: Account) -> None:
    for mount in account.virtual_folders:
        transaction.unlink(mount.name, account.username)
    for use in account.groups:
        transaction.unlink(GROUP_LINK + use.name, account.username)
    if account.role:
        transaction.unlink(ROLE_LINK + account.role, account.username)


def require_unused(kind: str, name: str, users: Sequence[str]) -> None:
    """Return if nobody uses a record that is about to be removed.

    Raises:
        BadRecord: somebody does.
    """
    if users:
        listed = ", ".join(users[:10]) + (f" and {len(users) - 10} more" if len(users) > 10 else "")
        raise BadRecord("name", f"the {kind} {name!r} is used by {listed}, it cannot be removed")


def _with_folders(transaction: RecordTransaction, account: M) -> M:
    """Make or move the folders that mounts describe, and keep of the mounts what is the account's."""
    mounts: list[FolderMount] = []
    for index, mount in enumerate(account.virtual_folders):
        folder = cast("Folder | None", transaction.get("folders", mount.name))
        if folder is None:
            if not mount.mapped_path:
                raise UnknownFolder(index, mount.name)
            made = Folder(name=mount.name, mapped_path=mount.mapped_path, filesystem=mount.filesystem)
            transaction.put("folders", mount.name, made)
        elif mount.mapped_path:
            storage = stricter_storage(folder.filesystem, mount.filesystem)
            if (mount.mapped_path, storage) != (folder.mapped_path, folder.filesystem):
                moved = replace(folder, mapped_path=mount.mapped_path, filesystem=storage)
                transaction.put("folders", mount.name, moved)
        mounts.append(
            FolderMount(
                name=mount.name,
                virtual_path=mount.virtual_path,
                quota_size=mount.quota_size,
                quota_files=mount.quota_files,
            )
        )
    return cast("M", replace(cast("Any", account), virtual_folders=tuple(mounts)))


def every(transaction: RecordTransaction, table: RecordTable) -> Iterator[Record]:
    """All records of a table by name."""
    last = ""
    while batch := transaction.after(table, last, 500):
        yield from batch
        last = name_of(batch[-1])[1]
