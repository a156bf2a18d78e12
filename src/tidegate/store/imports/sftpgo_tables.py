# SPDX-License-Identifier: Apache-2.0
"""Reads SFTPGo's own database, 0.9.4 to 2.7, as the dump that its release would make. Reads only.

All tables are read in one transaction that may not write. A file of SQLite is opened so that nothing is
written beside it either, whether or not its server is running.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy import Executable, column, select, table, text
from sqlalchemy import exc as sa
from sqlalchemy.sql.elements import quoted_name

from tidegate.errors import InvalidArgument, ProviderError, ProviderUnavailable
from tidegate.store.file_kind import kind_of_file, only_sftpgo
from tidegate.store.imports.sqlite_quietly import quietly
from tidegate.store.legacy.rows import (
    NEEDED,
    NEWEST_SCHEMA,
    USERS,
    VERSION_TABLE,
    Layout,
    Row,
    dump_of,
    layouts,
)
from tidegate.store.options import ProviderOptions
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database
from tidegate.store.sql.shape import RightMissing, columns_of, is_denied

MAX_ROWS: Final = 1_000_000
"""Rows read of one table."""
READ_SECONDS: Final = 300.0
"""Longest time for all tables."""
MEMORY_BYTES: Final = 64 * 1024 * 1024
"""Size of a dump that is held in memory; a larger one lies in a file without a name."""
FORMS: Final = "sqlite:FILE, postgresql://USER@HOST/NAME or mysql://USER@HOST/NAME"

_SERVERS: Final = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "cockroachdb": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A database that was read.

    Attributes:
        dump: the dump, at its beginning; the caller closes it.
        notes: about the database as a whole.
        label: name of the database in texts; no secret in it.
    """

    dump: BinaryIO
    notes: tuple[str, ...]
    label: str


async def read_sftpgo(source: str, *, prefix: str = "", password: str = "", tls_ca: str = "") -> Found:
    """The accounts of SFTPGo's database as a dump.

    Args:
        source: one of `FORMS`.
        prefix: `data_provider.sql_tables_prefix` of SFTPGo.
        password: of the database user, if `source` has none.
        tls_ca: file of the authority of a MySQL server; empty for those that the operating system trusts.

    Raises:
        InvalidArgument: `source` names no database, or one that only SFTPGo reads.
        ProviderUnavailable: the database does not answer, or is locked for too long.
        ProviderError: it is no database of SFTPGo, or a table may not be read.
    """
    scheme, _, rest = source.partition(":")
    try:
        async with asyncio.timeout(READ_SECONDS):
            if scheme == "sqlite" and rest:
                return await _from_file(Path(_sqlite_path(rest)), prefix)
            if scheme == "bolt" and rest:
                raise InvalidArgument(f"--from: {only_sftpgo(Path(rest.removeprefix('//')))}")
            if scheme in _SERVERS and rest.startswith("//"):
                url = f"{_SERVERS[scheme]}:{rest}"
                return await _from_server(_SERVERS[scheme], _with_password(url, password), prefix, tls_ca)
    except TimeoutError:
        raise ProviderUnavailable(f"the database took longer than {READ_SECONDS:.0f} s") from None
    if Path(source).is_file():
        kind = kind_of_file(Path(source)) or "sqlite"
        raise InvalidArgument(f"--from: {source} is a file; name its kind, for instance {kind}:{source}")
    raise InvalidArgument(f"--from: is not {FORMS}")


def _sqlite_path(rest: str) -> str:
    """The file of ``sqlite:FILE``, ``sqlite:///FILE`` (relative) and ``sqlite:////FILE`` (absolute)."""
    return rest.removeprefix("///") if rest.startswith("///") else rest


def _with_password(url: str, password: str) -> str:
    if not password:
        return url
    try:
        parts = urllib.parse.urlsplit(url)
        user, host = parts.username or "", parts.netloc.rpartition("@")[2]
    except ValueError:
        raise InvalidArgument(f"--from: is not {FORMS}") from None
    login = f"{user}:{urllib.parse.quote(password, safe='')}"
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{login}@{host}"))


async def _from_server(driver: str, url: str, prefix: str, tls_ca: str) -> Found:
    try:
        database = Database(
            ProviderOptions(driver=driver, connection_string=url, pool_size=1, root_cert=tls_ca)
        )
    except ProviderError as error:
        what = str(error).removeprefix("data_provider.connection_string: ")
        raise InvalidArgument(f"--from: {what}") from None
    database.start()
    try:
        async with database.raw() as connection:
            await _only_reading(connection, driver)
            return await _read(connection, prefix, database.target.label)
    except ProviderUnavailable as error:
        raise ProviderUnavailable(
            f"--from: {str(error).removeprefix('data provider unavailable: ')}"
        ) from None
    finally:
        await database.stop()


async def _only_reading(connection: AsyncConnection, driver: str) -> None:
    """Make the connection's transactions see one moment, and unable to write."""
    if driver == "postgresql":
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return
    mode = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
    await connection.execute(text(mode))
    await connection.commit()


