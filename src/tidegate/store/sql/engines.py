# SPDX-License-Identifier: Apache-2.0
"""Connections to SQLite, PostgreSQL and MySQL/MariaDB from the `data_provider` settings.

`sslmode` means what it means elsewhere in this field:

=====  =================================  ==========================================================
value  postgresql                         mysql
=====  =================================  ==========================================================
0      disable                            no TLS
1      require (TLS, nobody is checked)   TLS, certificate and host name checked
2      verify-ca                          TLS, nobody is checked
3      verify-full                        TLS if the server offers it, nobody is checked
=====  =================================  ==========================================================
"""

from __future__ import annotations

import os
import re
import ssl
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from tidegate.errors import ProviderError
from tidegate.store.options import SYSTEM_AUTHORITIES, ProviderOptions
from tidegate.store.sql.async_engine import AsyncEngine, create_async_engine
from tidegate.store.sql.urls import check_url
from tidegate.store.watched_file import WatchedFile

CONNECT_SECONDS: Final = 5
"""Seconds that one attempt to reach a database server may take."""
POOL_WAIT_SECONDS: Final = 5
"""Seconds that an operation waits for a free connection."""
DEFAULT_POOL: Final = 10
"""Connections to a database server, unless `pool_size` says otherwise."""
SQLITE_POOL: Final = 4
"""Connections to an SQLite file: one writes at a time, more only help readers."""
SQLITE_BUSY_MS: Final = 5_000
PREPARE_AFTER: Final = 5
"""Runs of one statement after which PostgreSQL prepares it."""
RECYCLE_SECONDS: Final = 1_800
"""Age at which a connection is replaced, so that address changes and balancers are followed."""

WRITES: Final = "tidegate_writes"
"""Execution option of connections that are going to write."""

SINGLE: Final = "tidegate_single"
"""Execution option: the transaction is one SELECT, which needs no BEGIN in SQLite."""

_PG_SSL: Final = ("disable", "require", "verify-ca", "verify-full")
_GO_DSN: Final = re.compile(
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>.*))?@)?(?:(?P<net>tcp|unix)\((?P<address>[^)]*)\))?"
    r"/(?P<name>[^?]*)(?:\?(?P<options>.*))?"
)


MASK: Final = "***"
WORD_CHARACTERS: Final = 6
"""A shorter secret is masked by its place and not by its text: it may be part of any word."""
LONG_CHARACTERS: Final = 12
"""A longer secret is no part of a word by chance."""
_BEFORE: Final = r"""((?:password|passwd|passphrase|pwd|pass)["']?\s*(?:=>|[=:])\s*["']?)"""

_REFUSALS: Final = (1044, 1045, 1049, 1129, 1130)
"""Errors of a MySQL server that has heard who asks: access denied, unknown database, blocked host."""


@dataclass(frozen=True, slots=True)
class Target:
    """One database to connect to.

    Attributes:
        url: driver and, for SQLite, the file.
        arguments: for the driver's connect function; holds the password.
        label: name in texts; no secret in it.
        secrets: texts that must not show up in any message.
        tls: a connection without TLS is to be dropped.
        packets: the server hangs up on statements that are larger than it takes (MySQL).
    """

    url: URL
    label: str
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    tls: bool = False
    packets: bool = False

    def masked(self, text: str) -> str:
        """One line of `text` without any secret of this target.

        One of `LONG_CHARACTERS` is masked wherever it stands, a shorter one where it is a word of its own,
        and one below `WORD_CHARACTERS` only where a password stands, so that texts stay readable.
        """
        line = " ".join(text.split())
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            exact = re.escape(secret)
            if len(secret) >= LONG_CHARACTERS:
                line = line.replace(secret, MASK)
            elif len(secret) >= WORD_CHARACTERS:
                line = re.sub(rf"(?<!\w){exact}(?!\w)", MASK, line)
            else:
                line = re.sub(rf"{_BEFORE}{exact}(?!\w)", rf"\1{MASK}", line, flags=re.IGNORECASE)
                line = re.sub(rf"((?:^|[\s/'\"=])[^\s:@/]*:){exact}(?=@)", rf"\1{MASK}", line)
        return line[:300]


def target_of(options: ProviderOptions, *, replica: bool = False) -> Target:
    """The server and database that the settings name.

    Raises:
        ProviderError: the settings cannot name a database.
    """
    if options.driver == "sqlite":
        return _sqlite(options)
    if options.driver == "postgresql":
        return _postgresql(options, replica=replica)
    if options.driver == "mysql":
        return _mysql(options, replica=replica)
    raise ProviderError(f"data_provider.driver: {options.driver!r} is not an SQL driver")


