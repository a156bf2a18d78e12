# SPDX-License-Identifier: Apache-2.0
"""Options with which a data provider is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.errors import ProviderError
from tidegate.model.sealing import NO_SEALING, SealsSecrets

TABLE_PREFIX: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}")
"""The table prefixes allowed: part of identifiers, so nothing that needs quoting."""

TABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
"""63 characters is the longest identifier that every supported database keeps whole."""


SYSTEM_AUTHORITIES: Final = "system"
"""The `root_cert` that means the authorities which the operating system trusts."""

DEFAULT_NAME: Final = "tidegate.db"
"""The database file, unless `name` says otherwise; for the memory driver this means no dump file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderOptions:
    """The `data_provider` section as far as the store needs it.

    Attributes:
        driver: ``sqlite``, ``postgresql``, ``mysql``, ``bolt`` or ``memory``.
        name: database file (sqlite, bolt), database name (postgresql, mysql) or dump file to load
            (memory; empty for none).
        base_dir: directory that a relative file `name` is relative to; the configuration directory.
        host: database server, or a directory with its Unix socket if it starts with ``/``.
        port: 0 takes the driver's usual port.
        sslmode: 0 off, 1 required, 2 and 3 as each driver maps them (`store.sql.engines`).
        root_cert: file of the certificate authority for the database connection, or `SYSTEM_AUTHORITIES`.
        connection_string: replaces every other connection setting: a URL, or what the driver's own
            library understands (libpq keywords, ``user:password@tcp(host:port)/name?...``).
        sql_tables_prefix: put before each table name.
        users_table: another table or view to read accounts from; empty or ``users`` takes our own.
        manage_users: False refuses every write of accounts; `users_table` may then be a read-only view.
        track_quota: 0 keeps no usage, 1 keeps it for all accounts, 2 where it is asked for.
        pool_size: open connections to a database server at most; 0 takes the default.
        read_host: host (or ``host:port``) of a replica that answers listings and dumps; logins, quota and
            everything else that decides ask the writer.
        prepared_statements: ``auto`` prepares statements on connections that lead to a PostgreSQL server
            directly and not through a pooler, ``never`` on none.
        rules: what a valid record of a dump file is.
        hash_password: turns a plain-text password of a dump file into a hash; without it, such a dump
            is refused.
        seals: encrypts the secrets of records that are written.
    """

    driver: str = "sqlite"
    name: str = DEFAULT_NAME
    base_dir: Path = Path()
    host: str = ""
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    sslmode: int = 0
    root_cert: str = ""
    client_cert: str = ""
    client_key: str = ""
    connection_string: str = field(default="", repr=False)
    sql_tables_prefix: str = ""
    users_table: str = ""
    manage_users: bool = True
    track_quota: int = 2
    pool_size: int = 0
    read_host: str = ""
    prepared_statements: str = "auto"
    rules: Rules = DEFAULT_RULES
    hash_password: Callable[[str], str] | None = field(default=None, repr=False, compare=False)
    seals: SealsSecrets = field(default=NO_SEALING, repr=False, compare=False)

    @property
    def file(self) -> Path:
        """The absolute path of a file-based database or dump."""
        return (self.base_dir / self.name).absolute()

    @property
    def external_table(self) -> str:
        """The foreign table or view that accounts are read from; empty if they are ours."""
        ours = ("", "users", f"{self.sql_tables_prefix}users")
        return self.users_table if not self.manage_users and self.users_table not in ours else ""

    def check(self) -> None:
        """Refuse what no driver can use.

        Raises:
            ProviderError: a value is out of range or unsafe as part of an SQL identifier.
        """
        if self.sql_tables_prefix and not TABLE_PREFIX.fullmatch(self.sql_tables_prefix):
            raise ProviderError(
                f"data_provider.sql_tables_prefix: {self.sql_tables_prefix!r} must be a letter or underscore"
                ", then letters, digits or underscores, 31 at most"
            )
        if self.users_table and not TABLE_NAME.fullmatch(self.users_table):
            raise ProviderError(
                f"data_provider.users_table: {self.users_table!r} must be a letter or underscore, then "
                "letters, digits or underscores, 63 at most"
            )
        if self.prepared_statements not in ("auto", "never"):
            raise ProviderError(
                f"data_provider.prepared_statements: {self.prepared_statements!r} is not auto or never"
            )
        if self.sslmode not in range(4):
            raise ProviderError(f"data_provider.sslmode: {self.sslmode} is not one of 0, 1, 2, 3")
        if self.track_quota not in range(3):
            raise ProviderError(f"data_provider.track_quota: {self.track_quota} is not one of 0, 1, 2")
        if not 0 <= self.pool_size <= 1000:
            raise ProviderError(f"data_provider.pool_size: {self.pool_size} is not between 0 and 1000")


@dataclass(frozen=True, slots=True)
class WriteRules:
    """The writes that the configuration allows; the same for every driver.

    Attributes:
        manage_users: accounts may be written.
        track_quota: usage is kept.
    """

    manage_users: bool = True
    track_quota: bool = True

    def require_users(self) -> None:
        """Refuse a write of accounts unless they are managed here.

        Raises:
            ProviderError: manage_users is 0.
        """
        if not self.manage_users:
            raise ProviderError("accounts are read-only here: data_provider.manage_users is 0")

    def require_tracking(self) -> None:
        """Refuse setting usage unless it is tracked here.

        Raises:
            ProviderError: track_quota is 0.
        """
        if not self.track_quota:
            raise ProviderError("usage is not tracked: data_provider.track_quota is 0")

    def require_usage(self) -> None:
        """Refuse setting usage of accounts unless it is tracked here.

        Raises:
            ProviderError: track_quota or manage_users is 0.
        """
        self.require_tracking()
        self.require_users()

    @property
    def keeps_usage(self) -> bool:
        """True if changes of counters are to be stored."""
        return self.track_quota and self.manage_users
