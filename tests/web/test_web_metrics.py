# SPDX-License-Identifier: Apache-2.0
"""Metrics and health of a running server, as monitoring reads them."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from tests.support.certificates import certificate
from tests.support.command_line import process
from tests.support.people import CHEAP
from tests.support.ports import free_port
from tests.support.web_world import WebWorld, web_world

from tidegate.errors import ProviderUnavailable
from tidegate.health import checks as checks_module
from tidegate.identity.passwords import hash_password
from tidegate.server import health_checks

READER, PASSWORD = "prometheus", "a password of a monitoring system"
ACCEPT = {"Accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks by itself too; a test asks what is so now."""
    monkeypatch.setattr(checks_module, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(checks_module, "FRESH_FAULT_SECONDS", 0.0)
    monkeypatch.setattr(health_checks, "WRITE_SECONDS", 0.0)


def telemetry(world: WebWorld) -> str:
    door = world.app.door("telemetry")
    assert door is not None
    where = door.status().endpoints[0]
    return f"{'https' if where.tls else 'http'}://127.0.0.1:{where.port}"


async def get(url: str, **options: Any) -> httpx2.Response:
    verify = options.pop("verify", False)
    async with httpx2.AsyncClient(verify=verify) as client:
        return await client.get(url, **options)


def values(answer: httpx2.Response, name: str) -> dict[tuple[str, ...], float]:
    """Values of a series by its labels' values, in the order of the labels' names."""
    assert answer.status_code == 200, answer.text
    return {
        tuple(text for _, text in sorted(sample.labels.items())): sample.value
        for family in plain(answer.text)
        for sample in family.samples
        if sample.name == name
    }


async def test_metrics_tell_what_happened(tmp_path: Path) -> None:
    async with web_world(tmp_path, telemetry={"bind_port": free_port(), "sftpgo_metrics": True}) as world:
        refused = await get(f"{world.url}/api/v2/token", auth=("boss", "wrong"))
        assert refused.status_code == 401
        assert (await world.client.get("/api/v2/users")).status_code == 200
        async with asyncio.timeout(10):
            while True:
                answer = await get(f"{telemetry(world)}/metrics")
                if values(answer, "tidegate_refusals_total"):
                    break

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["cache-control"] == "no-store"
    assert values(answer, "tidegate_refusals_total") == {("bad_credential", "login"): 1}
    assert values(answer, "sftpgo_password_login_ko_total") == {(): 1}
    assert values(answer, "tidegate_http_client_errors_total") == {(): 1}
    assert values(answer, "tidegate_http_req_ok_total")[()] >= 2
    assert values(answer, "tidegate_dataprovider_availability") == {(): 1}
    assert values(answer, "tidegate_door_up") == {("http",): 1, ("telemetry",): 1}
    assert "boss" not in answer.text


async def test_metrics_are_for_users_of_the_file_and_health_for_everybody(tmp_path: Path) -> None:
    (tmp_path / "readers").write_text(f"{READER}:{hash_password(PASSWORD, CHEAP)}\n")
    section = {"bind_port": free_port(), "auth_user_file": "readers"}
    async with web_world(tmp_path, telemetry=section) as world:
        url = telemetry(world)
        assert (await get(f"{url}/healthz")).text == "ok"
        for auth in (None, (READER, "wrong"), ("nobody", PASSWORD), ("boss", PASSWORD)):
            answer = await get(f"{url}/metrics", auth=auth)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic ")
        for header in ("Basic", "Basic !!!", "Bearer x", "Basic " + "A" * 5000, "Basic bm9jb2xvbg=="):
            assert (await get(f"{url}/metrics", headers={"Authorization": header})).status_code == 401
        answer = await get(f"{url}/metrics", auth=(READER, PASSWORD), headers=ACCEPT)
        assert answer.status_code == 200
        assert "tidegate_build_info" in {family.name for family in openmetrics(answer.text)}
        assert (await get(f"{url}/")).status_code == 404
        async with httpx2.AsyncClient(verify=False) as client:
            assert (await client.post(f"{url}/healthz")).status_code == 405
            assert (await client.head(f"{url}/healthz")).status_code == 200
        statuses = [(await get(f"{url}/metrics", auth=(READER, "x"))).status_code for _ in range(15)]
        assert statuses[-1] == 429
        assert (await get(f"{url}/metrics", auth=(READER, PASSWORD))).status_code == 429


async def test_the_telemetry_listener_speaks_tls(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "telemetry")
    section = {
        "bind_port": free_port(),
        "certificate_file": "cert.pem",
        "certificate_key_file": "key.pem",
        "min_tls_version": 13,
    }
    async with web_world(tmp_path, telemetry=section) as world:
        trust = ssl.create_default_context(cafile=str(pem))
        answer = await get(f"{telemetry(world)}/metrics", verify=trust)

        assert answer.status_code == 200
        trust.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx2.ConnectError):
            await get(f"{telemetry(world)}/healthz", verify=trust)


