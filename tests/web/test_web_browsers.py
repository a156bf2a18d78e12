# SPDX-License-Identifier: Apache-2.0
"""A browser that remembers a name and a password, on pages of other sites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.ports import free_port
from tests.support.web_world import PASSWORD, WebWorld, web_world

from tidegate.doors.http.origins import is_foreign

API = "/api/v2"
ROOT = ("root", PASSWORD)
EVIL: dict[str, dict[str, str]] = {
    "another origin": {"Origin": "http://evil.example"},
    "a page in a sandbox": {"Origin": "null"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "a name that begins alike": {"Origin": "http://127.0.0.1.evil.example"},
    "an old browser": {"Referer": "http://evil.example/page"},
    "a user name that looks like the host": {"Referer": "http://127.0.0.1@evil.example/"},
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "a neighbour": {"Sec-Fetch-Site": "same-site"},
    "two answers": {"Sec-Fetch-Site": "same-origin, cross-site"},
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path, httpd={"auth_user_file": "users"}, first=False) as made:
        yield made


@pytest.fixture(autouse=True)
def users(tmp_path: Path) -> None:
    from tests.support.people import CHEAP

    from tidegate.identity.passwords import hash_password

    (tmp_path / "users").write_text(f"root:{hash_password(PASSWORD, CHEAP)}\n")


def admin(name: str = "made") -> dict[str, Any]:
    return {"username": name, "password": PASSWORD, "permissions": ["*"]}


@pytest.mark.parametrize("headers", EVIL.values(), ids=EVIL)
async def test_pages_of_other_sites_change_nothing(site: WebWorld, headers: dict[str, str]):
    async with site.anonymous(auth=ROOT) as browser:
        asked = [
            await browser.post(f"{API}/admins", json=admin(), headers=headers),
            await browser.post(f"{API}/loaddata", json={"admins": [admin()]}, headers=headers),
            await browser.get(f"{API}/dumpdata", params={"output-file": "x"}, headers=headers),
            await browser.get(f"{API}/dumpdata", params={"output-data": 1}, headers=headers),
            await browser.get(f"{API}/admins", headers=headers),
        ]
        assert [answer.status_code for answer in asked] == [403] * len(asked)
        assert await site.app.provider.admins() == []
        assert not (site.home / "backups").exists()


@pytest.mark.parametrize("headers", EVIL.values(), ids=EVIL)
async def test_with_a_token_they_read_and_change_nothing(site: WebWorld, headers: dict[str, str]):
    """No page can send a token; a program that is embedded in one and sends an Origin may read."""
    boss = await site.add_admin("boss", "*")
    async with site.anonymous(headers={"Authorization": f"Bearer {site.issue(boss)}"}) as client:
        answer = await client.post(f"{API}/admins", json=admin(), headers=headers)
        assert answer.status_code == 403, answer.text
        assert answer.json()["error"] == "requests that pages of other sites make are not accepted"
        assert (await client.delete(f"{API}/users/nobody", headers=headers)).status_code == 403
        assert (await client.get(f"{API}/admins", headers=headers)).status_code == 200
    assert [one.username for one in await site.app.provider.admins()] == ["boss"]


async def test_its_own_pages_and_programs_change_what_they_may(site: WebWorld):
    own = httpx2.URL(site.url)
    for number, headers in enumerate(
        (
            {},
            {"Origin": site.url},
            {"Referer": f"{site.url}/docs"},
            {"Sec-Fetch-Site": "same-origin", "Origin": "https://name.a.proxy.took.away"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "https://files.example", "Host": "files.example"},  # a proxy ended TLS
            {"Origin": "https://files.example", "Host": "files.example:443"},
            {"Origin": f"http://{own.host}:{own.port}".upper()},
        )
    ):
        async with site.anonymous(auth=ROOT) as client:
            made = await client.post(f"{API}/admins", json=admin(f"a{number}"), headers=headers)
            assert made.status_code == 201, (headers, made.text)


async def test_a_forwarded_host_counts_from_a_trusted_proxy_alone(tmp_path: Path):

    forwarded = {"Origin": "https://files.example", "X-Forwarded-Host": "files.example"}
    for proxies, status in ((["127.0.0.1"], 201), ([], 403)):
        bindings = [{"port": free_port(), "proxy_allowed": proxies}]
        async with (
            web_world(tmp_path, httpd={"auth_user_file": "users", "bindings": bindings}, first=False) as site,
            site.anonymous(auth=ROOT) as client,
        ):
            made = await client.post(f"{API}/admins", json=admin(), headers=forwarded)
            assert made.status_code == status, made.text


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json", "text/json"],
)
async def test_bodies_have_to_say_that_they_are_json(site: WebWorld, kind: str):
    document = b'{"username":"made","password":"' + PASSWORD.encode() + b'","permissions":["*"]}'
    async with site.anonymous(auth=ROOT) as client:
        for path, body in (("/admins", document), ("/loaddata", b'{"admins":[' + document + b"]}")):
            answer = await client.post(
                f"{API}{path}", content=body, headers={"Content-Type": kind} if kind else {}
            )
            assert answer.status_code == 415, answer.text
            assert "Content-Type: application/json" in answer.json()["error"]
        assert await site.app.provider.admins() == []
        for good in ("application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"):
            name = good.replace("/", "")[:20]
            made = await client.post(
                f"{API}/admins", content=document.replace(b'"made"', f'"{name}"'.encode()),
                headers={"Content-Type": good},
            )  # fmt: skip
            assert made.status_code == 201, made.text


async def test_what_changes_by_get_needs_a_token_or_a_key(site: WebWorld):
    boss = await site.add_admin("boss", "*", allow_api_key_auth=True)
    token = {"Authorization": f"Bearer {site.issue(boss)}"}
    async with site.anonymous() as client:
        made = await client.post(
            f"{API}/apikeys", json={"name": "k", "scope": 1, "admin": "boss"}, headers=token
        )
        key = {"X-SFTPGO-API-KEY": made.json()["key"]}
        for query in ({"output-file": "x.json"}, {"output-file": "../x.json"}):
            refused = await client.get(f"{API}/dumpdata", params=query, auth=ROOT)
            assert refused.status_code == 403, refused.text
            assert "token" in refused.json()["error"]
        assert not (site.home / "backups").exists()
        assert (await client.get(f"{API}/dumpdata", params={"output-data": 1}, auth=ROOT)).status_code == 200
        for headers in (token, key):
            query = {"output-file": "x.json"}
            assert (await client.get(f"{API}/dumpdata", params=query, headers=headers)).status_code == 200
        load = {"input-file": "x.json"}
        refused = await client.get(f"{API}/loaddata", params=load, auth=ROOT)
        assert refused.status_code == 403, refused.text
        assert (await client.get(f"{API}/loaddata", params=load, headers=token)).status_code == 200


hosts = st.sampled_from(["a.example", "b.example", "[::1]", "127.0.0.1"])
ports = st.sampled_from(["", ":80", ":443", ":8080"])


@given(st.sampled_from(["http", "https"]), hosts, ports, hosts, ports)
def test_the_same_host_and_port_is_the_same_site(scheme: str, there: str, port: str, here: str, own: str):
    default = {"http": ":80", "https": ":443"}[scheme]
    foreign = is_foreign(
        [(b"host", f"{here}{own}".encode()), (b"origin", f"{scheme}://{there}{port}".encode())]
    )
    assert foreign == ((there, port or default) != (here, own or default))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_header_is_too_odd(origin: bytes, host: bytes):
    assert is_foreign([(b"origin", origin), (b"host", host)]) in (True, False)
    assert is_foreign([(b"origin", origin)])