async def _from_file(file: Path, prefix: str) -> Found:
    async with quietly(file) as connection:
        return await _read(connection, prefix, f"sqlite file {file.name}")


# --- tables -----------------------------------------------------------------------------------------------


async def _read(connection: AsyncConnection, prefix: str, label: str) -> Found:
    schema = await _schema(connection, prefix, label)
    notes = []
    if schema is not None and schema > NEWEST_SCHEMA:
        notes.append(
            f"{label}: schema {schema} is newer than this version of Tidegate knows; read as "
            f"{NEWEST_SCHEMA}, of 2.7, and columns that nobody knows close their accounts"
        )
    rows: dict[str, list[Row]] = {}
    for layout, must in layouts(schema):
        found = await _rows(connection, prefix, layout, must=must, label=label)
        if found is not None:
            rows[layout.name] = found
    try:
        dump = await asyncio.to_thread(_written, dump_of(rows, schema))
    except KeyError as error:
        raise ProviderError(
            f"{label}: is no whole database of SFTPGo: a table lacks its column {error.args[0]}"
        ) from None
    return Found(dump, tuple(notes), label)


async def _schema(connection: AsyncConnection, prefix: str, label: str) -> int | None:
    """The number of the schema; None if the database is older than such numbers.

    Raises:
        ProviderError: it is no database of SFTPGo.
    """
    name = quoted_name(prefix + VERSION_TABLE, True)
    try:
        columns = await _columns(connection, name)
    except RightMissing:
        # MySQL says the same of a table that is not there. A number that is missed would hide other tables.
        raise RightMissing(
            f"{label}: {name} cannot be read: GRANT SELECT on the whole database, for without it this "
            "looks the same as a table that is not there"
        ) from None
    if not columns:
        return None
    if "version_num" in columns:
        raise ProviderError(f"{label}: is a database of Tidegate: use dumpdata and loaddata")
    if "version" not in columns:
        raise ProviderError(f"{label}: is no database of SFTPGo: its {name} has no column version")
    query: Executable = select(column("version")).select_from(table(name))
    number = (await connection.execute(query)).scalar()
    if not isinstance(number, int) or number < 0:
        raise ProviderError(f"{label}: its table {name} is empty: SFTPGo never made its tables")
    return number


async def _columns(connection: AsyncConnection, name: str) -> dict[str, Any]:
    """As `columns_of`, and the transaction goes on whatever comes of it."""
    savepoint = await connection.begin_nested()
    try:
        return await columns_of(connection, name)
    finally:
        await savepoint.rollback()


async def _rows(
    connection: AsyncConnection, prefix: str, layout: Layout, *, must: bool, label: str
) -> list[Row] | None:
    """All rows by id; None if the table need not be there and is not."""
    name = quoted_name(prefix + layout.name, True)
    columns = await _columns(connection, name)
    if not columns:
        if not must:
            return None
        hint = "; name the installation's sql_tables_prefix by --tables-prefix" if layout is USERS else ""
        raise ProviderError(f"{label}: is no whole database of SFTPGo: there is no table {name}{hint}")
    if layout is USERS and (lacking := [one for one in NEEDED if one not in columns]):
        raise ProviderError(
            f"{label}: its table {name} has no column {', '.join(lacking)}; it is older than 0.9.4, or "
            "not of SFTPGo"
        )
    wanted = [one for one in columns if not layout.columns or one in layout.columns]
    query: Executable = (
        select(*(column(quoted_name(one, True)) for one in wanted))
        .select_from(table(name))
        .order_by(column("id"))
        .limit(MAX_ROWS + 1)
    )
    try:
        rows: list[Row] = [dict(row) for row in (await connection.execute(query)).mappings()]
    except sa.DBAPIError as error:
        if is_denied(error):
            raise RightMissing(
                f"{label}: all columns of {name} have to be read: GRANT SELECT ON {name}"
            ) from None
        raise
    if len(rows) > MAX_ROWS:
        raise ProviderError(f"{label}: the table {name} has more than {MAX_ROWS} rows")
    return rows


def _written(parts: Iterator[tuple[str, Any]]) -> BinaryIO:
    """The parts as one JSON document. Blocking.

    A column that nobody knows may hold what JSON has no word for; it is written as text.
    """
    made = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115  the caller closes it
    try:
        made.write(b"{")
        for number, (section, value) in enumerate(parts):
            made.write(f"{',' if number else ''}{json.dumps(section)}:".encode())
            if isinstance(value, Iterator):
                made.write(b"[")
                for index, document in enumerate(value):
                    made.write(b"," if index else b"")
                    made.write(json.dumps(document, default=str).encode())
                made.write(b"]")
            else:
                made.write(json.dumps(value, default=str).encode())
        made.write(b"}")
        made.seek(0)
    except BaseException:
        made.close()
        raise
    return made  # type: ignore[return-value]  # it has every method of a binary stream
