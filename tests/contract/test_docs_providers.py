# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/how_to/choose-a-provider.md open real providers."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.databases import Server

from tidegate.config.load import load
from tidegate.errors import ProviderUnavailable
from tidegate.model import Account
from tidegate.server import wiring
from tidegate.store.factory import create_provider

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "choose-a-provider.md"
EXAMPLES: dict[str, dict[str, Any]] = {
    section["data_provider"]["driver"]: section["data_provider"]
    for block in re.findall(
        r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    for section in [json.loads(block)]
}


def test_every_driver_has_an_example() -> None:
    assert sorted(EXAMPLES) == ["bolt", "memory", "mysql", "postgresql", "sqlite"]


@pytest.mark.parametrize("driver", EXAMPLES)
async def test_example_opens(driver: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    section = dict(EXAMPLES[driver])
    if "host" in section:
        server: Server = request.getfixturevalue(f"{driver}_server")
        name = f"docs_{uuid.uuid4().hex[:12]}"
        scheme = "postgresql+psycopg" if driver == "postgresql" else "mysql+asyncmy"
        login = f"{server.username}:{server.password}@127.0.0.1:{server.port}/{server.database}"
        engine = create_async_engine(f"{scheme}://{login}", isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text(f"CREATE DATABASE {name}"))
        await engine.dispose()
        (tmp_path / section["password_file"]).write_text(f"{server.password}\n")
        (tmp_path / section["root_cert"]).write_bytes(Path(server.certificate).read_bytes())
        section |= {"host": "127.0.0.1", "port": server.port, "username": server.username, "name": name}
    if driver == "memory":
        (tmp_path / section["name"]).write_text(json.dumps({"users": []}))
    (tmp_path / "tidegate.json").write_text(json.dumps({"data_provider": section}))
    provider = create_provider(wiring.provider_options(load(tmp_path, "tidegate", {})))
    try:
        await provider.open()
        await provider.add_user(Account(username="acme", home_dir="/srv/acme", permissions={"/": ("list",)}))
        assert await provider.count_users() == 1
    finally:
        await provider.close()


@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
async def test_example_checks_the_certificate(
    driver: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(f"{driver}_server")
    section = EXAMPLES[driver] | {"host": "127.0.0.1", "port": server.port, "username": server.username}
    (tmp_path / section["password_file"]).write_text(f"{server.password}\n")
    other = Path(__file__).resolve().parents[1] / "data" / "other-authority.pem"
    (tmp_path / section["root_cert"]).write_bytes(other.read_bytes())
    (tmp_path / "tidegate.json").write_text(json.dumps({"data_provider": section}))
    provider = create_provider(wiring.provider_options(load(tmp_path, "tidegate", {})))
    try:
        with pytest.raises(ProviderUnavailable):
            await provider.open()
    finally:
        await provider.close()
