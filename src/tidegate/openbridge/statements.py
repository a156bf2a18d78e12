# SPDX-License-Identifier: Apache-2.0
"""Statements on the gateway's tables.

Every value is a bound parameter; names of tables and columns come from our own lists. What a column holds is
cut off by the server before it is sent, so that no row can fill the memory.
"""
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tidegate.errors import BadRecord, ProviderError
from tidegate.model import TALLY_NAMES, Tally
from tidegate.openbridge.options import (
    MAX_GROUPS,
    MAX_KEY_CHARS,
    MAX_KEYS,
    MAX_MEMBERS_CHARS,
    MAX_ROWS,
    MAX_TEXT_CHARS,
)
from tidegate.store.imports.openbridge import OpenbridgeTables, Row
from tidegate.store.imports.openbridge_tables import FLOAT, LIVE_TABLES, look_up_table
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.shape import columns_of

LOG_COLUMNS: Final = (
    "userid", "server_ip", "transfer_date", "operation", "protocol", "client_ip", "transfer_time",
    "bytes_transfer", "path_hash", "file_hash_type", "file_hash", "bucket", "file_path", "transfer_status",
    "process_status",
)  # fmt: skip
"""Columns of ftpd_log that are written; the others have defaults."""
_LIMITS: Final = {"publickey": MAX_KEY_CHARS, "members": MAX_MEMBERS_CHARS}
_NUMBERS: Final = frozenset(
    ("count", "accessed", *(f"{one}_{end}" for one in TALLY_NAMES for end in ("avail", "used")))
)
_EXACT: Final = "CONVERT(`{}` USING utf8mb4) COLLATE utf8mb4_bin = :name"
"""A name as it is written: the column's own collation may ignore case and accents."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The tables as the database user sees them.

    Attributes:
        names: by attribute of `OpenbridgeTables`, the table's own name.
        columns: by the same, the columns with the driver's code for their types.
        missing: tables that there are not.
        may: the writes that are granted, of ``count``, ``tally`` and ``log``.
        denied: for the rest, why not.
    """

    names: Mapping[str, str]
    columns: Mapping[str, Mapping[str, int]]
    missing: tuple[str, ...]
    may: frozenset[str]
    denied: Mapping[str, str]

    def has(self, table: str, column: str) -> bool:
        """True if there is such a column."""
        return column in self.columns.get(table, {})

    def key(self, table: str) -> str:
        """The column by which rows of a quota table are found: `name`, or `userid` in older ones."""
        return "name" if self.has(table, "name") else "userid"


async def shape_of(connection: AsyncConnection) -> Shape:
    """The tables, columns and rights.

    Raises:
        ProviderError: there is no table of users, or one that restricts may not be read.
    """
    names: dict[str, str] = {}
    columns: dict[str, dict[str, int]] = {}
    missing: list[str] = []
    for attribute, (candidates, wanted) in LIVE_TABLES.items():
        name, found = await look_up_table(connection, candidates)
        if not name:
            missing.append(candidates[0])
            continue
        names[attribute] = name
        columns[attribute] = {one: kind for one, kind in found.items() if one in wanted}
    try:
        log = await columns_of(connection, "ftpd_log")
    except ProviderError:
        log = dict.fromkeys(LOG_COLUMNS, 0)  # it may be written without being read
    columns["log"] = log
    may, denied = await _rights(connection, names, columns)
    return Shape(names, columns, tuple(missing), frozenset(may), denied)


async def _rights(
    connection: AsyncConnection, names: Mapping[str, str], columns: Mapping[str, Mapping[str, int]]
) -> tuple[set[str], dict[str, str]]:
    """Try statements that concern no row: only the server knows what its grants come to."""
    shape = Shape(names, columns, (), frozenset(), {})
    trials: dict[str, list[str]] = {}
    denied: dict[str, str] = {}
    if parts := _counting(shape):
        trials["count"] = [f"UPDATE `{names['user']}` SET {', '.join(parts)} WHERE userid = :name AND 1 = 0"]
    else:
        denied["count"] = f"{names['user']} has no columns count and accessed"
    if "quotatally" in names:
        key = shape.key("quotatally")
        trials["tally"] = [
            f"UPDATE ftpd_quotatally SET {_sums(shape)} WHERE 1 = 0",
            f"INSERT INTO ftpd_quotatally (`{key}`) SELECT `{key}` FROM ftpd_quotatally WHERE 1 = 0",
        ]
    else:
        denied["tally"] = "there is no table ftpd_quotatally"
    if columns["log"]:
        listed = [one for one in LOG_COLUMNS if one in columns["log"]]
        values = ", ".join("NOW()" if one == "transfer_date" else "''" for one in listed)
        trials["log"] = [
            f"INSERT INTO ftpd_log ({', '.join(f'`{one}`' for one in listed)}) SELECT {values} "  # noqa: ISC004
            f"FROM `{names['user']}` WHERE 1 = 0"
        ]
    else:
        denied["log"] = "there is no table ftpd_log"
    zero = {"name": "", "times": 0, **dict.fromkeys(TALLY_NAMES, 0)}
    may: set[str] = set()
    for what, statements in trials.items():
        try:
            for statement in statements:
                await connection.execute(text(statement), {k: zero[k] for k in zero if f":{k}" in statement})
            may.add(what)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            denied[what] = str(error.orig.args[-1] if error.orig and error.orig.args else error)[:200]
    return may, denied