def make_engine(target: Target, options: ProviderOptions) -> tuple[AsyncEngine, WatchedFile | None]:
    """An engine whose connections are bounded in number and in waiting, and its file; connects lazily."""
    if options.driver == "sqlite":
        engine = create_async_engine(
            target.url,
            connect_args=target.arguments,
            pool_size=SQLITE_POOL,
            max_overflow=0,
            pool_timeout=POOL_WAIT_SECONDS,
        )
        file = WatchedFile(sqlite_file(target), target.label)
        event.listen(engine.sync_engine, "do_connect", lambda *_: file.check())  # connecting would make one
        event.listen(engine.sync_engine, "connect", lambda *_: file.opened())
        event.listen(engine.sync_engine, "checkout", lambda *_: file.check())
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine, file
    engine = create_async_engine(
        target.url,
        connect_args=target.arguments,
        pool_size=options.pool_size or DEFAULT_POOL,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
    )
    if target.tls and options.driver == "mysql":
        event.listen(engine.sync_engine, "connect", _require_tls)
    if options.driver == "postgresql" and options.prepared_statements == "auto":
        event.listen(engine.sync_engine, "connect", _prepare_where_direct)
    return engine, None


def _sqlite(options: ProviderOptions) -> Target:
    text = options.connection_string
    path = str(options.file)
    if text:
        path = text.removeprefix("sqlite://").removeprefix("file:").split("?", 1)[0]
        if text.startswith("sqlite://"):
            path = path.removeprefix("/")
        path = str((options.base_dir / path).absolute())
    return Target(
        URL.create("sqlite+aiosqlite", database=path),
        f"sqlite file {os.path.basename(path)}",
        {"timeout": SQLITE_BUSY_MS / 1000},
    )


def sqlite_file(target: Target) -> str:
    """The database file of an SQLite target."""
    return target.url.database or ""


