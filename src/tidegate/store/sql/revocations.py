# SPDX-License-Identifier: Apache-2.0
"""Statements on what is void before its time. Each function is work for one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tidegate.errors import AlreadyExists
from tidegate.store.contract import CLAIMED, EVERYTHING
from tidegate.store.records import now_ms
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.tables import Tables


async def revoke(
    connection: AsyncConnection, tables: Tables, subject: str, times: tuple[int, int], limit: int
) -> None:
    """Add or prolong a row, and drop what has expired; see `store.contract.Provider.revoke`.

    Raises:
        AlreadyExists: another server added the same row at this moment; try again.
    """
    table = tables.revocations
    await connection.execute(delete(table).where(table.c.expires_at <= now_ms()))
    await _put(connection, tables, subject, times)
    void = ~table.c.subject.startswith(CLAIMED, autoescape=True)
    if int((await connection.execute(select(func.count()).where(void))).scalar_one()) > limit:
        await connection.execute(delete(table).where(table.c.revoked_at <= times[0], void))
        await _put(connection, tables, EVERYTHING, times)


async def claim(connection: AsyncConnection, tables: Tables, subject: str, times: tuple[int, int]) -> bool:
    """Take something that is good once; see `store.contract.Provider.claim`.

    Raises:
        AlreadyExists: another server took something of the subject at this moment; try again.
    """
    table, now, name = tables.revocations, now_ms(), f"{CLAIMED}{subject}"
    query = select(table.c.revoked_at, table.c.expires_at).where(table.c.subject == name)
    found = (await connection.execute(query.with_for_update())).first()
    if found is not None and found[0] >= times[0] and found[1] > now:
        return False
    await connection.execute(delete(table).where(table.c.expires_at <= now, table.c.subject != name))
    if found is None:
        await _put(connection, tables, name, times)
        return True
    values = {"revoked_at": times[0], "expires_at": times[1]}
    await connection.execute(update(table).where(table.c.subject == name).values(values))
    return True


async def _put(connection: AsyncConnection, tables: Tables, subject: str, times: tuple[int, int]) -> None:
    table, (at_ms, expires_ms) = tables.revocations, times
    query = select(table.c.revoked_at, table.c.expires_at).where(table.c.subject == subject)
    found = (await connection.execute(query.with_for_update())).first()
    if found is None:
        try:
            await connection.execute(
                insert(table).values(subject=subject, revoked_at=at_ms, expires_at=expires_ms)
            )
        except IntegrityError:
            raise AlreadyExists(f"{subject!r} is revoked already") from None
        return
    values = {"revoked_at": max(found[0], at_ms), "expires_at": max(found[1], expires_ms)}
    await connection.execute(update(table).where(table.c.subject == subject).values(values))


async def revoked(connection: AsyncConnection, tables: Tables, subjects: Sequence[str]) -> dict[str, int]:
    """Since when subjects are void, of those that are."""
    table = tables.revocations
    query = select(table.c.subject, table.c.revoked_at).where(
        table.c.subject.in_(subjects), table.c.expires_at > now_ms()
    )
    return {str(subject): int(at) for subject, at in await connection.execute(query)}
