# SPDX-License-Identifier: Apache-2.0
"""Each permission of an administrator against each route: only the one that the route needs opens it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
from tests.support.ports import free_port
from tests.support.web_world import WebWorld, web_world

from tidegate.store.validate import ADMIN_PERMISSIONS
from tidegate.web.api.application import BASE

ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/version"): "",
    ("GET", "/logout"): "",
    ("GET", "/admin/profile"): "",
    ("PUT", "/admin/profile"): "",
    ("PUT", "/admin/changepwd"): "",
    ("GET", "/admin/totp/configs"): "",
    ("POST", "/admin/totp/generate"): "",
    ("POST", "/admin/totp/validate"): "",
    ("POST", "/admin/totp/save"): "",
    ("GET", "/admin/2fa/recoverycodes"): "",
    ("POST", "/admin/2fa/recoverycodes"): "",
    ("PUT", "/users/{username}/2fa/disable"): "disable_mfa",
    ("PUT", "/admins/{username}/2fa/disable"): "*",
    ("GET", "/admin/passkeys"): "",
    ("PUT", "/admin/passkeys/{passkey}"): "",
    ("DELETE", "/admin/passkeys/{passkey}"): "",
    ("GET", "/admins/{username}/passkeys"): "*",
    ("DELETE", "/admins/{username}/passkeys/{passkey}"): "*",
    ("GET", "/status"): "view_status",
    ("GET", "/users"): "view_users",
    ("POST", "/users"): "add_users",
    ("GET", "/users/csv/{table}"): "add_users",
    ("POST", "/users/csv"): "add_users",
    ("GET", "/users/{username}"): "view_users",
    ("PUT", "/users/{username}"): "edit_users",
    ("DELETE", "/users/{username}"): "del_users",
    ("POST", "/users/{username}/storage-check"): "edit_users",
    ("POST", "/folders/{name}/storage-check"): "manage_folders",
    ("GET", "/explain"): "view_users",
    ("POST", "/explain"): "view_users",
    ("GET", "/explain/connect"): "view_defender",
    ("GET", "/folders"): "manage_folders",
    ("POST", "/folders"): "manage_folders",
    ("GET", "/folders/{name}"): "manage_folders",
    ("PUT", "/folders/{name}"): "manage_folders",
    ("DELETE", "/folders/{name}"): "manage_folders",
    ("GET", "/groups"): "manage_groups",
    ("POST", "/groups"): "manage_groups",
    ("GET", "/groups/{name}"): "manage_groups",
    ("PUT", "/groups/{name}"): "manage_groups",
    ("DELETE", "/groups/{name}"): "manage_groups",
    ("GET", "/roles"): "manage_roles",
    ("POST", "/roles"): "manage_roles",
    ("GET", "/roles/{name}"): "manage_roles",
    ("PUT", "/roles/{name}"): "manage_roles",
    ("DELETE", "/roles/{name}"): "manage_roles",
    ("GET", "/connections"): "view_conns",
    ("DELETE", "/connections/{connection_id}"): "close_conns",
    ("GET", "/locks"): "view_conns",
    ("DELETE", "/locks/{token}"): "close_conns",
    ("GET", "/quarantine"): "*",
    ("GET", "/quarantine/{id}"): "*",
    ("POST", "/quarantine/{id}/release"): "*",
    ("DELETE", "/quarantine/{id}"): "*",
    ("GET", "/quotas/users/scans"): "quota_scans",
    ("GET", "/quotas/folders/scans"): "quota_scans",
    ("GET", "/quotas/users/{username}/scan"): "quota_scans",
    ("GET", "/quotas/folders/{name}/scan"): "quota_scans",
    ("POST", "/quotas/users/{username}/scan"): "quota_scans",
    ("POST", "/quotas/folders/{name}/scan"): "quota_scans",
    ("DELETE", "/quotas/users/{username}/scan"): "quota_scans",
    ("DELETE", "/quotas/folders/{name}/scan"): "quota_scans",
    ("PUT", "/quotas/users/{username}/usage"): "quota_scans",
    ("PUT", "/quotas/users/{username}/transfer-usage"): "quota_scans",
    ("PUT", "/quotas/folders/{name}/usage"): "quota_scans",
    ("GET", "/storage-moves"): "edit_users",
    ("GET", "/storage-moves/users/{username}"): "edit_users",
    ("POST", "/storage-moves/users/{username}"): "edit_users",
    ("POST", "/storage-moves/users/{username}/undo"): "edit_users",
    ("POST", "/storage-moves/users/{username}/remove-old"): "edit_users",
    ("GET", "/storage-moves/folders/{name}"): "manage_folders",
    ("POST", "/storage-moves/folders/{name}"): "manage_folders",
    ("POST", "/storage-moves/folders/{name}/undo"): "manage_folders",
    ("POST", "/storage-moves/folders/{name}/remove-old"): "manage_folders",
    ("GET", "/eventactions"): "manage_event_rules",
    ("POST", "/eventactions"): "manage_event_rules",
    ("GET", "/eventactions/{name}"): "manage_event_rules",
    ("PUT", "/eventactions/{name}"): "manage_event_rules",
    ("DELETE", "/eventactions/{name}"): "manage_event_rules",
    ("GET", "/eventrules"): "manage_event_rules",
    ("POST", "/eventrules"): "manage_event_rules",
    ("GET", "/eventrules/{name}"): "manage_event_rules",
    ("PUT", "/eventrules/{name}"): "manage_event_rules",
    ("DELETE", "/eventrules/{name}"): "manage_event_rules",
    ("POST", "/eventrules/run/{name}"): "manage_event_rules",
    ("GET", "/activerules"): "manage_event_rules",
    ("GET", "/deliveries"): "manage_event_rules",
    ("POST", "/deliveries/retry"): "manage_event_rules",
    ("POST", "/deliveries/drop"): "manage_event_rules",
    ("GET", "/iplists/csv"): "manage_ip_lists",
    ("POST", "/iplists/csv"): "manage_ip_lists",
    ("GET", "/iplists/{kind}"): "manage_ip_lists",
    ("POST", "/iplists/{kind}"): "manage_ip_lists",
    ("GET", "/iplists/{kind}/{network}"): "manage_ip_lists",
    ("PUT", "/iplists/{kind}/{network}"): "manage_ip_lists",
    ("DELETE", "/iplists/{kind}/{network}"): "manage_ip_lists",
    ("GET", "/defender/hosts"): "view_defender",
    ("GET", "/defender/hosts/{host_id}"): "view_defender",
    ("DELETE", "/defender/hosts/{host_id}"): "manage_defender",
    ("GET", "/admins"): "*",
    ("POST", "/admins"): "*",
    ("GET", "/admins/{username}"): "*",
    ("PUT", "/admins/{username}"): "*",
    ("DELETE", "/admins/{username}"): "*",
    ("GET", "/apikeys"): "*",
    ("POST", "/apikeys"): "*",
    ("GET", "/apikeys/{key_id}"): "*",
    ("PUT", "/apikeys/{key_id}"): "*",
    ("DELETE", "/apikeys/{key_id}"): "*",
    ("GET", "/logs"): "view_events",
    ("GET", "/logs/csv"): "view_events",
    ("GET", "/dumpdata"): "*",
    ("GET", "/loaddata"): "*",
    ("POST", "/loaddata"): "*",
}
"""The permission that each route needs; empty: only to be an administrator. Written by hand, not taken from
the code."""

JSON = {"Content-Type": "application/json"}
OPEN = {("GET", "/token"), ("GET", "/user/token")}
"""Proves who one is by itself."""
OF_USERS = {
    ("GET", "/user/logout"),
    ("GET", "/user/totp/configs"),
    ("POST", "/user/totp/generate"),
    ("POST", "/user/totp/validate"),
    ("POST", "/user/totp/save"),
    ("GET", "/user/2fa/recoverycodes"),
    ("POST", "/user/2fa/recoverycodes"),
}
"""For tokens of users; a token of an administrator is none."""


async def _ask(client: httpx2.AsyncClient, method: str, path: str) -> int:
    # A name that nobody has and a document that is none: who may come in meets 400, 404 or an answer.
    url = BASE + re.sub(r"\{\w+\}", "nobody-of-this-name", path)
    answer = await client.request(
        method, url, content=b"" if method == "GET" else b"no document", headers=JSON
    )
    return answer.status_code


async def test_the_table_names_every_route(world: WebWorld):
    described = (await world.client.get("/openapi.json")).json()["paths"]
    found = {
        (method.upper(), path.removeprefix(BASE))
        for path, item in described.items()
        if path.startswith(BASE)
        for method in item
    }
    assert found == set(ROUTES) | OPEN | OF_USERS


async def test_a_permission_opens_its_routes_and_no_others(world: WebWorld):
    for permission in sorted(ADMIN_PERMISSIONS):
        admin = await world.add_admin(f"only {permission}", permission)
        async with world.anonymous(headers={"Authorization": f"Bearer {world.issue(admin)}"}) as client:
            opened = set()
            for method, path in OF_USERS:
                assert await _ask(client, method, path) == 401, (method, path)
            for method, path in ROUTES:
                if path == "/logout":
                    continue
                code = await _ask(client, method, path)
                assert code in (200, 400, 403, 404, 415), (permission, method, path, code)
                if code != 403:
                    opened.add((method, path))
        needed = {"", permission} if permission != "*" else set(ROUTES.values())
        assert opened == {
            route for route, needs in ROUTES.items() if needs in needed and route[1] != "/logout"
        }, permission


async def test_nothing_opens_without_a_credential(world: WebWorld):
    async with world.anonymous() as client:
        for method, path in (*ROUTES, *OPEN, *OF_USERS):
            assert await _ask(client, method, path) == 401, (method, path)


async def test_an_allow_list_counts_on_every_request(tmp_path: Path):
    from tests.support.web_world import PASSWORD

    binding = {"port": free_port(), "proxy_allowed": ["127.0.0.0/8"], "client_ip_proxy_header": "X-Real-IP"}
    async with web_world(tmp_path, httpd={"bindings": [binding], "token_validation": 1}) as world:
        await world.add_admin("near", "*", allow_list=("192.0.2.0/24",))
        async with world.anonymous(headers={"X-Real-IP": "192.0.2.9"}) as client:
            answer = await client.get(f"{BASE}/token", auth=("near", PASSWORD))
            token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            assert (await client.get(f"{BASE}/users", headers=token)).status_code == 200
            away = {**token, "X-Real-IP": "198.51.100.1"}
            assert (await client.get(f"{BASE}/users", headers=away)).status_code == 403