def _counting(shape: Shape) -> list[str]:
    parts = ["`count` = COALESCE(`count`, 0) + :times"] if shape.has("user", "count") else []
    return [*parts, "accessed = NOW()"] if shape.has("user", "accessed") else parts


def _sums(shape: Shape) -> str:
    """Assignments that add to counters, FLOAT, signed or unsigned, and stop at zero."""
    return ", ".join(
        f"`{one}_used` = GREATEST(0e0, COALESCE(`{one}_used`, 0) + 0e0 + :{one})"
        for one in TALLY_NAMES
        if shape.has("quotatally", f"{one}_used")
    )


def recording(
    shape: Shape, logins: Mapping[str, int], lines: Sequence[Mapping[str, object]]
) -> Callable[[AsyncConnection], Awaitable[None]]:
    """Work that counts logins and writes lines of the transfer log, as far as the database user may."""

    async def record(connection: AsyncConnection) -> None:
        if logins and "count" in shape.may:
            statement = text(
                f"UPDATE `{shape.names['user']}` SET {', '.join(_counting(shape))} "
                f"WHERE userid = :name AND {_EXACT.format('userid')}"
            )
            for name, times in sorted(logins.items()):  # one order, so that two servers cannot deadlock
                await connection.execute(statement, {"name": name, "times": times})
        if lines and "log" in shape.may:
            names = [one for one in LOG_COLUMNS if one in shape.columns["log"]]
            columns, values = ", ".join(f"`{one}`" for one in names), ", ".join(f":{one}" for one in names)
            await connection.execute(
                text(f"INSERT INTO ftpd_log ({columns}) VALUES ({values})"),
                [{one: line[one] for one in names} for line in lines],
            )

    return record


def adding(shape: Shape, kind: str, name: str, change: Tally) -> Callable[[AsyncConnection], Awaitable[None]]:
    """Work that adds to the tally of a kind and name, which is made if there is none."""
    key, kinds = shape.key("quotatally"), shape.has("quotatally", "quota_type")
    where = f"`{key}` = :name AND {_EXACT.format(key)}"
    if kinds:
        where = "quota_type = :kind" + ("" if kind == "all" else f" AND {where}")
    # One row, also where two servers made one each: what is read is the sum of them.
    update = text(f"UPDATE ftpd_quotatally SET {_sums(shape)} WHERE {where} LIMIT 1")
    counters = [one for one in TALLY_NAMES if shape.has("quotatally", f"{one}_used")]
    columns = [f"`{key}`", *(["quota_type"] if kinds else []), *(f"`{one}_used`" for one in counters)]
    values = [":name", *([":kind"] if kinds else []), *(f"GREATEST(0, :{one})" for one in counters)]
    insert = text(f"INSERT INTO ftpd_quotatally ({', '.join(columns)}) VALUES ({', '.join(values)})")
    given: dict[str, object] = {"name": name, **{one: getattr(change, one) for one in counters}}
    if kinds:
        given["kind"] = kind
    exists = text(f"SELECT 1 FROM ftpd_quotatally WHERE {where} LIMIT 1")
    sought = {one: value for one, value in given.items() if f":{one}" in where}
    if ":name" not in where:
        changed = {one: value for one, value in given.items() if one != "name"}
    else:
        changed = given

    async def add(connection: AsyncConnection) -> None:
        # The number of changed rows does not tell: a row that keeps its value counts as none.
        if (await connection.execute(exists, sought)).first() is None:
            await connection.execute(insert, given)
        else:
            await connection.execute(update, changed)

    return add