async def test_a_reload_takes_over_another_user_file_and_keeps_the_old_one_if_it_is_wrong(
    tmp_path: Path,
) -> None:
    readers = tmp_path / "readers"
    readers.write_text(f"{READER}:{hash_password(PASSWORD, CHEAP)}\n")
    section = {"bind_port": free_port(), "auth_user_file": "readers"}
    async with web_world(tmp_path, telemetry=section) as world:
        url = f"{telemetry(world)}/metrics"
        readers.write_text("not a user\n")
        await world.app.reload(world.app.loaded)
        assert (await get(url, auth=(READER, PASSWORD))).status_code == 200
        readers.write_text(f"other:{hash_password(PASSWORD, CHEAP)}\n")
        await world.app.reload(world.app.loaded)
        assert (await get(url, auth=(READER, PASSWORD))).status_code == 401
        assert (await get(url, auth=("other", PASSWORD))).status_code == 200


async def test_the_http_listener_has_metrics_only_if_asked_and_only_for_administrators(
    tmp_path: Path,
) -> None:
    (tmp_path / "users").write_text(f"{READER}:{hash_password(PASSWORD, CHEAP)}\n")
    binding, plain_binding = {"port": free_port(), "enable_metrics": True}, {"port": free_port()}
    section = {"bindings": [binding, plain_binding], "auth_user_file": "users"}
    async with web_world(tmp_path, httpd=section) as world:
        url = f"http://127.0.0.1:{binding['port']}/metrics"
        assert (await get(url)).status_code == 401
        assert (await get(f"http://127.0.0.1:{plain_binding['port']}/metrics")).status_code == 404
        assert values(await get(url, auth=(READER, PASSWORD)), "tidegate_dataprovider_availability") == {
            (): 1
        }
        await world.add_admin("viewer", "view_status")
        await world.add_admin("other", "view_users")
        async with world.acting_as("viewer") as client:
            assert (await client.get("/metrics")).status_code == 200
        async with world.acting_as("other") as client:
            assert (await client.get("/metrics")).status_code == 403


async def test_a_banned_address_still_reaches_monitoring(tmp_path: Path) -> None:
    defender = {"enabled": True, "threshold": 5, "score_invalid": 3, "driver": "memory"}
    async with web_world(
        tmp_path, telemetry={"bind_port": free_port()}, common={"defender": defender}
    ) as world:
        url = telemetry(world)
        for _ in range(3):
            await get(f"{world.url}/api/v2/user/token", auth=("nobody", "wrong"))
        async with asyncio.timeout(10):
            while (await get(f"{world.url}/api/v2/version")).status_code != 403:
                await asyncio.sleep(0)
            # Refusals are counted at once, the ban when its event was handled.
            steps: set[str] = set()
            bans = 0.0
            while "connection" not in steps or not bans:
                answer = await get(f"{url}/metrics")
                steps = {step for _, step in values(answer, "tidegate_refusals_total")}
                bans = sum(values(answer, "tidegate_bans_total").values())

    assert bans == 1
    assert "connection" in {step for _, step in values(answer, "tidegate_refusals_total")}


async def report(world: WebWorld, **options: Any) -> tuple[int, dict[str, dict[str, Any]]]:
    """Status code and checks of a report that is fresh."""
    answer = await get(f"{telemetry(world)}/readyz", **options)
    return answer.status_code, {one["name"]: one for one in answer.json()["checks"]}


