# SPDX-License-Identifier: Apache-2.0
"""Encryption of connections to databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def cipher(connection: AsyncConnection) -> str:
    """The TLS cipher of a connection; empty if it has none."""
    match connection.dialect.name:
        case "postgresql":
            asked = "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            return (await connection.execute(text(asked))).scalar() or ""
        case "mysql" | "mariadb":
            row = (await connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'"))).first()
            return str(row[1]) if row else ""
        case _:
            return ""
