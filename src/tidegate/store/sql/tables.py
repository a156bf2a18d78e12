# SPDX-License-Identifier: Apache-2.0
"""The tables as this version expects them. `migrations/` makes them; a check compares the two at start.

Columns carry the JSON names of the record's fields, so that a view over foreign data is easy to write.
Lists and objects are JSON text. Names compare byte by byte on every database: two accounts that differ in
case are two accounts.

Long, because it has one function a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

from tidegate.store.sql.rows import USAGE

NAME_CHARS = 255

# Types as SQLite needs them, where these tables are made from; elsewhere the migrations make them, with the
# collations that compare byte by byte.
Name = String(NAME_CHARS)
LongText = Text()
Number = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere; SQLite numbers rows by itself only in a column spelt INTEGER."""


def _number(name: str, default: int = 0) -> Column[int]:
    return Column(name, Number, nullable=False, server_default=str(default))


def _text(name: str) -> Column[str]:
    return Column(name, LongText, nullable=False)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one provider.

    Attributes:
        users: accounts.
        mounts: which account sees which folder, in order of `id`.
        groups: groups; roles likewise.
        memberships: which account has which group, for asking by group; `users.groups` is what accounts say.
        marks: whose counters may be behind, by the server that changes them; `users.usage_dirty` is the mark
            of no server.
        outbox: events that kept sinks have not all taken; see `tidegate.store.outbox`.
        cursors: where each sink is; the empty name holds the last id.
        external: usage of accounts that only an authenticator knows.
        external_marks: as `marks`, of those.
        revocations: what is void before its time.
        deliveries: deliveries of event rules that are not over; see `tidegate.store.deliveries`.
        event_actions: event actions; event_rules and ip_lists likewise.
        properties: dead properties of files, one row for each that has any.
        property_roots: storage roots that have any.
        browser_sessions: sessions of browsers; see `tidegate.store.browser_sessions`.
    """

    metadata: MetaData
    users: Table
    folders: Table
    mounts: Table
    admins: Table
    api_keys: Table
    settings: Table
    groups: Table
    roles: Table
    memberships: Table
    marks: Table
    outbox: Table
    cursors: Table
    external: Table
    external_marks: Table
    revocations: Table
    deliveries: Table
    event_actions: Table
    event_rules: Table
    ip_lists: Table
    properties: Table
    property_roots: Table
    browser_sessions: Table


def users_table_name(prefix: str, users_table: str, *, external_users: bool) -> str:
    """The name of our own accounts table.

    Args:
        prefix: `sql_tables_prefix`.
        users_table: `users_table`; empty or ``users`` is the default name.
        external_users: accounts are read from `users_table`, so ours must not be called that (nor ``users``,
            which the foreign data is likely to be called).
    """
    if external_users:
        return f"{prefix}tidegate_users"
    return users_table if users_table not in ("", "users") else f"{prefix}users"


@lru_cache(maxsize=8)  # opening a provider again, as each command of a test does, takes a third less
def make_tables(prefix: str = "", users_table: str = "", *, external_users: bool = False) -> Tables:
    """Describe the schema under a prefix that `ProviderOptions.check` has accepted; shared, never changed."""
    metadata = MetaData()
    users = _users(metadata, users_table_name(prefix, users_table, external_users=external_users))
    folders = _folders(metadata, prefix)
    return Tables(
        metadata,
        users=users,
        folders=folders,
        mounts=_mounts(metadata, prefix, users, folders),
        admins=_admins(metadata, prefix),
        api_keys=_api_keys(metadata, prefix),
        settings=_settings(metadata, prefix),
        groups=_named(metadata, f"{prefix}user_groups"),
        roles=_named(metadata, f"{prefix}user_roles"),
        memberships=_memberships(metadata, prefix, users),
        marks=_marks(metadata, prefix, users),
        outbox=_outbox(metadata, prefix),
        cursors=_cursors(metadata, prefix),
        external=_external(metadata, prefix),
        external_marks=_external_marks(metadata, prefix),
        revocations=_revocations(metadata, prefix),
        deliveries=_deliveries(metadata, prefix),
        event_actions=_named(metadata, f"{prefix}event_actions"),
        event_rules=_named(metadata, f"{prefix}event_rules"),
        ip_lists=_named(metadata, f"{prefix}ip_lists"),
        properties=_properties(metadata, prefix),
        property_roots=_property_roots(metadata, prefix),
        browser_sessions=_browser_sessions(metadata, prefix),
    )


def _users(metadata: MetaData, name: str) -> Table:
    """Accounts."""
    return Table(
        name,
        metadata,
        Column("id", Number, primary_key=True, autoincrement=True),
        Column("username", Name, nullable=False, unique=True),
        _number("status", 1),
        _text("email"),
        _text("description"),
        _text("additional_info"),
        _number("expiration_date"),
        _text("password"),
        _text("public_keys"),
        _text("home_dir"),
        _number("uid"),
        _number("gid"),
        _number("max_sessions"),
        _number("quota_size"),
        _number("quota_files"),
        _text("permissions"),
        _number("used_quota_size"),
        _number("used_quota_files"),
        _number("last_quota_update"),
        _number("upload_bandwidth"),
        _number("download_bandwidth"),
        _number("upload_data_transfer"),
        _number("download_data_transfer"),
        _number("total_data_transfer"),
        _number("used_upload_data_transfer"),
        _number("used_download_data_transfer"),
        _number("last_login"),
        _number("login_count"),
        _number("first_download"),
        _number("first_upload"),
        _number("last_password_change"),
        _number("created_at"),
        _number("updated_at"),
        _text("filters"),
        _text("filesystem"),
        Column("groups", LongText),
        Column("role", Name, nullable=False, server_default="", index=True),
        _number("tally_bytes_in"),
        _number("tally_bytes_out"),
        _number("tally_bytes_xfer"),
        _number("tally_files_in"),
        _number("tally_files_out"),
        _number("tally_files_xfer"),
        Column("usage_dirty", Integer, nullable=False, server_default="0", index=True),
    )


def _folders(metadata: MetaData, prefix: str) -> Table:
    """Folders, which accounts mount."""
    return Table(
        f"{prefix}folders",
        metadata,
        Column("id", Number, primary_key=True, autoincrement=True),
        Column("name", Name, nullable=False, unique=True),
        _text("mapped_path"),
        _text("description"),
        _number("used_quota_size"),
        _number("used_quota_files"),
        _number("last_quota_update"),
        _text("filesystem"),
    )


def _mounts(metadata: MetaData, prefix: str, users: Table, folders: Table) -> Table:
    """Mounts: which account sees which folder."""
    return Table(
        f"{prefix}users_folders",
        metadata,
        Column("id", Number, primary_key=True, autoincrement=True),
        Column("user_id", Number, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False, index=True),
        Column("folder_id", Number, ForeignKey(folders.c.id, ondelete="CASCADE"), nullable=False, index=True),
        _text("virtual_path"),
        _number("quota_size"),
        _number("quota_files"),
    )


def _admins(metadata: MetaData, prefix: str) -> Table:
    """Administrators."""
    return Table(
        f"{prefix}admins",
        metadata,
        Column("id", Number, primary_key=True, autoincrement=True),
        Column("username", Name, nullable=False, unique=True),
        _number("status", 1),
        _text("description"),
        _text("password"),
        _text("email"),
        _text("permissions"),
        _text("filters"),
        _text("additional_info"),
        _number("created_at"),
        _number("updated_at"),
        _number("last_login"),
        Column("role", Name, nullable=False, server_default=""),
    )


def _api_keys(metadata: MetaData, prefix: str) -> Table:
    """API keys."""
    return Table(
        f"{prefix}api_keys",
        metadata,
        Column("id", Name, primary_key=True),
        _text("name"),
        _text("key"),
        _number("scope", 1),
        Column("user", Name, nullable=False, index=True),
        Column("admin", Name, nullable=False, index=True),
        _text("description"),
        _number("expires_at"),
        _number("created_at"),
        _number("updated_at"),
        _number("last_use_at"),
    )


def _settings(metadata: MetaData, prefix: str) -> Table:
    """Small values that servers keep for themselves."""
    return Table(f"{prefix}settings", metadata, Column("name", Name, primary_key=True), _text("value"))


def _memberships(metadata: MetaData, prefix: str, users: Table) -> Table:
    """Accounts by group."""
    return Table(
        f"{prefix}users_groups",
        metadata,
        Column(
            "user_id",
            Number,
            ForeignKey(users.c.id, ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        Column("group_name", Name, primary_key=True, index=True),
    )


def _marks(metadata: MetaData, prefix: str, users: Table) -> Table:
    """Marks of accounts whose counters may be behind."""
    return Table(
        f"{prefix}usage_marks",
        metadata,
        Column(
            "user_id",
            Number,
            ForeignKey(users.c.id, ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        Column("server", Name, primary_key=True),
    )


def _outbox(metadata: MetaData, prefix: str) -> Table:
    """Events that kept sinks have not all taken."""
    return Table(
        f"{prefix}outbox",
        metadata,
        Column("id", Number, primary_key=True, autoincrement=False),
        _text("document"),
    )


def _cursors(metadata: MetaData, prefix: str) -> Table:
    """The place of each kept sink in the outbox."""
    return Table(
        f"{prefix}outbox_cursors",
        metadata,
        Column("sink", Name, primary_key=True),
        _number("position"),
        Column("server", Name, nullable=False, server_default=""),
        _number("claimed_until"),
    )


def _external(metadata: MetaData, prefix: str) -> Table:
    """Usage of accounts that only an authenticator knows."""
    return Table(
        f"{prefix}external_users",
        metadata,
        Column("username", Name, primary_key=True),
        _number("created_at"),
        *(_number(name) for name in USAGE),
    )


def _external_marks(metadata: MetaData, prefix: str) -> Table:
    """Marks of those accounts."""
    return Table(
        f"{prefix}external_marks",
        metadata,
        Column("username", Name, primary_key=True),
        Column("server", Name, primary_key=True),
    )


def _revocations(metadata: MetaData, prefix: str) -> Table:
    """Revocations: what is void before its time."""
    return Table(
        f"{prefix}revocations",
        metadata,
        Column("subject", Name, primary_key=True),
        _number("revoked_at"),
        _number("expires_at"),
    )


def _named(metadata: MetaData, name: str) -> Table:
    """Records whose fields are one JSON text."""
    return Table(
        name,
        metadata,
        Column("id", Number, primary_key=True, autoincrement=True),
        Column("name", Name, nullable=False, unique=True),
        _text("document"),
        _number("created_at"),
        _number("updated_at"),
    )


def _deliveries(metadata: MetaData, prefix: str) -> Table:
    """Deliveries of event rules."""
    name = f"{prefix}deliveries"
    return Table(
        name,
        metadata,
        Column("id", Name, primary_key=True),
        Column("rule", Name, nullable=False),
        _text("facts"),
        Column("state", Name, nullable=False),
        _text("done"),
        _number("tries"),
        _number("due"),
        _text("error"),
        _number("created_at"),
        Column("server", Name, nullable=False, server_default=""),
        _number("until"),
        Index(f"ix_{name}_due", "due"),
    )


def _properties(metadata: MetaData, prefix: str) -> Table:
    """Dead properties of one file or directory."""
    return Table(
        f"{prefix}properties",
        metadata,
        Column("place_key", Name, primary_key=True),
        Column("parent_key", Name, nullable=False, index=True),
        Column("head", Name, nullable=False, index=True),
        _text("place"),
        Column("account", Name, nullable=False, index=True),
        _number("size"),
        _text("document"),
    )


def _property_roots(metadata: MetaData, prefix: str) -> Table:
    """Storage roots that have properties."""
    return Table(
        f"{prefix}property_roots", metadata, Column("root_key", Name, primary_key=True), _text("root")
    )


def _browser_sessions(metadata: MetaData, prefix: str) -> Table:
    """Sessions of browsers."""
    name = f"{prefix}browser_sessions"
    return Table(
        name,
        metadata,
        Column("id", Name, primary_key=True),
        Column("username", Name, nullable=False),
        *(
            Column(text, Name, nullable=False, server_default="")
            for text in ("kind", "mark", "ip", "agent", "method")
        ),
        *(_number(text) for text in ("created_at", "seen_at", "idle_until", "expires_at")),
        Index(f"ix_{name}_username", "username"),
    )