async def test_health_names_each_check_and_tells_why_to_those_who_may_know(tmp_path: Path) -> None:
    (tmp_path / "readers").write_text(f"{READER}:{hash_password(PASSWORD, CHEAP)}\n")
    section = {"bind_port": free_port(), "auth_user_file": "readers", "disk_warn": 100, "disk_fail": 0}
    async with web_world(tmp_path, telemetry=section) as world:
        code, checks = await report(world)
        assert code == 200
        assert set(checks) == {"data_provider", "storages", "disks", "certificates", "doors"}
        assert checks["disks"] == {"name": "disks", "status": "warn"}
        code, checks = await report(world, auth=(READER, PASSWORD))
        assert "% left" in checks["disks"]["text"]
        assert checks["data_provider"]["driver"] == "memory"
        assert (await get(f"{telemetry(world)}/readyz", auth=(READER, "wrong"))).status_code == 401
        plain_answer = await get(f"{world.url}/readyz")
        assert plain_answer.json()["status"] == "warn"
        assert "% left" not in plain_answer.text
        shown = (await world.client.get("/api/v2/status")).json()["health"]
        assert {one["name"] for one in shown["checks"]} == set(checks)


async def test_a_provider_that_takes_no_writes_is_not_ready(tmp_path: Path) -> None:
    async with web_world(tmp_path, telemetry={"bind_port": free_port()}) as world:

        async def refuses(name: str, value: str | None) -> None:
            raise ProviderUnavailable

        world.app.provider.set_setting = refuses  # type: ignore[method-assign]
        code, checks = await report(world)

        assert code == 503
        assert checks["data_provider"]["status"] == "fail"
        assert (await get(f"{telemetry(world)}/healthz")).status_code == 200  # restarting would not help


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [("ends", "warn", "ends in 1.0 days"), ("broken", "fail", "cannot be read")],
)
async def test_ends_of_certificates_are_seen(tmp_path: Path, name: str, status: str, text: str) -> None:
    certificate(tmp_path, name)
    section = {
        "bind_port": free_port(),
        "certificate_file": "cert.pem",
        "certificate_key_file": "key.pem",
    }
    async with web_world(tmp_path, telemetry=section) as world:
        if name == "broken":
            (tmp_path / "cert.pem").write_text("nothing")
        code, checks = await report(world)

    assert checks["certificates"]["status"] == status
    assert text in checks["certificates"]["text"]
    assert code == (503 if status == "fail" else 200)


@pytest.mark.parametrize(
    ("section", "code", "text"),
    [
        ({}, 0, "TIDEGATE OK - 5 checks | data_provider="),
        ({"disk_warn": 100, "disk_fail": 0}, 1, "TIDEGATE WARNING - disks: "),
        ({"disk_warn": 100, "disk_fail": 100}, 2, "TIDEGATE CRITICAL - disks: "),
    ],
)
async def test_the_command_status_tells_the_health_by_its_exit_code(
    tmp_path: Path, section: dict[str, Any], code: int, text: str
) -> None:
    certificate(tmp_path, "telemetry")
    keys = {"certificate_file": "cert.pem", "certificate_key_file": "key.pem", "certificate_warn": 0}
    whole = {"telemetry": {"bind_port": free_port(), **keys, **section}}
    async with web_world(tmp_path, **whole):
        (tmp_path / "tidegate.json").write_text(json.dumps(whole))
        done = await asyncio.to_thread(process, "status", "-c", tmp_path)
        shown = await asyncio.to_thread(process, "status", "-c", tmp_path, "--json")

    assert (done.code, done.err) == (code, "")
    assert done.out.startswith(text)
    assert done.out.count("\n") == 1
    assert {one["name"] for one in json.loads(shown.out)["checks"]} >= {"disks", "doors"}


async def test_the_command_status_says_what_it_cannot_tell(tmp_path: Path) -> None:
    (tmp_path / "tidegate.json").write_text(json.dumps({"httpd": {"bindings": []}}))
    nowhere = await asyncio.to_thread(process, "status", "-c", tmp_path)
    shut = await asyncio.to_thread(process, "status", "--url", f"http://127.0.0.1:{free_port()}")
    async with web_world(tmp_path, telemetry={"bind_port": free_port()}) as world:
        other = await asyncio.to_thread(process, "status", "--url", f"{world.url}/elsewhere")
        wrong = await asyncio.to_thread(process, "status", "--url", "ftp://127.0.0.1")

    assert [one.code for one in (nowhere, shut, other, wrong)] == [3, 2, 3, 3]
    assert nowhere.out.startswith("TIDEGATE UNKNOWN - neither telemetry.bind_port nor")
    assert shut.out.startswith("TIDEGATE CRITICAL - 127.0.0.1:")
    assert "404" in other.out
