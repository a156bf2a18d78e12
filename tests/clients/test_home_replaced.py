# SPDX-License-Identifier: Apache-2.0
"""A home that is replaced while the server runs, as by a last sync before a switch, is seen at the next login."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from tests.support.running import Running, running

from tidegate.model import FolderMount


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("replaced") / "server") as started:
        yield started


@pytest.mark.parametrize("mounted", [False, True], ids=["plain", "folder"])
async def test_a_home_moved_away_and_copied_back(server: Running, mounted: bool) -> None:
    shared = server.directory / "shared"
    shared.mkdir()
    mount = FolderMount(name="shared", virtual_path="/shared", mapped_path=str(shared))
    person = server.account(**({"virtual_folders": (mount,)} if mounted else {}))
    (person.home / "before").touch()
    expected = {"before", "after", *(["shared"] if mounted else [])}

    # The first session stays open: what the account's sessions share is not given back in between.
    async with person.connect() as first, first.start_sftp_client() as early:
        await early.listdir("/")
        aside = person.home.with_name("aside")
        person.home.rename(aside)
        shutil.copytree(aside, person.home)
        (person.home / "after").touch()
        for _ in range(3):
            async with person.connect() as second, second.start_sftp_client() as sftp:
                assert {name for name in await sftp.listdir("/") if name not in (".", "..")} == expected
                async with sftp.open("/after", "rb") as file:
                    assert await file.read() == b""