def _postgresql(options: ProviderOptions, *, replica: bool) -> Target:
    settings: dict[str, Any]
    if options.connection_string:
        text = re.sub(r"^postgresql\+\w+://", "postgresql://", options.connection_string)
        check_url(text)
        try:
            from psycopg import conninfo  # the driver is loaded for those who use it

            settings = dict(conninfo.conninfo_to_dict(text))
        except Exception:  # of whatever kind: what the parser says may repeat the password
            raise ProviderError(
                "data_provider.connection_string: is not a postgresql URL or keyword=value list"
            ) from None
    else:
        settings = {
            "host": options.host or "127.0.0.1",
            "port": options.port or 5432,
            "dbname": options.name,
            "user": options.username,
            "password": options.password,
            "sslmode": _PG_SSL[options.sslmode],
            "sslrootcert": options.root_cert,
            "sslcert": options.client_cert,
            "sslkey": options.client_key,
        }
        settings = {key: value for key, value in settings.items() if value != ""}
    if replica:
        settings["host"], settings["port"] = _host_port(options.read_host, settings.get("port", 5432))
    settings.setdefault("connect_timeout", CONNECT_SECONDS)
    settings.setdefault("application_name", "tidegate")
    settings |= {"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3}
    # Switched on by `_prepare_where_direct` where it is safe.
    settings["prepare_threshold"] = None
    label = f"postgresql at {settings.get('host', 'local socket')}:{settings.get('port', 5432)}"
    return Target(
        URL.create("postgresql+psycopg"),
        label,
        settings,
        _secrets(options, settings.get("password")),
    )


def _mysql(options: ProviderOptions, *, replica: bool) -> Target:
    settings: dict[str, Any] = {
        "host": options.host or "127.0.0.1",
        "port": options.port or 3306,
        "database": options.name,
        "user": options.username,
        "password": options.password,
    }
    mode = options.sslmode
    if options.connection_string:
        settings, mode = _mysql_string(options.connection_string, mode)
    if replica:
        settings["host"], settings["port"] = _host_port(options.read_host, settings["port"])
        settings.pop("unix_socket", None)
    if str(settings["host"]).startswith("/"):
        settings["unix_socket"] = settings.pop("host")
    settings |= {"connect_timeout": CONNECT_SECONDS, "charset": "utf8mb4"}
    if mode:
        settings["ssl"] = _mysql_tls(options, checked=mode == 1)
    if mode == 3:
        settings["async_creator_fn"] = _connect_preferring_tls
    where = settings.get("unix_socket") or f"{settings['host']}:{settings['port']}"
    return Target(
        URL.create("mysql+asyncmy"),
        f"mysql at {where}",
        settings,
        _secrets(options, settings["password"]),
        tls=mode in (1, 2),
        packets=True,
    )


def _mysql_string(text: str, mode: int) -> tuple[dict[str, Any], int]:
    """Settings from a URL or from the ``user:password@tcp(host:port)/name`` form."""
    bad = ProviderError(
        "data_provider.connection_string: is not mysql://user:password@host:port/name or "
        "user:password@tcp(host:port)/name"
    )
    if re.match(r"(?:mysql|mariadb)(?:\+\w+)?://", text):
        check_url(text)
        try:
            url = urllib.parse.urlsplit(text)
            port = url.port or 3306
        except ValueError:
            raise bad from None
        user, password = urllib.parse.unquote(url.username or ""), urllib.parse.unquote(url.password or "")
        host, name, options = url.hostname or "127.0.0.1", url.path.removeprefix("/"), url.query
        settings = {"host": host, "port": port}
    else:
        found = _GO_DSN.fullmatch(text)
        if found is None:
            raise bad
        user, password, name = found["user"] or "", found["password"] or "", found["name"]
        options = found["options"] or ""
        if found["net"] == "unix":
            settings = {"host": found["address"], "port": 3306}
        else:
            host, port = _host_port(found["address"] or "127.0.0.1", 3306)
            settings = {"host": host, "port": port}
    asked = dict(urllib.parse.parse_qsl(options)).get("tls", "")
    modes = {"false": 0, "true": 1, "skip-verify": 2, "preferred": 3}
    if asked and asked not in modes:
        raise ProviderError(f"data_provider.connection_string: tls={asked} is not one of {', '.join(modes)}")
    return {**settings, "database": name, "user": user, "password": password}, modes.get(asked, mode)


def _mysql_tls(options: ProviderOptions, *, checked: bool) -> ssl.SSLContext:
    authority = "" if options.root_cert == SYSTEM_AUTHORITIES else options.root_cert
    with _tls_file(authority):
        context = ssl.create_default_context(cafile=authority or None)
    if options.client_cert:
        certificate, key = options.client_cert, options.client_key or None
        with _tls_file(f"{certificate} and {key}" if key else certificate):
            # A key with a passphrase would have the library ask on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
    if not checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _tls_file(name: str) -> Iterator[None]:
    """Name the file in errors of OpenSSL, which does not."""
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        what = "is not a certificate or key of PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ProviderError(f"data_provider: cannot read the TLS file {name}: {what}") from None


def _host_port(text: str, port: object) -> tuple[str, int]:
    """Split ``host``, ``host:port`` or ``[v6]:port``."""
    found = re.fullmatch(
        r"\[(?P<six>[0-9A-Fa-f:.]+)\](?::(?P<p6>[0-9]{1,5}))?|(?P<host>[^:]+):(?P<p4>[0-9]{1,5})", text
    )
    if found is None:
        return text, int(str(port))
    return found["six"] or found["host"], int(found["p6"] or found["p4"] or str(port))


def _secrets(options: ProviderOptions, password: object) -> tuple[str, ...]:
    text = str(password or "")
    return tuple(
        secret
        for secret in (options.connection_string, text, urllib.parse.quote(text), options.password)
        if secret
    )


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver must not open transactions by itself: ours say whether they will write.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        # FULL: what was acknowledged survives a power failure too.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: a transaction that reads first and then writes could
    # otherwise fail in the middle, without the busy timeout being waited for.
    options = connection.get_execution_options()
    if options.get(SINGLE):
        return
    writes = options.get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


async def _connect_preferring_tls(**arguments: Any) -> Any:
    """Connect with TLS, or without it to a server that hangs up on the question."""
    import asyncmy  # the driver is loaded for those who use it

    try:
        return await asyncmy.connect(**arguments)
    except (asyncmy.errors.OperationalError, OSError) as error:
        if error.args and error.args[0] in _REFUSALS:
            raise
        return await asyncmy.connect(**{**arguments, "ssl": None})


def _prepare_where_direct(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    """Let a connection prepare statements if it leads to one server process and no pooler is in between.

    A pooler (PgBouncer, Odyssey and alike) hands each transaction to another server process, where
    statements of the same name belong to another client. It greets with a process id of its own making, so
    the id in the greeting is not the one that the server tells.
    """
    driver: Any = connection.driver_connection
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
    finally:
        cursor.close()
    connection.rollback()
    if row is not None and row[0] == driver.info.backend_pid:
        driver.prepare_threshold = PREPARE_AFTER


def _require_tls(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # Some versions of the driver go on in plain text if the server does not offer TLS.
    transport = getattr(connection.driver_connection, "_transport", None)
    if transport is None or transport.get_extra_info("ssl_object") is None:
        raise ProviderError("the database server offers no TLS and data_provider.sslmode requires it")
