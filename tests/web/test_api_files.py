# SPDX-License-Identifier: Apache-2.0
"""The files about the REST API that others read: made from the code, valid, good for a generated client, and run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.needs import absent
from tests.support.own_venv import python_with
from tests.support.web_world import WebWorld, web_world
from tools import api_files

from tidegate.identity.passwords import verify

REST = Path(__file__).parents[2] / "examples" / "rest"
ODD = 'a "long" and \\ boring password: it is $odd'
RUN_SECONDS = 100
MAKES_A_USER = """
import json, sys
from tidegate_rest_api_client import AuthenticatedClient
from tidegate_rest_api_client.api.users import add_user, get_user, list_users
from tidegate_rest_api_client.models import User

given = json.load(sys.stdin)
with AuthenticatedClient(base_url=given["url"], token=given["token"]) as client:
    user = User.from_dict(given["user"])
    made = add_user.sync_detailed(client=client, body=user)
    read = get_user.sync(client=client, username="made")
    print(json.dumps([made.status_code, made.parsed.username, read.to_dict()["permissions"],
                      [one.username for one in list_users.sync(client=client)]]))
"""


def tools() -> Path:
    """The interpreter of the validator, the generator and HTTPie."""
    return python_with(
        "rest-tools-1",
        "openapi-spec-validator==0.9.0",
        "openapi-python-client==0.29.1",
        "httpie==3.2.4",
    )


async def run(*words: str | Path, **options: Any) -> str:
    """A program that has to succeed; returns what it prints."""
    done = await asyncio.to_thread(
        subprocess.run, [str(word) for word in words], capture_output=True, text=True, check=False,
        timeout=RUN_SECONDS, **options,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return str(done.stdout)


@pytest.fixture
async def odd(tmp_path: Path) -> AsyncIterator[WebWorld]:
    """A server whose administrator has a password that every quoting has to get right."""
    from tests.support.people import CHEAP

    from tidegate.identity.passwords import hash_password
    from tidegate.model import Admin

    async with web_world(tmp_path, first=False) as made:
        await made.app.provider.add_admin(
            Admin(username="alice", password=hash_password(ODD, CHEAP), permissions=("*",))
        )
        yield made


def test_they_are_those_of_this_version() -> None:
    for file, text in api_files.files().items():
        assert file.read_text(encoding="utf-8") == text, f"{file.name} is out of date: make docs"


@pytest.mark.parametrize("name", ["openapi.yaml", "openapi-3.0.yaml"])
@pytest.mark.timeout(180)
async def test_the_descriptions_are_valid(name: str) -> None:
    python = await asyncio.to_thread(tools)
    assert "OK" in await run(python, "-m", "openapi_spec_validator", REST / name)


def test_3_0_says_what_3_1_says() -> None:
    new, old = (
        yaml.load((REST / name).read_text(), yaml.CSafeLoader)
        for name in ("openapi.yaml", "openapi-3.0.yaml")
    )
    assert (new["openapi"], old["openapi"]) == ("3.1.0", "3.0.3")
    assert '"null"' not in json.dumps(old)
    assert set(new["paths"]) == set(old["paths"])
    assert api_files.as_3_0({"a": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": ""}})["a"] == {
        "type": "string",
        "nullable": True,
        "default": "",
    }
    assert api_files.as_3_0({"a": {"exclusiveMinimum": 1, "const": "x"}})["a"] == {
        "minimum": 1,
        "exclusiveMinimum": True,
        "enum": ["x"],
    }


@pytest.mark.timeout(240)
async def test_a_generated_client_makes_a_user(world: WebWorld, tmp_path: Path) -> None:
    python = await asyncio.to_thread(tools)
    place = tmp_path / "client"
    words = ("-m", "openapi_python_client", "generate", "--meta", "none", "--output-path")
    # Its name for the package, without the rest of a project around it.
    await run(
        python, *words, place / "tidegate_rest_api_client", "--path", REST / "openapi.yaml", cwd=tmp_path
    )
    given = {
        "url": world.url,
        "token": await world.token(),
        "user": world.user("made", password="Made-pass-1"),
    }
    environment = {**os.environ, "PYTHONPATH": str(place)}
    answer = await run(python, "-c", MAKES_A_USER, input=json.dumps(given), env=environment)
    assert json.loads(answer) == [201, "made", {"/": ["*"]}, ["made"]]
    stored = await world.app.provider.user("made")
    assert stored is not None
    assert verify("Made-pass-1", stored.password)


def test_the_collection_has_every_call() -> None:
    collection = json.loads((REST / "tidegate.postman_collection.json").read_text(encoding="utf-8"))
    assert collection["info"]["schema"].endswith("/collection/v2.1.0/collection.json")
    calls = {
        (call["request"]["method"], call["request"]["url"]["raw"].removeprefix("{{baseUrl}}"))
        for folder in collection["item"]
        for call in folder["item"]
    }
    described = yaml.load((REST / "openapi.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)["paths"]
    assert calls == {
        (method.upper(), re.sub(r"\{([^}:]+)(:path)?\}", r":\1", path))
        for path, item in described.items()
        for method in item
    }


POWERSHELL = ["users.ps1"] if shutil.which("pwsh") else []
"""No Debian package and no registry has it: its example is run where somebody has installed it."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["curl.sh", "httpie.sh", "users.py", *POWERSHELL])
async def test_the_examples_do_what_they_say(odd: WebWorld, tmp_path: Path, name: str) -> None:
    python = await asyncio.to_thread(tools)
    program = {"curl.sh": "curl", "httpie.sh": "sh", "users.py": sys.executable, "users.ps1": "pwsh"}[name]
    if shutil.which(program) is None:
        absent(program)
    first = {"users.py": sys.executable, "users.ps1": "pwsh"}.get(name, "sh")
    environment = {
        "PATH": f"{python.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "TIDEGATE_URL": odd.url,
        "TIDEGATE_ADMIN": "alice", "TIDEGATE_PASSWORD": ODD, "TIDEGATE_HOME": str(tmp_path / "files" / "example"),
    }  # fmt: skip
    said = await run(first, REST / name, env=environment, stdin=subprocess.DEVNULL)
    for part in ("example", "User updated", "User deleted"):
        assert part in said, said
    assert await odd.app.provider.user("example") is None
    wrong = {**environment, "TIDEGATE_PASSWORD": "wrong"}
    with pytest.raises(AssertionError):
        await run(first, REST / name, env=wrong, stdin=subprocess.DEVNULL)
