# SPDX-License-Identifier: Apache-2.0
"""Database servers that are down, silent, far away or strictly encrypted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.contract.conftest import Opened, OptionsOf
from tests.support.accounts import plain_account
from tests.support.cut_line import CutLine
from tests.support.databases import Server

from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.store.contract import Snapshot, UsageDelta
from tidegate.store.factory import create_provider
from tidegate.store.sql import database as link_module
from tidegate.store.sql.engines import target_of
from tidegate.store.sql.provider import SqlProvider

SERVERS = ("postgresql", "mysql")
SECRET = "hunter2-very-secret"


@pytest.fixture(params=SERVERS)
def server_driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_down_at_start_is_said_quickly(server_driver: str, options_of: OptionsOf) -> None:
    async with CutLine(1) as line:
        port = line.port
    started = time.monotonic()

    with pytest.raises(ProviderUnavailable, match=f"{server_driver} at 127.0.0.1:{port}"):
        await create_provider(options_of(server_driver, port=port)).open()

    assert time.monotonic() - started < 5


async def test_recovers_when_the_server_does(
    server_driver: str, options_of: OptionsOf, opened: Opened
) -> None:
    options = options_of(server_driver)
    async with CutLine(options.port) as line:
        provider = await opened(replace(options, port=line.port))
        await provider.add_user(plain_account("ana"))

        await line.cut()
        for refused in (provider.check(), provider.user("ana"), provider.touch_login("ana", 1)):
            with pytest.raises(ProviderUnavailable):
                await refused
        await line.restore()

        await provider.check()
        await provider.add_usage("ana", UsageDelta(size=5))
        assert (await provider.user("ana")).used_quota_size == 5
        await provider.close()


async def test_opens_when_tried_again(server_driver: str, options_of: OptionsOf) -> None:
    options = options_of(server_driver)
    async with CutLine(options.port) as line:
        provider = create_provider(replace(options, port=line.port))
        await line.cut()
        for _ in range(2):
            with pytest.raises(ProviderUnavailable):
                await provider.open()
            with pytest.raises(ProviderUnavailable):
                await provider.user("ana")
        await line.restore()

        await provider.open()

        await provider.add_user(plain_account("ana"))
        assert await provider.count_users() == 1
        await provider.close()


async def test_silent_server_does_not_hold_callers(
    server_driver: str, options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "OPERATION_SECONDS", 0.5)
    options = options_of(server_driver)
    async with CutLine(options.port) as line:
        provider = await opened(replace(options, port=line.port))
        line.silence()
        started = time.monotonic()
        results = await asyncio.gather(*(provider.user("ana") for _ in range(4)), return_exceptions=True)
        assert all(isinstance(result, ProviderUnavailable) for result in results), results
        assert time.monotonic() - started < 2
        await line.cut()
        await line.restore()
        await provider.check()
        await provider.close()


async def test_wrong_password_is_masked(server_driver: str, options_of: OptionsOf) -> None:
    options = options_of(server_driver, password=SECRET)
    url = f"{server_driver}://tide:{SECRET}@127.0.0.1:{options.port}/{options.name}"

    for attempt in (options, replace(options, connection_string=url)):
        with pytest.raises(ProviderError) as caught:
            await create_provider(attempt).open()
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(attempt)
        assert caught.value.__suppress_context__
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("bad", [f"://{SECRET}", f"{SECRET} nonsense = ' x", f"mysql://u:{SECRET}@h:99999/x"])
def test_bad_connection_strings_are_not_quoted(server_driver: str, options_of: OptionsOf, bad: str) -> None:
    with pytest.raises(ProviderError, match="connection_string") as caught:
        create_provider(options_of(server_driver, connection_string=bad))
    assert SECRET not in str(caught.value)


async def test_missing_database_is_named(server_driver: str, options_of: OptionsOf) -> None:
    with pytest.raises(ProviderError, match=r"(?i)database.*nowhere"):
        await create_provider(options_of(server_driver, name="nowhere")).open()


# -- connection strings and TLS ------------------------------------------------------------------------------


async def test_connection_strings(server_driver: str, options_of: OptionsOf, opened: Opened) -> None:
    base = options_of(server_driver)
    login, place = f"{base.username}:{base.password}", f"127.0.0.1:{base.port}"
    strings = {
        "postgresql": [
            f"postgresql://{login}@{place}/{base.name}?sslmode=require",
            f"host=127.0.0.1 port={base.port} dbname={base.name} user={base.username} password={base.password}",
        ],
        "mysql": [
            f"mysql://{login}@{place}/{base.name}",
            f"{login}@tcp({place})/{base.name}?tls=skip-verify",
            f"{login}@tcp({place})/{base.name}?charset=utf8mb4&parseTime=true",
        ],
    }[server_driver]
    for text_form in strings:
        options = replace(base, connection_string=text_form, host="256.0.0.1", port=1, password="x", name="x")
        provider = await opened(options)
        await provider.check()
        await provider.close()


async def encrypted(provider: object) -> bool:
    assert isinstance(provider, SqlProvider)

    async def work(connection: AsyncConnection) -> bool:
        if provider._database.driver == "postgresql":
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            return bool((await connection.execute(text(query))).scalar())
        row = (await connection.execute(text("SHOW SESSION STATUS LIKE 'Ssl_cipher'"))).one()
        return bool(row[1])

    return await provider._database.read(work)


@pytest.mark.parametrize(
    ("mode", "root", "tls"),
    [(0, False, False), (1, False, True), (2, True, True), (3, True, True)],
)
async def test_sslmode_postgresql(
    mode: int, root: bool, tls: bool, *, options_of: OptionsOf, opened: Opened, postgresql_server: Server
) -> None:
    certificate = postgresql_server.certificate if root else ""
    provider = await opened(options_of("postgresql", sslmode=mode, root_cert=certificate))

    assert await encrypted(provider) is tls


@pytest.mark.parametrize(
    ("mode", "root", "tls"),
    [(0, False, False), (1, True, True), (2, False, True), (3, False, True)],
)
async def test_sslmode_mysql(
    mode: int, root: bool, tls: bool, *, options_of: OptionsOf, opened: Opened, mysql_server: Server
) -> None:
    certificate = mysql_server.certificate if root else ""
    provider = await opened(options_of("mysql", sslmode=mode, root_cert=certificate))

    assert await encrypted(provider) is tls


async def test_untrusted_certificate_is_refused(
    server_driver: str, options_of: OptionsOf, tmp_path: Path
) -> None:
    mode = {"postgresql": 3, "mysql": 1}[server_driver]
    other = tmp_path / "other.pem"
    other.write_text((Path(__file__).parent.parent / "data" / "other-authority.pem").read_text())

    with pytest.raises(ProviderError, match=r"(?i)certificate"):
        await create_provider(options_of(server_driver, sslmode=mode, root_cert=str(other))).open()


async def test_server_without_tls(options_of: OptionsOf, opened: Opened, mysql_server: Server) -> None:
    """One that hangs up on the question for TLS: an error where it is required, plain where preferred."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", mysql_server.port)
        writer.write(await there.read(4096))
        head = await reader.readexactly(4)
        # A question for TLS is a login packet that ends after 32 bytes.
        if int.from_bytes(head[:3], "little") > 32:
            back.write(head)
            for source, sink in ((reader, back), (there, writer)):
                task = asyncio.create_task(pump(source, sink))
                tasks.add(task)
        else:
            writer.close()
            back.close()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    options = options_of("mysql", port=server.sockets[0].getsockname()[1])
    try:
        with pytest.raises(ProviderUnavailable):
            await create_provider(replace(options, sslmode=2)).open()
        provider = await opened(replace(options, sslmode=3))
        assert not await encrypted(provider)
        await provider.close()
        with pytest.raises(ProviderError, match=r"(?i)access denied"):
            await create_provider(replace(options, sslmode=3, password="x")).open()
        await asyncio.gather(*tasks)
    finally:
        server.close()


