# SPDX-License-Identifier: Apache-2.0
"""Directories of the host that administrators who may not do everything can give to accounts and folders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.web_world import WebWorld, web_world

from tidegate.accounts.directories import BASE_KEY, never_given, outside_base

USERS, FOLDERS = "/api/v2/users", "/api/v2/folders"
LIMITED = ("view_users", "add_users", "edit_users", "manage_folders")


@dataclass
class Place:
    world: WebWorld
    base: Path
    config: Path
    half: httpx2.AsyncClient
    """somebody who may manage users and folders, and nothing else"""

    def user(self, name: str, **more: Any) -> dict[str, Any]:
        return {"username": name, "permissions": {"/": ["*"]}, **more}


@pytest.fixture(params=[True, False], ids=["with a base", "without a base"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    config, base = tmp_path / "etc", tmp_path / "homes"
    config.mkdir()
    base.mkdir()
    keys = {"users_base_dir": str(base)} if request.param else {}
    async with web_world(config, data_provider=keys) as world:
        admin = await world.add_admin("half", *LIMITED)
        async with world.anonymous(headers={"Authorization": f"Bearer {world.issue(admin)}"}) as half:
            yield Place(world, base if request.param else Path(), config, half)


def refused(answer: httpx2.Response, field: str, *words: str) -> None:
    assert answer.status_code == 403, answer.text
    error = answer.json()["error"]
    assert error.startswith(f"{field}: "), error
    for word in words:
        assert word in error


async def every_way(place: Place, directory: str) -> list[tuple[str, httpx2.Response]]:
    """Each request by which a directory could be given away; none is stored under a name used before."""
    for path, document in (
        (USERS, place.user("old", home_dir=str(place.config.parent / "homes" / "old"))),
        (FOLDERS, {"name": "old", "mapped_path": str(place.config.parent / "homes" / "shared")}),
    ):
        await place.world.client.post(path, json=document)
    old = place.user("old", home_dir=str(place.config.parent / "homes" / "old"))
    asked = [
        ("home_dir", await place.half.post(USERS, json=place.user("new", home_dir=directory))),
        ("home_dir", await place.half.put(f"{USERS}/old", json={**old, "home_dir": directory})),
        ("mapped_path", await place.half.post(FOLDERS, json={"name": "new", "mapped_path": directory})),
        (
            "mapped_path",
            await place.half.put(f"{FOLDERS}/old", json={"name": "old", "mapped_path": directory}),
        ),
    ]
    for name in ("old", "made on the way"):
        document = {
            **old,
            "virtual_folders": [{"name": name, "virtual_path": "/m", "mapped_path": directory}],
        }
        answer = await place.half.put(f"{USERS}/old", json=document)
        asked.append(("virtual_folders[0].mapped_path", answer))
    return asked


async def test_the_configuration_directory_is_never_given_away(place: Place):
    link = place.config.parent / "homes" / "innocent"
    link.symlink_to(place.config)
    for directory in (
        place.config,
        place.config / "x",
        place.config.parent,
        Path("/"),
        link,
        link / "x",
        Path("/proc/self/root") / str(place.config)[1:],
    ):
        for field, answer in await every_way(place, str(directory)):
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"].startswith(f"{field}: "), answer.text
    stored = await place.world.app.provider.user("old")
    assert stored is not None
    assert stored.home_dir == str(place.config.parent / "homes" / "old")
    assert [folder.name for folder in await place.world.app.provider.folders(offset=0, limit=9)] == ["old"]
    assert await place.world.app.provider.count_users() == 1


@pytest.mark.parametrize("place", [True], indirect=True)
async def test_directories_outside_the_base_are_refused(place: Place, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    way_out = place.base / "way-out"
    way_out.symlink_to(elsewhere)
    for directory in (elsewhere, place.base, f"{place.base}-not/x", "/srv/x", way_out, way_out / "x"):
        for field, answer in await every_way(place, str(directory)):
            refused(answer, field, str(place.base), BASE_KEY)
    answer = await place.half.post(USERS, json=place.user("new", home_dir=f"{place.base}/../elsewhere"))
    assert answer.status_code == 400
    assert "home_dir" in answer.json()["error"]


@pytest.mark.parametrize("place", [True], indirect=True)
async def test_directories_inside_the_base_are_accepted(place: Place):
    for field, answer in await every_way(place, f"{place.base}//team/./new/"):
        assert answer.status_code in (200, 201), (field, answer.text)
    left_out = await place.half.post(USERS, json=place.user("left-out"))
    assert left_out.status_code == 201, left_out.text
    assert left_out.json()["home_dir"] == f"{place.base}/left-out"


@pytest.mark.parametrize("place", [False], indirect=True)
async def test_without_a_base_only_who_may_do_everything_gives_out_directories(place: Place):
    for field, answer in await every_way(place, "/srv/anywhere"):
        refused(answer, field, BASE_KEY, "not set")
    added = await place.world.client.post(USERS, json=place.user("u", home_dir="/srv/anywhere"))
    assert added.status_code == 201, added.text


async def test_who_may_do_everything_gives_out_all_but_the_server_itself(place: Place):
    link = place.config.parent / "innocent"
    link.symlink_to(place.config)
    inside = str(place.config / "files" / "u")
    added = await place.world.client.post(USERS, json=place.user("u", home_dir=inside))
    assert added.status_code == 201, added.text
    assert (
        await place.world.client.post(FOLDERS, json={"name": "f", "mapped_path": "/srv/f"})
    ).status_code == 201
    for directory in (
        "/",
        place.config,
        place.config.parent,
        place.config / "files",
        place.config / "x",
        link,
    ):
        home = {"home_dir": str(directory)}
        mount = {"name": "m", "virtual_path": "/m", "mapped_path": str(directory)}
        for field, answer in (
            ("home_dir", await place.world.client.post(USERS, json=place.user("new", **home))),
            ("home_dir", await place.world.client.put(f"{USERS}/u", json={**added.json(), **home})),
            (
                "mapped_path",
                await place.world.client.post(FOLDERS, json={"name": "n", "mapped_path": str(directory)}),
            ),
            (
                "mapped_path",
                await place.world.client.put(f"{FOLDERS}/f", json={"mapped_path": str(directory)}),
            ),
            (
                "virtual_folders[0].mapped_path",
                await place.world.client.put(f"{USERS}/u", json={**added.json(), "virtual_folders": [mount]}),
            ),
        ):
            assert answer.status_code == 400, (directory, answer.text)
            assert answer.json()["error"].startswith(f"{field}: "), answer.text


async def test_folders_that_are_there_are_judged_when_they_are_mounted(place: Place):
    outside = place.config.parent / "elsewhere"
    inside = place.config.parent / "homes" / "shared"
    for name, path in (("out", outside), ("in", inside), ("link", place.config.parent / "homes" / "link")):
        assert (
            await place.world.client.post(FOLDERS, json={"name": name, "mapped_path": str(path)})
        ).status_code == 201
    (place.config.parent / "homes" / "link").symlink_to(place.config)
    home = str(place.config.parent / "homes" / "u")
    made = await place.world.client.post(USERS, json=place.user("u", home_dir=home))
    assert made.status_code == 201

    def mounting(*names: str) -> dict[str, Any]:
        mounts = [{"name": name, "virtual_path": f"/{name}"} for name in names]
        return {**place.user("u", home_dir=home), "virtual_folders": mounts}

    for name, code in (("out", 403), ("link", 400)):
        same = {**mounting(name), "username": "v", "home_dir": f"{home}-v"}
        answer = await place.half.put(f"{USERS}/u", json=mounting(name))
        assert answer.status_code == code, answer.text
        assert answer.json()["error"].startswith("virtual_folders[0].name: "), answer.text
        assert (await place.half.post(USERS, json=same)).status_code in (400, 403)
    assert (await place.world.app.provider.user("u")).virtual_folders == ()
    answer = await place.half.put(f"{USERS}/u", json=mounting("in"))
    assert answer.status_code == (200 if place.base.name else 403), answer.text
    # what somebody else mounted may stay
    assert (await place.world.client.put(f"{USERS}/u", json=mounting("out"))).status_code == 200
    changed = await place.half.put(f"{USERS}/u", json={**mounting("out"), "email": "u@example.org"})
    assert changed.status_code == 200, changed.text


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl tide"


async def test_who_may_not_give_a_place_may_not_take_over_an_account_that_has_it(place: Place):
    homes = place.config.parent / "homes"
    for name, document in {
        "far": {"home_dir": str(place.config.parent / "elsewhere")},
        "near": {"home_dir": str(homes / "near")},
        "mounting": {
            "home_dir": str(homes / "mounting"),
            "virtual_folders": [{"name": "f", "virtual_path": "/f", "mapped_path": "/srv/secret"}],
        },
    }.items():
        made = await place.world.client.post(USERS, json=place.user(name, **document))
        assert made.status_code == 201, made.text
        before = await place.world.app.provider.user(name)
        may = bool(place.base.name) and name == "near"
        for field, change in (("password", "another password"), ("public_keys", [KEY])):
            answer = await place.half.put(
                f"{USERS}/{name}", json={"permissions": {"/": ["*"]}, **document, field: change}
            )
            assert answer.status_code == (200 if may else 403), answer.text
            if not may:
                assert answer.json()["error"].startswith(f"{field}: the account has a directory")
                assert await place.world.app.provider.user(name) == before
        with_keys = {**document, "public_keys": [KEY]}
        assert (await place.world.client.put(f"{USERS}/{name}", json=with_keys)).status_code == 200
        for keys in ([KEY], []):  # keeping and taking away is no take-over
            answer = await place.half.put(f"{USERS}/{name}", json={**document, "public_keys": keys})
            assert answer.status_code == 200, answer.text


async def test_what_stays_as_it_is_may_stay(place: Place):
    """Somebody who may do everything placed it there; others still change the rest of the account."""
    outside, shared = str(place.config / "files" / "u"), str(place.config / "files" / "shared")
    mounts = [{"name": "f", "virtual_path": "/m", "mapped_path": shared}]
    made = await place.world.client.post(
        USERS, json=place.user("u", home_dir=outside, virtual_folders=mounts)
    )
    assert made.status_code == 201, made.text
    changed = await place.half.put(f"{USERS}/u", json={**made.json(), "email": "u@example.org"})
    assert changed.status_code == 200, changed.text
    folder = (await place.half.get(f"{FOLDERS}/f")).json()
    changed = await place.half.put(f"{FOLDERS}/f", json={**folder, "description": "shared"})
    assert changed.status_code == 200, changed.text
    again = await place.half.put(f"{USERS}/u", json={**made.json(), "home_dir": f"{outside}/deeper"})
    refused(again, "home_dir", BASE_KEY)


def test_a_base_inside_the_configuration_directory_is_set_aside_for_homes(tmp_path: Path):
    config = tmp_path / "var"
    homes = config / "files"
    homes.mkdir(parents=True)
    (homes / "astray").symlink_to(config)

    def why(path: Path) -> str | None:
        for links in (False, True):
            found = never_given(str(path), base=str(homes), server_dir=str(config), links=links)
            if found:
                return found
        return outside_base(str(path), base=str(homes))

    assert why(homes / "new") is None
    assert never_given(str(config / "files" / "x"), base="", server_dir=str(config)) is None
    for path in (
        homes,
        config,
        config / "id_ed25519",
        homes / "astray",
        homes / "astray" / "x",
        tmp_path,
        Path("/"),
    ):
        assert why(path) is not None, path
