# SPDX-License-Identifier: Apache-2.0
"""The tables of an Openbridge gateway on a real MariaDB server, changed as its operators do: by SQL."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from tests.support.databases import Server

from tidegate.openbridge.options import OpenbridgeOptions
from tidegate.store.options import ProviderOptions

COUNTERS = ("bytes_in", "bytes_out", "bytes_xfer", "files_in", "files_out", "files_xfer")
KINDS = "quota_type enum('user','group','class','all') NOT NULL DEFAULT 'user'"
TABLES = (
    """CREATE TABLE ftpd_user (id int unsigned AUTO_INCREMENT PRIMARY KEY, userid varchar(50), passwd varchar(255),
    subscriptionid varchar(50), uid int, gid int, homedir varchar(255), status varchar(20), shell varchar(50), count int,
    accessed datetime, modified datetime)""",
    "CREATE TABLE ftpd_salt (userid varchar(50) UNIQUE, salt varchar(64))",
    "CREATE TABLE ftpd_userkey (userid varchar(50), publickey text)",
    "CREATE TABLE ftpd_group (groupname varchar(16), gid smallint, members varchar(64))",
    # As the gateway had it first: the seed renames the column.
    f"CREATE TABLE ftpd_quotalimit (userid varchar(30), {KINDS}, per_session enum('false','true'), "
    "limit_type enum('soft','hard'), " + ", ".join(f"{one}_avail bigint DEFAULT 0" for one in COUNTERS) + ")",
    f"CREATE TABLE ftpd_quotatally (userid varchar(30), {KINDS}, "
    + ", ".join(f"{one}_used float DEFAULT 0" for one in COUNTERS)
    + ")",
    "CREATE TABLE ftpd_allow (client_ip varchar(64), allowed varchar(20), options varchar(20))",
    "CREATE TABLE ftpd_deny (client_ip varchar(64), allowed varchar(20), options varchar(20))",
    # The gateway's own statement.
    """CREATE TABLE IF NOT EXISTS `ftpd_log` (`id` int(10) unsigned NOT NULL AUTO_INCREMENT, `userid` VARCHAR(50) NOT NULL,
    `server_ip` VARCHAR(64) NOT NULL, `transfer_date` DATETIME NOT NULL, `operation` VARCHAR(1024) NOT NULL DEFAULT '',
    `protocol` VARCHAR(6) NOT NULL DEFAULT '', `client_ip` VARCHAR(64) NOT NULL DEFAULT '',
    `transfer_time` FLOAT(16) unsigned NOT NULL DEFAULT '0', `bytes_transfer` BIGINT(20) unsigned NOT NULL DEFAULT '0',
    `path_hash` VARCHAR(512) NOT NULL, `file_hash_type` VARCHAR(6) NOT NULL DEFAULT '', `file_hash` VARCHAR(512) NOT NULL,
    `bucket` VARCHAR(255) NOT NULL DEFAULT '', `file_path` VARCHAR(1024) NOT NULL DEFAULT '',
    `transfer_status` VARCHAR(12) NOT NULL DEFAULT '', `process_status` TINYINT(1) NOT NULL DEFAULT '0',
    `modified` TIMESTAMP NOT NULL DEFAULT NOW(), `accessed` TIMESTAMP NOT NULL DEFAULT NOW() ON UPDATE now(),
    PRIMARY KEY (`id`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci""",
)
READING = "GRANT SELECT ON {name}.* TO '{user}'@'%'"
WRITING = (
    "GRANT UPDATE (count, accessed) ON {name}.ftpd_user TO '{user}'@'%'",
    "GRANT INSERT, UPDATE ON {name}.ftpd_quotatally TO '{user}'@'%'",
    "GRANT INSERT ON {name}.ftpd_log TO '{user}'@'%'",
)


@dataclass
class Gateway:
    """The database of one gateway, and the account that a server has there."""

    server: Server
    connection: AsyncConnection
    name: str
    user: str
    password: str

    async def sql(self, statement: str, **values: object) -> list[Any]:
        """Run one statement as the operator."""
        result = await self.connection.execute(text(statement), values)
        rows = list(result.all()) if result.returns_rows else []
        await self.connection.commit()
        return rows

    async def scalar(self, statement: str, **values: object) -> Any:
        """The first column of the first row."""
        return (await self.sql(statement, **values))[0][0]

    async def add(
        self, name: str, password: str, *, home: str = "/tmp/tester", gid: int = 2001, uid: int = 2001
    ) -> None:
        """Make a user by the statements of the gateway's guide."""
        salt = secrets.token_hex(32)
        digest = hashlib.sha256((salt + password).encode()).hexdigest()
        await self.sql("SET SESSION sql_mode = ''")  # the guide's statement gives texts for numbers and dates
        await self.sql(
            "INSERT IGNORE INTO ftpd_user (id, userid, passwd, subscriptionid, uid, gid, homedir, status, shell, "
            "count, accessed, modified) VALUES ('', :name, :digest, 'test001', :uid, :gid, :home, 'active', "
            "'/sbin/nologin', 0, '', '')",
            name=name, digest=digest, home=home, gid=gid, uid=uid,
        )  # fmt: skip
        await self.sql(
            "INSERT INTO ftpd_salt (userid,salt) VALUES (:name, :salt) ON DUPLICATE KEY UPDATE salt=:salt",
            name=name, salt=salt,
        )  # fmt: skip

    async def grant(self) -> None:
        """Let the server write back."""
        for one in WRITING:
            await self.sql(one.format(name=self.name, user=self.user))

    async def limit(self, name: str, kind: str = "user", **columns: object) -> None:
        """A row of ftpd_quotalimit."""
        row = {"userid": name, "quota_type": kind, "per_session": "false", "limit_type": "hard", **columns}
        listed = ", ".join(f"`{one}`" for one in row)
        await self.sql(
            f"INSERT INTO ftpd_quotalimit ({listed}) VALUES ({', '.join(f':{one}' for one in row)})", **row
        )

    def database(self, **more: object) -> ProviderOptions:
        """Options that lead there."""
        values: dict[str, Any] = {
            "driver": "mysql", "name": self.name, "host": "127.0.0.1", "port": self.server.port,
            "username": self.user, "password": self.password,
        }  # fmt: skip
        return ProviderOptions(**{**values, **more})

    def options(self, *, database: dict[str, object] | None = None, **more: Any) -> OpenbridgeOptions:
        """Options of a source without a cache."""
        return OpenbridgeOptions(
            **{"database": self.database(**(database or {})), "cache_seconds": 0.0, **more}
        )

    def section(self, **more: object) -> dict[str, Any]:
        """The section of a configuration file."""
        return {
            "openbridge": {
                "host": f"127.0.0.1:{self.server.port}", "database": self.name, "username": self.user,
                "password": self.password, **more,
            }
        }  # fmt: skip


@contextlib.asynccontextmanager
async def gateway(server: Server) -> AsyncIterator[Gateway]:
    """Tables of a test's own, and a database user who may read them."""
    name, user, password = f"ob_{uuid.uuid4().hex[:12]}", f"u{uuid.uuid4().hex[:12]}", secrets.token_hex(8)
    login = f"{server.username}:{server.password}@127.0.0.1:{server.port}"
    engine = create_async_engine(f"mysql+asyncmy://{login}/{server.database}")
    async with engine.connect() as connection:
        made = Gateway(server, connection, name, user, password)
        await made.sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        await made.sql(f"USE {name}")
        for statement in TABLES:
            await made.sql(statement)
        await made.sql(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'")
        await made.sql(READING.format(name=name, user=user))
        try:
            yield made
        finally:
            await connection.rollback()
            await made.sql(f"DROP DATABASE {name}")
            await made.sql(f"DROP USER '{user}'@'%'")
    await engine.dispose()


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections for as long as this holds it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def rfc4716(public: Path) -> str:
    """A public key as ``ssh-keygen -e`` writes it."""
    import subprocess

    done = subprocess.run(
        ["ssh-keygen", "-e", "-f", str(public)], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout
