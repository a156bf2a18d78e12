# SPDX-License-Identifier: Apache-2.0
"""Accounts that are read from the gateway's tables at each login, on a real MariaDB server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.conftest import Opened, OptionsOf
from tests.support.cut_line import CutLine
from tests.support.databases import Server
from tests.support.openbridge_world import Gateway, closed_port, gateway, rfc4716
from tests.support.running import make_key

from tidegate.abc import Credential
from tidegate.accounts.keys import key_blob
from tidegate.cluster.account_watch import AccountWatch
from tidegate.errors import LoginRefused, ProviderError, ProviderUnavailable
from tidegate.identity.passwords import HashOptions
from tidegate.identity.service import Identity, IdentityOptions
from tidegate.identity.usage_records import UsageRecords
from tidegate.model import Account, Peer, Principal, Protocol, StorageConfig, Tally, TallyLimits, UsageDelta
from tidegate.openbridge import options as bounds
from tidegate.openbridge.source import OpenbridgeAccounts
from tidegate.store.contract import Provider

SECRET = "00cd555ee93dec9c549a06b5000e890e"
PEER = Peer("c1", Protocol.SFTP, "192.0.2.7")
CHEAP = IdentityOptions(hashing=HashOptions(argon2_memory_kib=64, argon2_parallelism=1))


@pytest.fixture
async def tables(mysql_server: Server) -> AsyncIterator[Gateway]:
    async with gateway(mysql_server) as made:
        yield made


class Node:
    """One server, as far as logins and usage go."""

    def __init__(self, provider: Provider, source: OpenbridgeAccounts) -> None:
        self.provider, self.source = provider, source
        self.identity = Identity(provider, CHEAP, authenticators=[source])
        self.usage = UsageRecords(self.identity, provider, self.identity.keep_tally)

    async def login(self, name: str, secret: str = SECRET, peer: Peer = PEER) -> Account:
        found = await self.identity.authenticate(peer, name, Credential("password", secret=secret))
        assert isinstance(found, Principal)
        return found.account

    async def refused(self, name: str, secret: str = SECRET, peer: Peer = PEER) -> LoginRefused:
        with pytest.raises(LoginRefused) as caught:
            await self.login(name, secret, peer)
        return caught.value


@contextlib.asynccontextmanager
async def node(opened: Opened, options_of: OptionsOf, tables: Gateway, **more: Any) -> AsyncIterator[Node]:
    provider = await opened(options_of("memory"))
    made = Node(provider, OpenbridgeAccounts(tables.options(**more)))
    await made.identity.open()
    try:
        yield made
    finally:
        await made.identity.close()


@pytest.fixture
async def one(opened: Opened, options_of: OptionsOf, tables: Gateway) -> AsyncIterator[Node]:
    async with node(opened, options_of, tables) as made:
        yield made


async def test_the_statements_of_the_guide_count_at_the_next_login(
    tables: Gateway, one: Node, tmp_path: Path
) -> None:
    assert (await one.refused("peter")).reason == "unknown_user"
    await tables.add("peter", SECRET)
    account = await one.login("peter")
    assert (account.username, account.home_dir, account.uid, account.gid) == (
        "peter",
        "/tmp/tester",
        2001,
        2001,
    )
    assert account.additional_info == "test001"
    assert (await one.refused("peter", "wrong")).reason == "bad_credential"

    make_key(tmp_path / "key")
    blob = key_blob((tmp_path / "key.pub").read_text())
    assert not await one.identity.key_is_known(PEER, "peter", blob)
    await tables.sql(
        "INSERT INTO ftpd_userkey (userid,publickey) VALUES ('peter', :key)",
        key=rfc4716(tmp_path / "key.pub"),
    )
    assert await one.identity.key_is_known(PEER, "peter", blob)
    entered = await one.identity.authenticate(PEER, "peter", Credential("publickey", public_key=blob))
    assert isinstance(entered, Principal)

    await tables.sql("ALTER TABLE ftpd_quotalimit rename column userid to name")
    await tables.sql("CREATE INDEX users ON ftpd_user(userid) USING HASH")
    await tables.sql(
        "INSERT INTO `ftpd_quotalimit` (`name`, `quota_type`, `per_session`, `limit_type`, `bytes_in_avail`, "
        "`bytes_out_avail`, `bytes_xfer_avail`, `files_in_avail`, `files_out_avail`, `files_xfer_avail`) VALUES "
        "('peter', 'user', 'false', 'soft', 214748364800, 214748364800, 214748364800, 1000, 1000, 1000)"
    )
    whole = 214748364800
    assert (await one.login("peter")).filters.tally_limits == TallyLimits(
        limit_type="soft", per_session=False, bytes_in=whole, bytes_out=whole, bytes_xfer=whole,
        files_in=1000, files_out=1000, files_xfer=1000,
    )  # fmt: skip

    await tables.sql("UPDATE ftpd_user SET homedir='/mnt/ebs/ftpd/foobar-00022' WHERE userid='peter'")
    assert (await one.login("peter")).home_dir == "/mnt/ebs/ftpd/foobar-00022"
    await tables.sql("UPDATE ftpd_user SET status='inactive' WHERE userid='peter'")
    assert (await one.refused("peter")).reason == "disabled"
    found = await one.identity.find("peter")
    assert found is not None
    assert found.status == 0
    await tables.sql("DELETE FROM ftpd_user WHERE userid = 'peter'")
    assert (await one.refused("peter")).reason == "unknown_user"
    assert await one.identity.find("peter") is None


async def test_stored_accounts_stay_and_tables_come_first(tables: Gateway, one: Node) -> None:
    stored = await one.identity.passwords.hash("stored password")
    for name in ("stored", "both"):
        await one.provider.add_user(
            Account(username=name, password=stored, home_dir="/srv/x", permissions={"/": ("*",)})
        )
    await tables.add("both", SECRET)
    assert (await one.login("stored", "stored password")).home_dir == "/srv/x"
    assert (await one.login("both")).home_dir == "/tmp/tester"
    assert (await one.refused("both", "stored password")).reason == "bad_credential"


@pytest.mark.parametrize(
    "name",
    [
        "' OR '1'='1",
        "peter' -- ",
        'peter" OR 1=1',
        "peter\\",
        "%",
        "PETER",
        "péter",
        "peter\x00",
        "x" * 4000,
        "p" * 255,
    ],
)
async def test_no_name_means_another(tables: Gateway, one: Node, name: str) -> None:
    await tables.add("peter", SECRET)
    assert (await one.refused(name)).reason in ("unknown_user", "bad_username")
    assert await tables.scalar("SELECT COUNT(*) FROM ftpd_user") == 1


async def test_lookups_that_wait_are_bounded(
    tables: Gateway, one: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tables.add("peter", SECRET)
    monkeypatch.setattr("tidegate.openbridge.source.MAX_LOOKUPS", 1)
    results = await asyncio.gather(*(one.login("peter") for _ in range(3)), return_exceptions=True)
    assert sorted(getattr(result, "reason", "in") for result in results) == ["busy", "busy", "in"]
    results = await asyncio.gather(*(one.source.find("peter") for _ in range(2)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Account", "ProviderUnavailable"]


async def test_rows_are_used_again_where_nobody_logs_in(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    await tables.add("peter", SECRET)
    async with node(opened, options_of, tables, cache_seconds=60.0) as made:
        await made.login("peter")
        await tables.sql("UPDATE ftpd_user SET status='inactive'")
        found = await made.identity.find("peter")
        assert found is not None
        assert found.status == 1
        assert (await made.refused("peter")).reason == "disabled"
        found = await made.identity.find("peter")
        assert found is not None
        assert found.status == 0


async def test_sessions_by_certificate_are_counted_too(
    tables: Gateway, one: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.openbridge.tables.SHAPE_SECONDS", 0.0)
    await one.provider.keep_external("peter")
    await tables.add("peter", SECRET)
    await tables.grant()
    await tables.limit("peter", files_in_avail=100)
    assert one.source.served("peter") is None
    await one.identity.find("peter")  # how a certificate gets its account
    await one.usage.add_usage("peter", UsageDelta(tally=Tally(files_in=1)))
    assert await tables.scalar("SELECT files_in_used FROM ftpd_quotatally") == 1


async def test_networks_are_those_of_now(tables: Gateway, one: Node) -> None:
    await tables.add("peter", SECRET)
    await tables.sql("INSERT INTO ftpd_deny VALUES ('192.0.2.0/24', 'ALL', 'DENIED')")
    assert (await one.refused("peter")).reason == "address"
    await tables.sql("INSERT INTO ftpd_allow VALUES ('192.0.2.7', 'ALL', 'ALLOWED')")
    await one.login("peter")
    assert (await one.refused("peter", peer=Peer("c2", Protocol.SFTP, "192.0.2.8"))).reason == "address"


async def test_closed_by_default(tables: Gateway, opened: Opened, options_of: OptionsOf) -> None:
    await tables.add("peter", SECRET)
    async with node(opened, options_of, tables, closed_by_default=True) as made:
        assert (await made.refused("peter")).reason == "address"
        await tables.sql("INSERT INTO ftpd_allow VALUES ('192.0.2.', 'ALL', 'ALLOWED')")
        await made.login("peter")


async def test_tallies_are_shared_by_servers_that_may_write(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    await tables.add("peter", SECRET)
    await tables.grant()
    await tables.limit("peter", bytes_in_avail=15728640, files_in_avail=100)
    async with node(opened, options_of, tables) as first, node(opened, options_of, tables) as second:
        await first.login("peter")
        await second.login("peter")
        change = UsageDelta(upload=1000, tally=Tally(bytes_in=1000, bytes_out=7, files_in=1))
        await asyncio.gather(first.usage.add_usage("peter", change), second.usage.add_usage("peter", change))
        await first.usage.add_usage("peter", UsageDelta(tally=Tally(bytes_in=-300, files_in=-1)))
        for one in (first, second):
            assert (await one.login("peter")).tally == Tally(bytes_in=1700, files_in=1)
    rows = await tables.sql(
        "SELECT SUM(bytes_in_used), SUM(bytes_out_used), MIN(quota_type) FROM ftpd_quotatally"
    )
    assert rows == [(1700.0, 0.0, "user")]


async def test_a_tally_of_a_group_is_that_of_its_members(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    for name in ("peter", "paul"):
        await tables.add(name, SECRET)
    await tables.grant()
    await tables.sql("INSERT INTO ftpd_group (groupname, gid, members) VALUES ('ftpgroup', '2001', 'tester')")
    await tables.limit("ftpgroup", "group", files_in_avail=3)
    async with node(opened, options_of, tables) as made:
        for name in ("peter", "paul"):
            await made.login(name)
            await made.usage.add_usage(name, UsageDelta(tally=Tally(files_in=1)))
        assert (await made.login("paul")).tally == Tally(files_in=2)
    assert await tables.sql("SELECT userid, quota_type, files_in_used FROM ftpd_quotatally") == [
        ("ftpgroup", "group", 2.0)
    ]


async def test_without_grants_the_server_keeps_what_it_counts(
    tables: Gateway, one: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await tables.add("peter", SECRET)
    await tables.limit("peter", files_in_avail=100)
    await tables.sql("INSERT INTO ftpd_quotatally (`userid`, `files_in_used`) VALUES ('peter', 5)")
    await one.login("peter")
    await one.usage.add_usage("peter", UsageDelta(tally=Tally(files_in=2)))
    assert (await one.login("peter")).tally == Tally(files_in=7)
    found = await one.identity.find("peter")
    assert found is not None
    assert found.tally == Tally(files_in=7)
    assert await tables.scalar("SELECT files_in_used FROM ftpd_quotatally") == 5


async def test_rights_are_told_once(tables: Gateway, opened: Opened, options_of: OptionsOf) -> None:
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("tidegate.openbridge.source").addHandler(handler)
    await tables.add("peter", SECRET)
    try:
        async with node(opened, options_of, tables) as made:
            for _ in range(3):
                await made.login("peter")
    finally:
        logging.getLogger("tidegate.openbridge.source").removeHandler(handler)
    for what in (
        "count and accessed are not written",
        "tallies are not written",
        "transfers are not written",
    ):
        assert len([one for one in messages if what in one and "denied" in one]) == 1, messages


async def test_a_replica_that_is_down_is_done_without(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    await tables.add("peter", SECRET)
    with closed_port() as port:
        async with node(opened, options_of, tables, database={"read_host": f"127.0.0.1:{port}"}) as made:
            await made.login("peter")
            await tables.sql("UPDATE ftpd_user SET status='inactive' WHERE userid='peter'")
            assert (await made.refused("peter")).reason == "disabled"


async def test_a_database_that_is_down_refuses_logins_and_sends_nobody_away(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    with closed_port() as port:
        async with node(opened, options_of, tables, database={"port": port}) as made:
            error = await made.refused("peter")
            assert (error.reason, error.rule) == ("provider_unavailable", "identity.openbridge")
            with pytest.raises(ProviderUnavailable):
                await made.identity.find("peter")


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE ftpd_user SET uid = 0", "ftpd_user[0]"),
        ("UPDATE ftpd_user SET passwd = 'plain text'", "ftpd_user[0]"),
        ("UPDATE ftpd_user SET homedir = '/'", "ftpd_user[0]"),
        ("INSERT INTO ftpd_deny VALUES ('.example.com', 'ALL', 'DENIED')", "ftpd_deny"),
    ],
)
async def test_bad_rows_refuse_and_are_named_once(
    tables: Gateway, one: Node, caplog: pytest.LogCaptureFixture, statement: str, rule: str
) -> None:
    await tables.add("peter", SECRET)
    await one.login("peter")
    await tables.sql(statement)
    for _ in range(2):
        error = await one.refused("peter")
        assert error.reason == "provider_error"
        assert rule in error.rule
    with pytest.raises(ProviderUnavailable):  # who is connected stays
        await one.identity.find("peter")


async def test_a_bad_key_leaves_the_others(tables: Gateway, one: Node, tmp_path: Path) -> None:
    await tables.add("peter", SECRET)
    make_key(tmp_path / "key")
    for key in ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "x" * 20_000, rfc4716(tmp_path / "key.pub")):
        await tables.sql("INSERT INTO ftpd_userkey VALUES ('peter', :key)", key=key)
    assert len((await one.login("peter")).public_keys) == 1
    found = await one.source.look("peter")
    assert found is not None
    assert len(found.problems) == 2


async def test_more_rows_than_bounds_refuse(tables: Gateway, one: Node) -> None:
    await tables.add("peter", SECRET)
    values = ", ".join("('peter', 'k')" for _ in range(bounds.MAX_KEYS + 1))
    await tables.sql(f"INSERT INTO ftpd_userkey VALUES {values}")
    assert "ftpd_userkey" in (await one.refused("peter")).rule


async def test_homes_below_the_mount_are_in_the_bucket(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    homes = StorageConfig("s3", {"s3config": {"bucket": "b", "region": "r", "key_prefix": "ebs/ftpd/"}})
    more = {"homes": homes, "section": "s3config", "mount_point": "/mnt"}
    async with node(opened, options_of, tables, **more) as made:
        for name, home in (("in", "/mnt/ebs/share/foobar"), ("out", "/srv/out"), ("near", "/mnt2/x")):
            await tables.add(name, SECRET, home=home)
        inside = (await made.login("in")).filesystem
        assert inside.options["s3config"] == {"bucket": "b", "region": "r", "key_prefix": "ebs/share/foobar/"}
        assert (await made.login("out")).filesystem.kind == "local"
        assert (await made.login("near")).filesystem.kind == "local"
        await tables.add("whole", SECRET, home="/mnt")
        assert (await made.refused("whole")).reason == "provider_error"


async def test_tables_that_restrict_must_be_readable(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    await tables.sql(f"REVOKE SELECT ON {tables.name}.* FROM '{tables.user}'@'%'")
    for one in ("ftpd_user", "ftpd_salt", "ftpd_quotalimit", "ftpd_quotatally"):
        await tables.sql(f"GRANT SELECT ON {tables.name}.{one} TO '{tables.user}'@'%'")
    source = OpenbridgeAccounts(tables.options())
    try:
        with pytest.raises(ProviderError, match="ftpd_deny"):
            await source.open()
    finally:
        await source.close()


async def test_tls_is_checked(tables: Gateway, opened: Opened, options_of: OptionsOf) -> None:
    await tables.add("peter", SECRET)
    await tables.sql(f"ALTER USER '{tables.user}'@'%' REQUIRE SSL")
    plain = {"sslmode": 0}
    trusted = {"sslmode": 1, "root_cert": tables.server.certificate}
    async with node(opened, options_of, tables, database=plain) as made:
        assert (await made.refused("peter")).reason == "provider_unavailable"
    async with node(opened, options_of, tables, database={"sslmode": 1}) as made:
        assert (await made.refused("peter")).reason == "provider_unavailable"
    async with node(opened, options_of, tables, database=trusted) as made:
        await made.login("peter")


async def test_who_is_in_stays_while_the_database_is_away(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    await tables.add("peter", SECRET)
    async with (
        CutLine(tables.server.port) as line,
        node(opened, options_of, tables, database={"port": line.port}) as made,
    ):
        ended: list[str] = []
        watch = AccountWatch(lambda: ["peter"], made.identity.find, lambda name, _: ended.append(name))
        await made.login("peter")
        await watch.once()
        await line.cut()
        error = await made.refused("peter")
        assert (error.reason, error.rule) == ("provider_unavailable", "identity.openbridge")
        await watch.once()
        assert ended == []
        await line.restore()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(LoginRefused):
                    await made.login("peter")
                    break
                await asyncio.sleep(0.1)
        await tables.sql("UPDATE ftpd_user SET status='inactive'")
        await watch.once()
        assert ended == ["peter"]


async def test_a_tally_that_cannot_be_written_now_is_kept_here(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    await tables.add("peter", SECRET)
    await tables.grant()
    await tables.limit("peter", files_in_avail=100)
    async with (
        CutLine(tables.server.port) as line,
        node(opened, options_of, tables, database={"port": line.port}) as made,
    ):
        await made.login("peter")
        await made.usage.add_usage("peter", UsageDelta(tally=Tally(files_in=1)))
        await line.cut()
        await made.usage.add_usage("peter", UsageDelta(tally=Tally(files_in=2)))
        await line.restore()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(LoginRefused):
                    assert (await made.login("peter")).tally == Tally(files_in=3)
                    break
                await asyncio.sleep(0.1)
    assert await tables.scalar("SELECT files_in_used FROM ftpd_quotatally") == 1


async def test_a_grant_given_later_counts(
    tables: Gateway, one: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.openbridge.tables.SHAPE_SECONDS", 0.0)
    await tables.add("peter", SECRET)
    await tables.limit("peter", files_in_avail=100)
    await one.login("peter")
    await tables.grant()
    await one.usage.add_usage("peter", UsageDelta(tally=Tally(files_in=1)))
    assert await tables.scalar("SELECT files_in_used FROM ftpd_quotatally") == 1
    await tables.sql(f"REVOKE INSERT, UPDATE ON {tables.name}.ftpd_quotatally FROM '{tables.user}'@'%'")
    await one.usage.add_usage("peter", UsageDelta(tally=Tally(files_in=1)))
    assert (await one.login("peter")).tally == Tally(files_in=2)
    assert await tables.scalar("SELECT files_in_used FROM ftpd_quotatally") == 1


async def test_the_replica_is_asked_and_tallies_are_not_read_from_it(
    tables: Gateway, opened: Opened, options_of: OptionsOf
) -> None:
    await tables.add("peter", SECRET)
    await tables.limit("peter", files_in_avail=100)
    async with CutLine(tables.server.port) as writer, CutLine(tables.server.port) as replica:
        ports: dict[str, object] = {"port": writer.port, "read_host": f"127.0.0.1:{replica.port}"}
        async with node(opened, options_of, tables, database=ports) as made:
            assert replica.connections == 0
            await made.login("peter")
            assert replica.connections == 1
            await writer.cut()
            assert (await made.refused("peter")).reason == "provider_unavailable"


async def test_members_of_a_list_have_the_limit_of_the_group(tables: Gateway, one: Node) -> None:
    await tables.add("peter", SECRET)
    await tables.sql(
        "INSERT INTO ftpd_group (groupname, gid, members) VALUES ('others', 3000, 'paul, peter')"
    )
    await tables.sql("INSERT INTO ftpd_group (groupname, gid, members) VALUES ('near', 3001, 'peterson')")
    await tables.limit("near", "group", files_in_avail=1)
    await tables.limit("others", "group", files_in_avail=7)
    limits = (await one.login("peter")).filters.tally_limits
    assert limits is not None
    assert limits.files_in == 7