# -- a replica for reads ---------------------------------------------------------------------------------------


async def test_listings_go_to_the_replica(server_driver: str, options_of: OptionsOf, opened: Opened) -> None:
    options = options_of(server_driver)
    async with CutLine(options.port) as writer, CutLine(options.port) as reader:
        options = replace(options, port=writer.port, read_host=f"127.0.0.1:{reader.port}")
        first = await opened(options)
        await first.load(Snapshot(users=[plain_account("ana")]))
        await first.close()
        provider = await opened(options)
        before = reader.connections

        assert len(await provider.users()) == 1
        assert await provider.count_users() == 1
        assert reader.connections == before + 1

        # With the writer gone, listing goes on; what decides about access does not pretend.
        await writer.cut()
        assert len(await provider.users()) == 1
        for refused in (
            provider.user("ana"),
            provider.folder("shared"),
            provider.admin("root"),
            provider.api_key("k"),
            provider.setting("x"),
        ):
            with pytest.raises(ProviderUnavailable):
                await refused
        await writer.restore()

        # With the replica gone, the writer answers.
        await reader.cut()
        assert await provider.user("ana") is not None
        assert len(await provider.users()) == 1
        await provider.close()


async def test_own_writes_are_read_from_the_writer(
    server_driver: str, options_of: OptionsOf, opened: Opened
) -> None:
    options = options_of(server_driver)
    # The line to the replica counts who comes: nobody, as long as the writer knows better.
    async with CutLine(options.port) as reader:
        provider = await opened(replace(options, read_host=f"127.0.0.1:{reader.port}"))
        await provider.add_user(plain_account("ana"))
        before = reader.connections

        assert (await provider.user("ana")).username == "ana"
        await provider.add_usage("ana", UsageDelta(size=5))
        assert (await provider.user("ana")).used_quota_size == 5
        assert len(await provider.users()) == 1
        assert await provider.user("bob") is None
        assert reader.connections == before
        assert await provider.admins() == []
        assert reader.connections == before + 1
        await provider.close()


async def test_silent_replica_is_given_up(
    options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "OPERATION_SECONDS", 1.0)
    options = options_of("postgresql")
    async with CutLine(options.port) as reader:
        provider = await opened(replace(options, read_host=f"127.0.0.1:{reader.port}"))
        await provider.check()
        reader.silence()
        started = time.monotonic()
        for _ in range(5):
            assert await provider.users() == []
        assert time.monotonic() - started < 4
        await reader.cut()
        await provider.close()


def test_read_host_forms(options_of: OptionsOf) -> None:
    for given, host, port in (
        ("10.0.0.1", "10.0.0.1", 5432),
        ("db2:6000", "db2", 6000),
        ("[::1]:6000", "::1", 6000),
        ("::1", "::1", 5432),
    ):
        options = replace(options_of("sqlite"), driver="postgresql", port=0, read_host=given)
        arguments = target_of(options, replica=True).arguments
        assert (arguments["host"], arguments["port"]) == (host, port)
