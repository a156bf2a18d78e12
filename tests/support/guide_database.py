# SPDX-License-Identifier: Apache-2.0
"""Databases and users made by the SQL of docs/how_to/choose-a-provider.md."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.databases import Server

from tidegate.store.factory import ProviderOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "choose-a-provider.md"
BLOCKS = dict(
    re.findall(r"^```sql\n-- ([^\n]+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
)
MAKER = {"postgresql": "a user who owns the database", "mysql": "a user who may make the tables"}
PASSWORD = "change-me"


class Place:
    """A database made as the guide says, with everything called by a name of this test's own."""

    def __init__(self, server: Server, driver: str) -> None:
        self.server, self.driver = server, driver
        self.name = f"g{uuid.uuid4().hex[:10]}"

    def options(self, suffix: str = "", **more: Any) -> ProviderOptions:
        values: dict[str, Any] = {
            "driver": self.driver,
            "host": "127.0.0.1",
            "port": self.server.port,
            "name": self.name,
            "username": self.name + suffix,
            "password": PASSWORD,
            "pool_size": 2,
        }
        return ProviderOptions(**{**values, **more})

    async def run(self, *statements: str, inside: bool = True) -> None:
        """Run statements as an administrator; `tidegate` in them becomes this place's name."""
        url = URL.create(
            "postgresql+psycopg" if self.driver == "postgresql" else "mysql+asyncmy",
            self.server.username,
            self.server.password,
            "127.0.0.1",
            self.server.port,
            self.name if inside else self.server.database,
        )
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            for several in statements:
                for statement in several.replace("tidegate", self.name).split(";\n"):
                    if statement.strip():
                        await connection.exec_driver_sql(statement.replace("%", "%%"))
        await engine.dispose()

    async def block(self, title: str, *, inside: bool = True) -> None:
        await self.run(BLOCKS[f"{self.driver}: {title}"], inside=inside)
