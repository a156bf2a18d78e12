# SPDX-License-Identifier: Apache-2.0
"""The columns of somebody else's table or view, learned with nothing but the right to SELECT from it.

The database's own descriptions ask for more: SHOW VIEW on MariaDB, and a list of tables hides those that may
not be read, as if they were not there.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Select, literal_column, select, table
from sqlalchemy.exc import DBAPIError

from tidegate.errors import ProviderError
from tidegate.store.sql.async_engine import AsyncConnection

_NO_TABLE: Final = frozenset({"1146", "42P01"})
_DENIED: Final = frozenset({"1142", "1143", "1044", "42501"})


class RightMissing(ProviderError):
    """The database user lacks a right; the text names it."""


def code_of(error: BaseException) -> str:
    """The database's code for an error: MySQL's number or an SQLSTATE; ``""`` if it has none."""
    origin = getattr(error, "orig", None)
    arguments = getattr(origin, "args", ())
    if arguments and isinstance(arguments[0], int):
        return str(arguments[0])  # MySQL has an SQLSTATE too, which says less
    return str(getattr(origin, "sqlstate", None) or "")


def is_denied(error: BaseException) -> bool:
    """True if the database refused for want of a right."""
    return code_of(error) in _DENIED


async def columns_of(connection: AsyncConnection, name: str) -> dict[str, Any]:
    """The columns of a table or view, in its order, each with the driver's code for its type.

    A failed question ends the transaction on PostgreSQL.

    Returns:
        nothing if there is no such table or view.

    Raises:
        RightMissing: the database user may not SELECT from it, or it is not there and this user may not
            know; MySQL does not tell the two apart.
    """
    return await connection.run_sync(_columns_of, name)


def _columns_of(connection: Connection, name: str) -> dict[str, Any]:
    query: Select[Any] = select(literal_column("*")).select_from(table(name)).where(literal_column("1") == 0)
    try:
        result = connection.execute(query)
    except DBAPIError as error:
        if code_of(error) in _NO_TABLE or "no such table" in str(error.orig):
            return {}
        if is_denied(error):
            raise RightMissing(f"the database user may not read {name!r}: GRANT SELECT ON {name}") from None
        raise
    assert result.cursor is not None
    found = {str(column[0]): column[1] for column in result.cursor.description or ()}
    result.close()
    return found
