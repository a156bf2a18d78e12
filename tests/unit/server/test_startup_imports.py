# SPDX-License-Identifier: Apache-2.0
"""Modules that a start loads: each heavy one that slips in costs every start, of every command."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "alembic",
    "asyncmy",
    "email_validator",
    "fastapi",
    "lmdb",
    "mako",
    "multipart",
    "psycopg",
    "pygments",
    "rich",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
    "yaml",
    "hcl2",
    "lark",
    "zeroconf",
}
"""Top-level packages that take more than 10 ms."""

SERVE = "import tidegate.cli.main, tidegate.cli.serve, tidegate.cli.provider, tidegate.server.run"
PORTABLE = "import tidegate.cli.main, tidegate.cli.portable, tidegate.server.portable"
SQLITE = (
    SERVE
    + "; from tidegate.store.factory import ProviderOptions, create_provider; import asyncio, pathlib, tempfile\n"
    "async def run():\n"
    "    with tempfile.TemporaryDirectory() as place:\n"
    "        provider = create_provider(ProviderOptions(driver='sqlite', name='x', base_dir=pathlib.Path(place)))\n"
    "        await provider.open()\n"
    "        await provider.close()\n"
    "asyncio.run(run())"
)


def loaded(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after some code."""
    show = "import sys; print(*sys.modules, sep=chr(10))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        pytest.param("import tidegate.cli.main", set(), id="any command"),
        pytest.param(SERVE, set(), id="serve, until its provider is known"),
        pytest.param(SQLITE, {"sqlalchemy"}, id="serve with a new SQLite file"),
        pytest.param(PORTABLE, set(), id="portable"),
    ],
)
def test_a_start_loads_only_what_it_needs(code: str, needed: set[str]) -> None:
    packages = {name.partition(".")[0] for name in loaded(code)}
    assert packages & HEAVY == needed


def test_the_command_itself_loads_little() -> None:
    """Help, completion and version come at once."""
    ours = {name for name in loaded("import tidegate.cli.main") if name.startswith("tidegate.")}
    assert not {
        name for name in ours if name.split(".")[1] in ("app", "doors", "vfs", "store", "identity", "web")
    }


def test_the_mapper_of_sqlalchemy_is_there_for_plugins_alone() -> None:
    provider = "import tidegate.store.sql.provider"
    names = loaded(provider)
    assert "sqlalchemy.ext.asyncio.engine" in names
    assert not {name for name in names if name.startswith(("sqlalchemy.orm", "sqlalchemy.dialects."))}
    plugin = (
        "from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine\n"
        "from sqlalchemy.ext.asyncio import result, session\n"
        "import tidegate.store.sql.async_engine as ours\n"
        "assert ours.create_async_engine is create_async_engine and session.AsyncSession is AsyncSession\n"
    )
    assert "sqlalchemy.orm" in loaded(f"{provider}\n{plugin}")
    assert "sqlalchemy.orm" in loaded(f"{plugin}{provider}")


def test_fastapi_is_loaded_without_what_no_route_of_ours_asks_for() -> None:
    names = loaded("from tidegate.server.door_table import _load_http; _load_http()")
    assert "fastapi" in names and "uvicorn.server" in names
    assert not {
        name
        for name in names
        if name.startswith(("pydantic.v1", "uvicorn.main", "uvicorn.supervisors", "multiprocessing"))
    }
    again = (
        "import pydantic.v1, uvicorn\n"
        "assert pydantic.v1.BaseModel and uvicorn.run\n"
        "from tidegate.web.api.application import build\n"
        "assert build(None).openapi()['paths']['/api/v2/version']['get']['responses']['200']['content']"
    )
    assert "pydantic.v1" in loaded(
        f"from tidegate.server.door_table import _load_http; _load_http()\n{again}"
    )
