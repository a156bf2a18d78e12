# SPDX-License-Identifier: Apache-2.0
"""The Openbridge tables on a real MariaDB server, read and imported into a real provider."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from tests.contract.conftest import Opened, OptionsOf
from tests.support.databases import Server
from tests.support.loading import apply_import

from tidegate.abc import Credential
from tidegate.accounts.keys import parse_public_key
from tidegate.errors import LoginRefused, ProviderError, ProviderUnavailable
from tidegate.identity.passwords import HashOptions
from tidegate.identity.service import Identity, IdentityOptions
from tidegate.model import Peer, Principal, Protocol, Tally, TallyLimits
from tidegate.store.imports.openbridge import parse_openbridge
from tidegate.store.imports.openbridge_tables import read_openbridge

SALT = "245f772c6e7eda0a3d09ab4a2ee55eb4a31e97c2df2fa8da0a7cf8baf2d45db0"
SECRET = "00cd555ee93dec9c549a06b5000e890e"
DIGEST = hashlib.sha256((SALT + SECRET).encode()).hexdigest()
KEY = """---- BEGIN SSH2 PUBLIC KEY ----
Comment: "tester"
AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9D
LGLU
---- END SSH2 PUBLIC KEY ----"""
USER_TABLE = """CREATE TABLE {name} (id int unsigned AUTO_INCREMENT PRIMARY KEY, userid varchar(50), passwd varchar(255),
  subscriptionid varchar(50), uid int, gid int, homedir varchar(255), status varchar(20), shell varchar(50), count int,
  accessed datetime, modified datetime)"""
COUNTERS = ("bytes_in", "bytes_out", "bytes_xfer", "files_in", "files_out", "files_xfer")


@pytest.fixture
async def database(mysql_server: Server) -> AsyncIterator[tuple[AsyncConnection, str]]:
    """A database of this test's own, and the URL to import from it."""
    name = f"ob_{uuid.uuid4().hex[:12]}"
    login = f"{mysql_server.username}:{mysql_server.password}@127.0.0.1:{mysql_server.port}"
    engine = create_async_engine(f"mysql+asyncmy://{login}/{mysql_server.database}")
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
        await connection.execute(text(f"USE {name}"))
        yield connection, f"mysql://{login}/{name}"
        await connection.execute(text(f"DROP DATABASE {name}"))
    await engine.dispose()


async def fill(connection: AsyncConnection) -> None:
    limits = ", ".join(f"{one}_avail float DEFAULT 0" for one in COUNTERS)
    tallies = ", ".join(f"{one}_used float DEFAULT 0" for one in COUNTERS)
    kinds = "quota_type enum('user','group','class','all')"
    for statement in (
        USER_TABLE.format(name="ftpd_user"),
        "CREATE TABLE ftpd_salt (userid varchar(50) UNIQUE, salt varchar(64))",
        "CREATE TABLE ftpd_userkey (userid varchar(50), publickey text)",
        "CREATE TABLE ftpd_group (groupname varchar(16), gid smallint, members varchar(16))",
        f"CREATE TABLE ftpd_quotalimit (name varchar(30), {kinds}, per_session enum('false','true'), limit_type enum('soft','hard'), {limits})",
        f"CREATE TABLE ftpd_quotatally (name varchar(30), {kinds}, {tallies})",
        "CREATE TABLE ftpd_allow (client_ip varchar(64), allowed varchar(20), options varchar(20))",
        "CREATE TABLE ftpd_deny (client_ip varchar(64), allowed varchar(20), options varchar(20))",
    ):
        await connection.execute(text(statement))
    row = {"passwd": DIGEST, "when": "2019-01-09 01:45:04"}
    for name, status in (("tester", "active"), ("sleeper", "inactive"), ("member", "active")):
        await connection.execute(
            text(
                "INSERT INTO ftpd_user (userid, passwd, subscriptionid, uid, gid, homedir, status, shell, count, accessed) "
                f"VALUES ('{name}', :passwd, 'test001', 2001, 2001, '/mnt/ebs/ftpd/{name}', '{status}', '/sbin/nologin', 2, :when)"
            ),
            row,
        )
        await connection.execute(text(f"INSERT INTO ftpd_salt VALUES ('{name}', '{SALT}')"))
    await connection.execute(text("INSERT INTO ftpd_userkey VALUES ('tester', :key)"), {"key": KEY})
    await connection.execute(text("INSERT INTO ftpd_group VALUES ('ftpgroup', 2001, 'tester')"))
    await connection.execute(
        text(
            "INSERT INTO ftpd_quotalimit VALUES ('tester', 'user', 'false', 'soft', 214748364800, 0, 0, 1000, -1, 0)"
        )
    )
    await connection.execute(
        text("INSERT INTO ftpd_quotalimit VALUES ('ftpgroup', 'group', 'false', 'hard', 0, 0, 0, 7, 0, 0)")
    )
    await connection.execute(
        text("INSERT INTO ftpd_quotatally VALUES ('tester', 'user', 15728640, 0, 0, 2, 0, 0)")
    )
    await connection.execute(text("INSERT INTO ftpd_allow VALUES ('192.0.2.7', 'ALL', 'ALLOWED')"))
    await connection.execute(text("INSERT INTO ftpd_deny VALUES ('192.0.2.0/24', 'ALL', 'DENIED')"))
    await connection.commit()


