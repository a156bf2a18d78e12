# SPDX-License-Identifier: Apache-2.0
"""The SQL of docs/how_to/choose-a-provider.md gives exactly the rights it takes; `check` names what is missing."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.conftest import Opened
from tests.support.accounts import BCRYPT, plain_account
from tests.support.command_line import TIDEGATE
from tests.support.databases import Server, mariadb_in_lower_case
from tests.support.guide_database import BLOCKS, MAKER, PASSWORD, Place

from tidegate.errors import ProviderError
from tidegate.store.factory import create_provider, initialise, rehearse

DRIVERS = ("postgresql", "mysql")
STAFF = (
    "CREATE TABLE staff (login VARCHAR(100) PRIMARY KEY, secret VARCHAR(200), home VARCHAR(200))",
    f"INSERT INTO staff VALUES ('ana', '{BCRYPT}', '/srv/ana')",
)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def place(driver: str, request: pytest.FixtureRequest) -> Place:
    found = Place(request.getfixturevalue(f"{driver}_server"), driver)
    await found.block(MAKER[driver], inside=False)
    return found


async def test_the_rights_of_the_guide_are_enough(place: Place, opened: Opened) -> None:
    assert (await rehearse(place.options(), migrate=True)).users is None
    provider = await opened(place.options())
    await provider.add_user(plain_account("ana"))
    assert (await rehearse(place.options(), migrate=True)).users == 1

    await place.block("a server that changes no tables")
    rows = place.options("_rows")
    assert (await rehearse(rows, migrate=False)).users == 1
    server = create_provider(rows)
    await server.open(migrate=False)
    try:
        await server.add_user(plain_account("bob"))
        await server.delete_user("ana")
        assert await server.count_users() == 1
    finally:
        await server.close()


async def test_a_view_needs_nothing_but_select_on_it(place: Place, opened: Opened) -> None:
    await place.run(*STAFF, BLOCKS["view of another system's accounts"])
    await place.block("a server that reads a view")
    options = place.options("_view", users_table=f"{place.name}_accounts", manage_users=False, track_quota=0)
    assert (await rehearse(options, migrate=True)).users == 1
    provider = await opened(options)
    ana = await provider.user("ana")
    assert ana is not None
    assert (ana.password, ana.home_dir, ana.status) == (BCRYPT, "/srv/ana", 1)
    assert ana.permissions == {"/": ("list", "download")}
    assert await provider.admins() == []
    assert await provider.setting("x") is None


async def test_a_missing_right_is_named_by_check_as_at_start(place: Place) -> None:
    await place.run(*STAFF, BLOCKS["view of another system's accounts"])
    view = f"{place.name}_accounts"
    if place.driver == "mysql":
        await place.run("CREATE USER 'tidegate_low'@'%' IDENTIFIED BY 'change-me'")
        await place.run("GRANT SELECT ON tidegate.staff TO 'tidegate_low'@'%'")
    else:
        await place.run("CREATE ROLE tidegate_low LOGIN PASSWORD 'change-me'")
    low = place.options("_low")
    for options, named in (
        (low, "CREATE" if place.driver == "postgresql" else "SELECT command denied"),
        (replace(low, users_table=view, manage_users=False, track_quota=0), f"GRANT SELECT ON {view}"),
    ):
        for attempt in (rehearse(options, migrate=True), create_provider(options).open()):
            with pytest.raises(ProviderError, match=named) as caught:
                await attempt
            assert PASSWORD not in str(caught.value)


async def test_check_says_what_a_start_does(place: Place, tmp_path: Path) -> None:
    section = {
        "driver": place.driver,
        "host": "127.0.0.1",
        "port": place.server.port,
        "name": place.name,
        "username": place.name,
        "password": PASSWORD,
    }

    async def check() -> str:
        config = {"data_provider": section, "sftpd": {"bindings": []}, "httpd": {"bindings": []}}
        (tmp_path / "tidegate.json").write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            *TIDEGATE,
            "check",
            "-c",
            str(tmp_path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return (await process.communicate())[0].decode()

    told = await check()
    assert f"data provider: {place.driver} 127.0.0.1, brought up to date at the next start" in told
    assert "hold for each server by itself" in told
    assert "no problems found" in told
    section |= {"users_table": "no_such_view", "manage_users": 0, "track_quota": 0}
    assert "no_such_view" in await check()


async def test_a_right_on_rows_that_is_missing_is_named(place: Place) -> None:
    await initialise(place.options())
    await place.block("a server that changes no tables")
    await place.run(
        "REVOKE DELETE ON api_keys FROM tidegate_rows"
        if place.driver == "postgresql"
        else "REVOKE DELETE ON tidegate.* FROM 'tidegate_rows'@'%'"
    )
    with pytest.raises(ProviderError, match=r"DELETE command denied|permission denied for table api_keys"):
        await rehearse(place.options("_rows"), migrate=False)


async def test_making_the_tables_is_quiet(
    place: Place, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING)
    await initialise(place.options())
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


async def test_names_in_lower_case_only(opened: Opened) -> None:
    with mariadb_in_lower_case() as server:
        place = Place(server, "mysql")
        await place.block(MAKER["mysql"], inside=False)
        provider = await opened(place.options(sql_tables_prefix="Pre_"))
        await provider.add_user(plain_account("ana"))
        assert await provider.count_users() == 1
        await provider.close()


async def test_a_statement_too_large_for_the_server_names_the_limit(
    mysql_server: Server, opened: Opened
) -> None:
    place = Place(mysql_server, "mysql")
    await place.block(MAKER["mysql"], inside=False)
    provider = await opened(place.options(pool_size=1))
    large = replace(plain_account("ana"), description="x" * 20_000)
    await place.run("SET GLOBAL max_allowed_packet = 16384")
    try:
        again = await opened(place.options(pool_size=1))  # the limit holds for new connections
        with pytest.raises(ProviderError, match="max_allowed_packet of the server is 16384 bytes"):
            await again.add_user(large)
    finally:
        await place.run("SET GLOBAL max_allowed_packet = 16777216")
    await provider.add_user(large)
