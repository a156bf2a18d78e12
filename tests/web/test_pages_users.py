# SPDX-License-Identifier: Apache-2.0
"""The pages about accounts: list, search, form, two people at once, and what each permission opens."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.accounts import ED25519 as KEY_LINE
from tests.support.browser import BASE, Browser, browser, fields_of
from tests.support.live_connections import connect
from tests.support.web_world import PASSWORD, WebWorld, web_world

from tidegate.accounts.keys import fingerprint
from tidegate.model import Account, StorageConfig
from tidegate.web.admin.registry import all_pages

EVIL = "<img src=x onerror=alert(1)>\"'&"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def add(world: WebWorld, name: str, **more: object) -> None:
    (await world.client.post("/api/v2/users", json=world.user(name, **more))).raise_for_status()


async def stored(world: WebWorld, name: str) -> Account:
    account = await world.app.provider.user(name)
    assert account is not None
    return account


async def test_nobody_yet_teaches_how_the_first_comes(inside: Browser) -> None:
    page = await inside.get("/users")
    assert "No account yet" in page.text
    assert "tidegate user add NAME" in page.text


async def test_a_user_is_added_with_a_name_and_a_key(world: WebWorld, inside: Browser) -> None:
    page = await inside.get("/new-user")
    sent = {**fields_of(page), "username": "mara", "new_keys": KEY_LINE, "password": ""}
    done = await inside.post("/new-user", **sent)
    assert (done.status, done.location) == (303, f"{BASE}/users/mara"), [one.text for one in done.all("p")]
    page = await inside.get("/users/mara")
    assert "mara is added." in page.text
    assert fingerprint(KEY_LINE) in page.text
    account = await stored(world, "mara")
    assert (account.status, account.permissions, account.password) == (1, {"/": ("*",)}, "")
    assert account.home_dir.endswith("/mara")
    assert account.public_keys == (KEY_LINE,)
    twice = await inside.post("/new-user", **sent)
    assert (twice.status, "already exists" in twice.text) == (409, True)
    assert twice.value("username") == "mara"  # what was typed is still there


async def test_a_new_account_begins_with_the_groups_of_its_administrator(
    world: WebWorld, inside: Browser
) -> None:
    for name in ("partners", "others"):
        assert (await world.client.post("/api/v2/groups", json={"name": name})).status_code == 201
    await world.add_admin("nora", "*")
    admin = (await world.client.get("/api/v2/admins/nora")).json()
    admin["groups"] = [
        {"name": "partners", "options": {"add_to_users_as": 2}},
        {"name": "gone", "options": {"add_to_users_as": 1}},
        {"name": "others"},
    ]
    assert (await world.client.put("/api/v2/admins/nora", json=admin)).status_code == 200
    kept = (await world.client.get("/api/v2/admins/nora")).json()
    assert kept["groups"] == admin["groups"]
    await inside.post("/logout")
    assert (await inside.sign_in("nora")).status == 303

    page = await inside.get("/new-user")
    sent = {**fields_of(page), "username": "mara", "password": "Some-pass-1"}
    assert (await inside.post("/new-user", **sent)).status == 303
    assert [(use.name, use.type) for use in (await stored(world, "mara")).groups] == [
        ("partners", 2),
        ("others", 3),
    ]
    chosen = {
        **fields_of(await inside.get("/new-user")),
        "username": "nils",
        "rest": "",
        "password": "Some-pass-1",
    }
    assert (await inside.post("/new-user", **chosen)).status == 303
    assert (await stored(world, "nils")).groups == ()
    assert (await world.client.post("/api/v2/users", json=world.user("olga"))).status_code == 201
    assert (await stored(world, "olga")).groups == ()

    admin["groups"] = [{"name": "partners", "options": {"add_to_users_as": 3}}]
    refused = await world.client.put("/api/v2/admins/nora", json=admin)
    assert (refused.status_code, "groups[0].options.add_to_users_as" in refused.text) == (400, True)


async def test_an_untouched_form_changes_nothing_at_all(world: WebWorld, inside: Browser) -> None:
    document = world.user(
        "mara",
        email="m@example.com",
        quota_size=1_500_000_000,
        quota_files=7,
        expiration_date=1_900_000_123_456,
        permissions={"/": ["list", "download"], "/in": ["upload", "delete_files", "rename"], "/x": ["*"]},
        filters={
            "denied_protocols": ["FTP"],
            "allowed_ip": ["192.0.2.0/24"],
            "max_upload_file_size": 12345,
            "file_patterns": [{"path": "/", "denied_patterns": ["*.exe"]}],
            "require_password_change": True,
        },
        additional_info="line\nline",
        upload_bandwidth=5,
    )
    assert (await world.client.post("/api/v2/users", json=document)).status_code == 201
    before = await stored(world, "mara")
    page = await inside.get("/users/mara")
    done = await inside.post("/users/mara", **fields_of(page))
    assert (done.status, done.location) == (303, f"{BASE}/users/mara")
    assert "Nothing was changed." in (await inside.get("/users")).text
    assert await stored(world, "mara") == before


async def test_every_kind_of_field_is_saved(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara", public_keys=[KEY_LINE]))
    sent = fields_of(await inside.get("/users/mara"))
    sent |= {
        "email": "new@example.com",
        "space": "1.5 TB",
        "files": "1,000",
        "expires": "2027-03-31",
        "largest": "20 MiB",
        "allowed_ip": "192.0.2.0/24\r\n2001:db8::/32\r\n",
        "doors": ["SSH", "DAV"],
        "must_change": "1",
        "rename_onto": "refuse",
        "key": [],
        "sessions": "8",
        "rest": '{"file_patterns": [{"path": "/in", "allowed_patterns": ["*.csv"]}]}',
        "password": "a new and rather long password",
        "p0": ["list", "download"],
        "p0-delete": "files",
        "p0-rename": "",
        "p1001-path": "/in",
        "p1001-preset": "Drop box",
    }
    done = await inside.post("/users/mara", **sent)
    assert done.status == 303, done.text
    account = await stored(world, "mara")
    assert (account.email, account.quota_size, account.quota_files) == (
        "new@example.com",
        1_500_000_000_000,
        1000,
    )
    assert account.expiration_date == 1_806_537_600_000  # 2027-04-01T00:00:00Z
    filters = account.filters
    assert filters.max_upload_file_size == 20 * 1024 * 1024
    assert filters.allowed_ip == ("192.0.2.0/24", "2001:db8::/32")
    assert (filters.denied_protocols, filters.rename_onto) == (("FTP", "HTTP"), "refuse")
    assert filters.require_password_change and account.public_keys == () and account.max_sessions == 8
    assert filters.file_patterns[0].allowed_patterns == ("*.csv",)
    assert account.permissions == {
        "/": ("list", "download", "delete_files"),
        "/in": ("upload", "create_dirs"),
    }
    assert account.password.startswith("$")
    page = await inside.get("/users/mara")
    assert page.value("expires") == "2027-03-31"
    assert page.value("space") == "1500 GB"


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("space", "a lot", "is no size"),
        ("expires", "31.3.2027", "is no date"),
        ("files", "-1", "is no whole number"),
        ("allowed_ip", "300.1.2.3", ""),
        ("new_keys", "ssh-ed25519 nonsense", ""),
        ("rest", "{", "is not JSON"),
        ("rest", '{"nothing": 1}', "has no place for nothing"),
        ("home", "relative", ""),
        ("p0-path", "relative", ""),
    ],
)
async def test_a_mistake_stands_at_its_field_and_nothing_typed_is_lost(
    world: WebWorld, inside: Browser, field: str, value: str, text: str
) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara"))
    before = await stored(world, "mara")
    sent = fields_of(await inside.get("/users/mara"))
    again = await inside.post("/users/mara", **{**sent, "description": "typed", field: value})
    assert again.status == 400, again.text
    errors = [one for one in again.all("p") if one.attributes.get("class", "").startswith("err")]
    assert len(errors) == 1 and text in errors[0].text.replace("Is", "is", 1).replace("Has", "has", 1)
    assert again.value("description") == "typed"
    assert await stored(world, "mara") == before
    checked = await inside.post("/check-user", **{**sent, field: value, "_field": field})
    assert checked.answer.json()["error"], checked.answer.text
    fine = await inside.post("/check-user", **{**sent, "_field": field})
    assert fine.answer.json()["error"] == ""


async def test_a_pasted_key_is_shown_by_its_fingerprint_and_a_taken_name_is_told(
    world: WebWorld, inside: Browser
) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara"))
    sent = fields_of(await inside.get("/new-user"))
    key = (
        await inside.post("/check-user", **{**sent, "new_keys": KEY_LINE, "_field": "new_keys"})
    ).answer.json()
    assert key["error"] == "" and fingerprint(KEY_LINE) in key["note"]
    taken = await inside.post("/check-user", **{**sent, "username": "mara", "_field": "username"})
    assert taken.answer.json()["error"] == "That name is taken."


async def test_two_admins_do_not_undo_each_other(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara", email="old@example.com"))
    mine = fields_of(await inside.get("/users/mara"))
    async with browser(world).client as client:
        other = Browser(client)
        await other.sign_in()
        theirs = fields_of(await other.get("/users/mara"))
        done = await other.post("/users/mara", **{**theirs, "email": "theirs@example.com", "files": "5"})
        assert done.status == 303
    told = await inside.post("/users/mara", **{**mine, "email": "mine@example.com", "description": "typed"})
    assert told.status == 409
    assert "Somebody else has saved this account" in told.text
    assert "theirs@example.com" in told.text  # what both have changed is shown side by side
    assert (told.value("email"), told.value("description")) == ("mine@example.com", "typed")
    assert told.value("files") == "5"  # what only they changed is taken over
    assert (await stored(world, "mara")).email == "theirs@example.com"
    assert (await inside.post("/users/mara", **fields_of(told))).status == 303
    account = await stored(world, "mara")
    assert (account.email, account.description, account.quota_files) == ("mine@example.com", "typed", 5)


async def test_a_clone_has_everything_but_who_it_is(world: WebWorld, inside: Browser) -> None:
    document = world.user(
        "mara", quota_size=10**9, public_keys=[KEY_LINE], filters={"denied_protocols": ["FTP"]}
    )
    await world.client.post("/api/v2/users", json=document)
    page = await inside.get("/new-user?like=mara")
    assert page.value("username") == ""
    sent = {**fields_of(page), "username": "nora"}
    assert (await inside.post("/new-user", **sent)).status == 303
    account = await stored(world, "nora")
    assert (account.quota_size, account.filters.denied_protocols, account.public_keys) == (
        10**9,
        ("FTP",),
        (),
    )
    assert account.home_dir.endswith("/nora")


async def test_disable_enable_and_delete(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara"))
    await inside.get("/users")
    assert (await inside.post("/users/mara/status", status="0")).location == f"{BASE}/users"
    assert (await stored(world, "mara")).status == 0
    page = await inside.get("/users?only=disabled")
    assert "mara is disabled." in page.text and page.all("a", class_="name")
    await inside.post("/users/mara/status", status="1", back="form")
    assert (await stored(world, "mara")).status == 1
    question = await inside.get("/users/mara/delete")
    assert "The files in" in question.text
    assert (await inside.post("/users/mara/delete")).location == f"{BASE}/users"
    assert await world.app.provider.user("mara") is None
    assert (await inside.get("/users/mara")).status == 404


async def test_secrets_of_storage_are_never_shown_and_stay(world: WebWorld, inside: Browser) -> None:
    s3 = {"bucket": "b", "region": "eu-central-1", "access_key": "AK", "access_secret": "very secret"}
    document = world.user("mara", filesystem={"provider": 1, "s3config": s3})
    assert (await world.client.post("/api/v2/users", json=document)).status_code == 201
    page = await inside.get("/users/mara")
    assert "very secret" not in page.answer.text
    assert page.value("s3_bucket") == "b"
    sent = fields_of(page)
    assert (await inside.post("/users/mara", **{**sent, "s3_key_prefix": "in/"})).status == 303
    options = (await stored(world, "mara")).filesystem.options["s3config"]
    assert isinstance(options, dict)
    assert (options["key_prefix"], "secret" in str(options["access_secret"])) == ("in/", True)
    to_disk = {**fields_of(await inside.get("/users/mara")), "storage": "0"}
    assert (await inside.post("/users/mara", **to_disk)).status == 303
    assert (await stored(world, "mara")).filesystem == StorageConfig()


async def test_storage_is_tried_out_as_it_stands_in_the_form(world: WebWorld, inside: Browser) -> None:
    sent = {**fields_of(await inside.get("/new-user")), "username": "mara"}
    local = (await inside.post("/try-storage", **sent)).answer.json()
    assert local["ok"], local
    assert "nothing to connect to" in local["text"]
    closed = {
        **sent,
        "storage": "5",
        "sftp_endpoint": "127.0.0.1:1",
        "sftp_username": "u",
        "sftp_password": "p",
    }
    answer = (await inside.post("/try-storage", **closed)).answer.json()
    assert answer["ok"] is False and answer["text"]
    await world.add_admin("limited", "add_users", "edit_users", "view_users")
    async with browser(world).client as client:
        limited = Browser(client)
        await limited.sign_in("limited")
        await limited.get("/me")
        refused = (await limited.post("/try-storage", **{**closed, "_token": limited.token})).answer.json()
        assert refused["ok"] is False
        assert "may give another" in refused["text"], refused


async def test_names_from_outside_are_text(world: WebWorld, inside: Browser) -> None:
    name = "x\u202e" + EVIL
    account = Account(
        username=name,
        email=EVIL,
        description=EVIL,
        home_dir=f"/srv/{EVIL}",
        permissions={"/": ("*",), f"/{EVIL}": ("list",)},
        public_keys=(KEY_LINE.rsplit(" ", 1)[0] + f" {EVIL}",),
    )
    await world.app.provider.add_user(account)
    listed = await inside.get("/users")
    (link,) = listed.all("a", class_="name")
    assert link.text == name.replace("\u202e", "\\u202e")
    opened = await inside.get(link.attributes["href"])
    assert opened.status == 200
    for page in (listed, opened, await inside.get(f"/users?q={EVIL}")):
        assert not page.all("img")
        assert not [one for one in page.elements if any(key.startswith("on") for key in one.attributes)]
        assert "\u202e" not in page.answer.text


@pytest.mark.parametrize(
    ("permissions", "opens"),
    [
        (("view_status",), set()),
        (("view_users",), {"/users", "/users/mara"}),
        (("view_users", "add_users"), {"/users", "/users/mara", "/new-user"}),
        (("view_users", "del_users"), {"/users", "/users/mara", "/users/mara/delete"}),
    ],
)
async def test_each_permission_opens_its_pages(
    tmp_path: Path, permissions: tuple[str, ...], opens: set[str]
) -> None:
    base = str(tmp_path / "files")
    async with web_world(tmp_path, data_provider={"users_base_dir": base}) as world:
        await _opens(world, permissions, opens)


async def _opens(world: WebWorld, permissions: tuple[str, ...], opens: set[str]) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara"))
    await world.add_admin("limited", *permissions)
    async with browser(world).client as client:
        limited = Browser(client)
        await limited.sign_in("limited")
        for path in ("/users", "/users/mara", "/new-user", "/users/mara/delete"):
            page = await limited.get(path)
            assert page.status == (200 if path in opens else 403), path
            if page.status == 403:
                assert "permission" in page.text
        labels = [one.text for one in (await limited.get("/")).all("a") if one.text == "Users"]
        assert bool(labels) == ("view_users" in permissions)
        token = (await limited.get("/me")).token
        for path, values in (
            ("/users/mara", {"_before": "{}"}),
            ("/users/mara/status", {"status": "0"}),
            ("/users/mara/delete", {}),
            (
                "/new-user",
                {
                    "username": "eve",
                    "rows": "0",
                    "p0-path": "/",
                    "p0": "list",
                    "doors": "SSH",
                    "methods": "password",
                },
            ),
        ):
            if path in opens and "view_users" not in permissions:
                continue
            done = await limited.post(path, _token=token, **values)
            allowed = ("del_users" in permissions and path.endswith("/delete")) or (
                "add_users" in permissions and path == "/new-user"
            )
            assert (done.status == 303) == allowed, (path, done.text)
    if "del_users" not in permissions:
        assert (await stored(world, "mara")).status == 1


@pytest.mark.parametrize(
    "link", ["after=x", "after=WzFd", "after=WyJhIiwgMV0=", "before=%FF", "after=WzEsICJhIl0="]
)
async def test_links_that_lead_nowhere_are_refused(inside: Browser, link: str) -> None:
    assert (await inside.get(f"/users?{link}")).status == 400


async def test_50_000_accounts_are_paged_searched_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "big.db"
    async with web_world(tmp_path, data_provider={"driver": "sqlite", "name": str(path)}) as world:
        await world.client.post("/api/v2/users", json=world.user("pattern"))
        _multiply(path, 50_000)
        async with browser(world).client as client:
            inside = Browser(client)
            await inside.sign_in()
            seen: list[str] = []
            page = await inside.get("/users")
            assert "50 of 50,000 accounts" in page.text
            for _ in range(3):
                seen += [one.text for one in page.all("a", class_="name")]
                page = await inside.get(page.first("a", rel="next").attributes["href"])
            assert seen == [f"user-{number:05}" for number in range(150)]
            back = await inside.get(page.first("a", rel="prev").attributes["href"])
            assert [one.text for one in back.all("a", class_="name")] == seen[100:]
            assert [one.text for one in (await inside.get("/users?q=R-4999")).all("a", class_="name")] == [
                f"user-4999{digit}" for digit in range(10)
            ]
            last = await inside.get("/users?sort=last_login&dir=down")
            assert last.first("a", class_="name").text == "user-49999"
            # The first page has to be there within 100 ms; counted is the work of this process, so that others
            # on the machine do not matter.
            spent = []
            for _ in range(5):
                started = time.process_time()
                await inside.client.get(f"{BASE}/users")
                spent.append(time.process_time() - started)
            assert min(spent) < 0.1


def _multiply(path: Path, number: int) -> None:
    """Replace the one account of a SQLite file by many like it."""
    with sqlite3.connect(path) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(users)")]
        others = [name for name in columns if name not in ("id", "username", "last_login")]
        database.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {number - 1}) "
            f"INSERT INTO users (username, last_login, {', '.join(others)}) "
            f"SELECT printf('user-%05d', i), i, {', '.join(others)} FROM n, users WHERE username = 'pattern'"
        )
        database.execute("DELETE FROM users WHERE username = 'pattern'")
    database.close()


async def test_the_palette_finds_users_pages_and_actions(world: WebWorld, inside: Browser) -> None:
    for name in ("mara", "maria", "<b>eve"):
        await world.client.post("/api/v2/users", json=world.user(name))

    async def found(page: Browser, wish: str) -> dict[str, dict[str, str]]:
        answer = (await page.client.get(f"{BASE}/find", params={"q": wish})).json()
        return {group["title"]: {row["text"]: row["href"] for row in group["rows"]} for group in answer}

    assert (await found(inside, "mar"))["Users"].keys() == {"mara", "maria"}
    one = await found(inside, "Mara")
    assert one["About mara"] == {
        "Log": f"{BASE}/logs?user=mara",
        "Connections": f"{BASE}/connections?q=mara",
        "Why is something refused?": f"{BASE}/explain?user=mara",
    }
    assert "About <b>eve" in await found(inside, "b>e")  # a script writes it as text
    assert (await found(inside, "add a"))["Actions"]["Add a group"] == f"{BASE}/new-group"
    assert await found(inside, "@mara") == {"Users": {"mara": f"{BASE}/users/mara"}}
    assert set(await found(inside, "/us")) == {"Pages"}
    assert set(await found(inside, ">add")) == {"Actions"}
    assert set(await found(inside, "")) == {"Pages"}
    about = await found(inside, "2001:db8::7")
    assert about["About 2001:db8::7"] == {
        "Log": f"{BASE}/logs?ip=2001%3Adb8%3A%3A7",
        "Connections": f"{BASE}/connections?q=2001%3Adb8%3A%3A7",
        "May it connect?": f"{BASE}/explain/connect?ip=2001%3Adb8%3A%3A7",
        "Bans": f"{BASE}/bans?q=2001%3Adb8%3A%3A7",
    }
    await connect(world, "mara")
    assert (await found(inside, "c-mara"))["Connections"] == {"c-mara-0": f"{BASE}/connections/c-mara-0"}
    assert "Connections" not in await found(inside, "c-m")
    await world.add_admin("limited", "view_users")
    async with browser(world).client as client:
        limited = Browser(client)
        await limited.sign_in("limited")
        assert "Connections" not in await found(limited, "c-mara")
        assert (await found(limited, "192.0.2.1")).keys() <= {"Users", "Pages", "Actions"}
        assert set((await found(limited, ">"))["Actions"]) == {
            "Ask why something is refused",
            "Change your password, end sessions",
            "Set up one-time codes",
        }
        assert set((await found(limited, "mara"))["About mara"]) == {"Why is something refused?"}


def test_every_action_is_a_page_that_can_be_opened() -> None:
    found = {page.action: page.path for page in all_pages() if page.action}
    assert len(found) >= 13
    assert not [path for path in found.values() if "{" in path]
    assert not [page.path for page in all_pages() if page.action and page.show is None]
    assert {path for path in (page.path for page in all_pages()) if path.startswith("/new-")} <= set(
        found.values()
    )


async def test_an_administrator_of_a_role_knows_no_other_account(world: WebWorld) -> None:
    await world.client.post("/api/v2/roles", json={"name": "emea"})
    await world.client.post("/api/v2/users", json=world.user("theirs", role="emea"))
    await world.client.post("/api/v2/users", json=world.user("foreign"))
    admin = await world.add_admin("rolf", "view_users", "add_users", "edit_users", "del_users")
    await world.app.provider.update_admin(replace(admin, role="emea"))
    async with browser(world).client as client:
        rolf = Browser(client)
        await rolf.sign_in("rolf")
        found = (await rolf.get("/find?q=@e")).answer.json()
        assert [row["text"] for group in found for row in group["rows"]] == ["theirs"]
        listed = await rolf.get("/users")
        assert [one.text for one in listed.all("a", class_="name")] == ["theirs"]
        assert "1 account." in listed.text
        assert (await rolf.get("/users/theirs")).status == 200
        for path in ("/users/foreign", "/users/foreign/delete", "/new-user?like=foreign"):
            assert (await rolf.get(path)).status == 404
        for path in ("/users/foreign", "/users/foreign/delete", "/users/foreign/status"):
            assert (await rolf.post(path, _before="{}", email="x@example.com", status="0")).status == 404
        assert (await rolf.post("/try-storage", username="foreign")).status in (200, 404)
    assert (await stored(world, "foreign")).status == 1


@pytest.mark.parametrize(
    "field",
    [{"storage": "²"}, {"storage": "9" * 5000}, {"rest": "[" * 100_000}, {"rest": '{"groups":[1]}'}],
)
async def test_forms_that_no_page_of_ours_has_made_are_refused(
    world: WebWorld, inside: Browser, field: dict[str, str]
) -> None:
    await world.client.post("/api/v2/users", json=world.user("ana"))
    assert (await inside.post("/users/ana", _before="{}", _version="", **field)).status == 400
    checked = await inside.post("/check-user", _field=next(iter(field)), **field)
    assert (checked.status, bool(checked.answer.json()["error"])) == (200, True)
    assert (await inside.post("/try-storage", username="ana", **field)).status == 200


async def test_an_end_beyond_the_calendar_leaves_the_form_usable(world: WebWorld, inside: Browser) -> None:
    for name, end in (("ana", 2**62), ("ben", 253_402_300_800_000), ("cay", 253_402_214_399_999)):
        document = world.user(name, expiration_date=end)
        assert (await world.client.post("/api/v2/users", json=document)).status_code == 201
        page = await inside.get(f"/users/{name}")
        assert page.status == 200
        sent = {**fields_of(page), "info": "changed"}
        assert (await inside.post(f"/users/{name}", **sent)).status == 303
        assert (await stored(world, name)).expiration_date == end


async def test_no_directory_is_left_out_because_there_are_many(world: WebWorld, inside: Browser) -> None:
    """A directory whose rule is lost gets that of the one above, which may give more."""
    paths = {"/": ["*"], **{f"/{number}": ["list"] for number in range(230)}}
    made = await world.client.post("/api/v2/users", json={**world.user("ana"), "permissions": paths})
    assert made.status_code == 201
    sent = {**fields_of(await inside.get("/users/ana")), "p0-preset": "Read"}
    assert (await inside.post("/users/ana", **sent)).status == 303
    kept = (await stored(world, "ana")).permissions
    assert (kept["/"], kept["/229"], len(kept)) == (("list", "download"), ("list",), 231)
    rows = {f"p{row}-path": f"/{row}" for row in range(401)}
    refused = await inside.post(
        "/users/ana", _before="{}", _version="", rows=[str(row) for row in range(401)], **rows
    )
    assert (refused.status, "more than 400 directories" in refused.text) == (400, True)
    assert (await stored(world, "ana")).permissions == kept


async def test_several_accounts_are_disabled_enabled_and_deleted_at_once(
    world: WebWorld, inside: Browser
) -> None:
    for name in ("ana", "bob", "cem", "dora"):
        await add(world, name)
    page = await inside.get("/users?q=")
    assert [one.attributes["value"] for one in page.all("input", name="user")] == [
        "ana",
        "bob",
        "cem",
        "dora",
    ]
    back = page.value("back")
    sent = {"back": f"{BASE}/users?only=disabled", "user": ["bob", "cem", "nobody"]}
    done = await inside.post("/users-selected", verb="disable", **sent)
    assert (done.status, done.location) == (303, f"{BASE}/users?only=disabled"), done.text
    page = await inside.get("/users?only=disabled")
    assert "2 accounts are disabled. No such user: nobody." in page.text
    assert [one.text for one in page.all("a", class_="name")] == ["bob", "cem"]
    assert (await inside.post("/users-selected", verb="enable", back=back, user="bob")).status == 303
    page = await inside.get("/users")
    assert "1 account is enabled." in page.text
    assert (await stored(world, "bob")).status == 1 and (await stored(world, "cem")).status == 0

    asked = await inside.post("/users-selected", verb="delete", back=back, user=["ana", "dora"])
    assert asked.status == 200 and "Delete 2 accounts?" in asked.text and not asked.all("p", id="e-number")
    wrong = await inside.post("/users-selected", verb="delete", back=back, user=["ana", "dora"], number="3")
    assert wrong.status == 400 and "Type 2" in wrong.first("p", id="e-number").text
    done = await inside.post(
        "/users-selected", verb="delete", back="https://evil.example/", user=["ana", "dora"], number="2"
    )
    assert (done.status, done.location) == (303, f"{BASE}/")
    page = await inside.get("/users")
    assert "2 accounts are deleted; their files are still there." in page.text
    assert [one.text for one in page.all("a", class_="name")] == ["bob", "cem"]
    assert (await inside.post("/users-selected", verb="disable", back=back)).status == 303
    assert "No account is selected." in (await inside.get("/users")).text
    assert (await inside.post("/users-selected", verb="rename", back=back, user="bob")).status == 404
    gone = await inside.post("/users-selected", verb="delete", back=back, user=["bob", "nobody"])
    assert gone.status == 404 and await stored(world, "bob")


async def test_of_several_accounts_each_administrator_reaches_their_own(
    world: WebWorld, inside: Browser
) -> None:
    await world.client.post("/api/v2/roles", json={"name": "east"})
    await add(world, "mine", role="east")
    await add(world, "theirs")
    admin = {"username": "nora", "password": PASSWORD, "role": "east", "status": 1}
    permissions = ["view_users", "edit_users", "del_users", "close_conns"]
    (await world.client.post("/api/v2/admins", json={**admin, "permissions": permissions})).raise_for_status()
    async with browser(world).client as client:
        nora = Browser(client)
        await nora.sign_in("nora")
        both = {"back": f"{BASE}/users", "user": ["mine", "theirs"]}
        for verb in ("close", "disable"):
            assert (await nora.post("/users-selected", verb=verb, **both)).status == 303
            told = (await nora.get("/users")).text
            assert "1 account is dis" in told and "No such user: theirs." in told, told
        assert (await nora.post("/users-selected", verb="delete", **both)).status == 404
        refused = await nora.post("/users-selected", verb="delete", number="2", **both)
        assert refused.status == 303 and "1 account is deleted" in (await nora.get("/users")).text
    assert (await stored(world, "theirs")).status == 1
    await world.add_admin("otto", "view_users")
    async with browser(world).client as client:
        otto = Browser(client)
        await otto.sign_in("otto")
        page = await otto.get("/users")
        assert (
            "theirs" in page.text
            and not page.all("input", name="user")
            and not page.all("form", id="selected")
        )
        for verb in ("close", "disable", "enable", "delete"):
            assert (await otto.post("/users-selected", verb=verb, back="", user="theirs")).status == 403, verb