async def test_accounts_come_over_and_log_in_with_their_old_passwords(
    database: tuple[AsyncConnection, str], options_of: OptionsOf, opened: Opened
) -> None:
    connection, url = database
    await fill(connection)
    harvest = parse_openbridge(await read_openbridge(url), parse_key=parse_public_key)
    assert harvest.problems == []
    provider = await opened(options_of("sqlite"))
    rows, _ = await apply_import(provider, harvest)
    shared = ("the limit of group 'ftpgroup' was shared; here this user has it alone",)
    assert [(row.name, row.action, row.notes) for row in rows] == [
        ("ftpgroup", "add", ()),
        ("tester", "add", ()),
        ("sleeper", "add", shared),
        ("member", "add", shared),
    ]
    assert sorted(await provider.group_users("ftpgroup")) == ["member", "sleeper", "tester"]
    again, _ = await apply_import(provider, harvest)
    assert [row.action for row in again] == ["keep"] * 4

    account = await provider.user("tester")
    assert account is not None
    assert account.public_keys == (f"{parse_public_key(KEY)} imported:openbridge",)
    assert account.filters.tally_limits == TallyLimits(
        limit_type="soft", bytes_in=214748364800, files_in=1000
    )
    assert account.tally == Tally(bytes_in=15728640, files_in=2)
    assert (account.additional_info, account.last_login) == ("test001", 1546998304000)

    cheap = HashOptions(argon2_memory_kib=64, argon2_parallelism=1)
    identity = Identity(provider, IdentityOptions(hashing=cheap))
    try:
        inside = Peer("c1", Protocol.SFTP, "192.0.2.7")
        assert isinstance(
            await identity.authenticate(inside, "tester", Credential("password", secret=SECRET)), Principal
        )
        member = await identity.authenticate(inside, "member", Credential("password", secret=SECRET))
        assert isinstance(member, Principal)
        # By the group, and so changed for all of its members at once.
        assert member.account.filters.tally_limits == TallyLimits(limit_type="hard", files_in=7)
        stored = await provider.user("member")
        assert stored is not None
        assert stored.filters.tally_limits is None
        await identity.settle()
        upgraded = await provider.user("tester")
        assert upgraded is not None
        assert upgraded.password.startswith("$argon2id$")
        for ip, name, reason in (("192.0.2.8", "tester", "address"), ("192.0.2.7", "sleeper", "disabled")):
            with pytest.raises(LoginRefused, match=reason):
                await identity.authenticate(
                    Peer("c2", Protocol.SFTP, ip), name, Credential("password", secret=SECRET)
                )
    finally:
        await identity.close()


async def test_older_table_name_and_missing_tables(database: tuple[AsyncConnection, str]) -> None:
    connection, url = database
    await connection.execute(text(USER_TABLE.format(name="ftpusers")))
    await connection.execute(
        text(
            "INSERT INTO ftpusers (userid, passwd, uid, gid, homedir, status) "
            f"VALUES ('old', '{DIGEST}', 2001, 2001, '/mnt/old', 'active')"
        )
    )
    await connection.commit()
    tables = await read_openbridge(url)
    assert [row["userid"] for row in tables.user] == ["old"]
    assert "ftpd_quotalimit" in tables.missing
    assert len(tables.missing) == 7


async def test_what_cannot_be_read_is_said_without_the_password(
    database: tuple[AsyncConnection, str], mysql_server: Server
) -> None:
    connection, url = database
    with pytest.raises(ProviderError, match="the database has no table ftpd_user or ftpusers"):
        await read_openbridge(url)
    await connection.execute(text("CREATE TABLE ftpd_user (userid varchar(50), passwd varchar(64))"))
    with pytest.raises(ProviderError, match="the table ftpd_user has no column uid, gid, homedir, status"):
        await read_openbridge(url)
    with pytest.raises(ProviderUnavailable) as caught:
        await read_openbridge(url.replace(mysql_server.password, "wrong-secret"))
    assert "wrong-secret" not in str(caught.value)
    with pytest.raises(ProviderUnavailable) as caught:
        await read_openbridge("mysql://tide:hidden-secret@127.0.0.1:1/x")
    assert "hidden-secret" not in str(caught.value)