async def rows_of(connection: AsyncConnection, shape: Shape, name: str) -> OpenbridgeTables:
    """The rows that concern one user but for tallies.

    Raises:
        BadRecord: a text that decides is too long, or there are too many rows.
    """
    users = await select_rows(connection, shape, "user", "userid = :name", MAX_ROWS, name=name)
    users = _exactly(users, "userid", name)
    missing = shape.missing
    if not users:
        return OpenbridgeTables(missing=missing)
    by_name = "userid = :name"
    salts = await select_rows(connection, shape, "salt", by_name, MAX_ROWS, name=name)
    keys = await select_rows(connection, shape, "userkey", by_name, MAX_KEYS, name=name)
    groups = await select_rows(
        connection,
        shape,
        "group",
        "gid = :gid OR FIND_IN_SET(:name, REPLACE(members, ' ', ''))",
        MAX_GROUPS,
        gid=str(users[0].get("gid") or ""),
        name=name,
    )
    owners = [name, *(str(row.get("groupname") or "") for row in groups)]
    limits: list[Row] = []
    if "quotalimit" in shape.names:
        key = shape.key("quotalimit")
        whole = " OR quota_type = 'all'" if shape.has("quotalimit", "quota_type") else ""
        limits = await select_rows(
            connection, shape, "quotalimit", f"`{key}` IN :owners{whole}", MAX_ROWS, owners=owners
        )
    return OpenbridgeTables(
        user=users,
        salt=_exactly(salts, "userid", name),
        userkey=_exactly(keys, "userid", name),
        group=groups,
        quotalimit=limits,
        missing=missing,
    )


async def select_rows(
    connection: AsyncConnection, shape: Shape, table: str, where: str, most: int, **values: object
) -> list[Row]:
    """At most `most` rows of a table, as `OpenbridgeTables` has them; none if there is no table.

    Raises:
        BadRecord: there are more, or a text that decides is too long.
    """
    name = shape.names.get(table)
    if name is None:
        return []
    columns = shape.columns[table]
    order = " ORDER BY id" if table == "user" and "id" in columns else ""
    listed = ", ".join(_column(one, kind) for one, kind in columns.items())
    lists = {key: value for key, value in values.items() if isinstance(value, list)}
    for key, members in lists.items():
        words = ", ".join(f":{key}{index}" for index in range(len(members)))
        where = where.replace(f":{key}", f"({words})")
        values = {k: v for k, v in values.items() if k != key}
        values |= {f"{key}{index}": member for index, member in enumerate(members)}
    statement = text(f"SELECT {listed} FROM `{name}` WHERE {where}{order} LIMIT {most + 1}")
    rows = [dict(row) for row in (await connection.execute(statement, values)).mappings()]
    if len(rows) > most:
        raise BadRecord(
            name, f"more than {most} rows concern one user" if values else f"more than {most} rows"
        )
    for row in rows:
        for one, value in row.items():
            if isinstance(value, str | bytes) and len(value) > _LIMITS.get(one, MAX_TEXT_CHARS):
                # A key that was cut off is refused by itself, the user's others stay.
                if one == "publickey":
                    row[one] = "longer than a key may be"
                else:
                    raise BadRecord(
                        f"{name}.{one}", f"longer than {_LIMITS.get(one, MAX_TEXT_CHARS)} characters"
                    )
    return list(rows)


def _column(name: str, kind: int) -> str:
    if name in _NUMBERS:
        # The server writes a FLOAT with 6 digits; as a DOUBLE it is exact.
        return f"`{name}` + 0e0 AS `{name}`" if kind == FLOAT else f"`{name}`"
    return f"LEFT(`{name}`, {_LIMITS.get(name, MAX_TEXT_CHARS) + 1}) AS `{name}`"


def _exactly(rows: list[Row], column: str, name: str) -> list[Row]:
    """The rows of a name: the database's collation may ignore case, accents and blanks at the end."""
    return [row for row in rows if row.get(column) in (name, name.encode())]


def summed(rows: list[Row]) -> list[Row]:
    """One row for each tally: two servers may have made one each at the same time."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        owner = str(row.get("name") or row.get("userid") or "")
        place = (str(row.get("quota_type") or "user"), owner)
        if (known := found.get(place)) is None:
            found[place] = dict(row)
            continue
        for one in TALLY_NAMES:
            known[f"{one}_used"] = (known.get(f"{one}_used") or 0) + (row.get(f"{one}_used") or 0)
    return list(found.values())
