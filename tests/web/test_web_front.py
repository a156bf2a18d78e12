# SPDX-License-Identifier: Apache-2.0
"""The edge of the HTTP door: bounds, slow and rude clients, proxies, TLS, the access log, start and stop."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.certificates import certificate
from tests.support.doors import port_of
from tests.support.ports import free_port
from tests.support.web_world import ADMIN, WebWorld, settings, web_world

from tidegate import errors
from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.doors.http import listener
from tidegate.doors.http.edge import HTTP_FIELDS, EdgeOptions, client_address, shown_uri
from tidegate.errors import ConfigError
from tidegate.model.address_list import AddressList
from tidegate.web.api.application import SHOWN_PARAMETERS
from tidegate.web.api.status import CODES, code_of

JSON = {"Content-Type": "application/json"}
API = "/api/v2"


def leaves(kind: type[errors.TidegateError]) -> list[type[errors.TidegateError]]:
    below = [sub for sub in kind.__subclasses__() if sub.__module__ == "tidegate.errors"]
    return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]


def test_every_error_has_a_status():
    assert set(leaves(errors.TidegateError)) <= set(CODES)
    assert all(400 <= code <= 599 for code in CODES.values())

    class Novel(errors.NotFound): ...

    assert code_of(Novel()) == 404


# --- bounds -------------------------------------------------------------------------------------------------


async def test_bodies_have_a_length(tmp_path: Path):
    async with web_world(tmp_path, httpd={"max_request_size": 2000}) as world:

        async def piecemeal() -> Any:
            for _ in range(10):
                yield b" " * 1000

        for content in (b" " * 3000, piecemeal()):
            answer = await world.client.post(f"{API}/loaddata", content=content, headers=JSON)
            assert answer.status_code == 413, answer.text
            assert set(answer.json()) == {"message", "error"}
        assert (
            await world.client.post(f"{API}/loaddata", content=b"{}".ljust(2000), headers=JSON)
        ).status_code == 200


async def raw(world: WebWorld, data: bytes, *, seconds: float = 5) -> bytes:
    """The server's answer to bytes, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(world.app, "http"))
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), seconds)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_refused_upload_gets_its_answer_and_an_end(world: WebWorld):
    head = b"POST /api/v2/loaddata HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n"
    answer = await raw(world, head + b"x" * 300_000)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"SSH-2.0-lost\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(world: WebWorld, data: bytes):
    answer = await raw(world, data)
    assert answer == b"" or re.match(rb"HTTP/1.1 (4\d\d|505) ", answer)
    assert (await world.client.get("/healthz")).status_code == 200


def limit(world: WebWorld, **values: float) -> None:
    """Change limits of the listener under its feet, to values that a configuration cannot have."""
    listener = world.app.door("http")._bound[0].listener
    listener.limits = replace(listener.limits, **values)


async def test_clients_that_say_nothing_or_little_are_cut(tmp_path: Path):
    async with web_world(tmp_path) as world:
        limit(world, head_seconds=0.3)
        await raw(world, b"", seconds=3)
        await raw(world, b"GET /healthz HTTP/1.1\r\nHost:", seconds=3)
        # a second head on a kept connection has its deadline too, also if it comes byte by byte
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(world.app, "http"))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        trickle = asyncio.create_task(_trickle(writer))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 3)
        trickle.cancel()
        writer.close()


async def _trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\n")
    while True:
        writer.write(b"X: y\r\n")
        await asyncio.sleep(0.05)


async def test_bodies_must_keep_coming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tidegate.web.api.bodies.BODY_SECONDS", 0.2)
    async with web_world(tmp_path) as world:
        token = await world.token()
        head = f"POST /api/v2/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        head += "Content-Type: application/json\r\n"
        answer = await raw(world, head.encode() + b"Content-Length: 10\r\n\r\n{", seconds=5)
        assert answer.startswith(b"HTTP/1.1 408 ")
        # and somebody who leaves in the middle leaves nothing behind
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(world.app, "http"))
        writer.write(head.encode() + b"Content-Length: 10\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        del reader
        assert await world.app.provider.count_users() == 0


async def test_a_body_that_stops_in_the_middle_ends_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """At the listener, for applications that wait without end; also past the parser, where long bodies go."""
    monkeypatch.setattr(listener, "LOOK_SECONDS", 0)
    async with web_world(tmp_path) as world:
        limit(world, body_seconds=0.2)
        token = await world.token()
        head = f"POST /api/v2/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        head += "Content-Type: application/json\r\n"
        for framing in (b"Content-Length: 10\r\n\r\n{", b"Content-Length: 100000\r\n\r\n{", CHUNKED):
            assert await raw(world, head.encode() + framing, seconds=5) == b""


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def slow_head(world: WebWorld, source: str = "127.0.0.1") -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(world.app, "http"), local_addr=(source, 0))
    writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
    await writer.drain()
    return writer


class Hours:
    """A clock that tests turn."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_slow_heads_make_room_for_others_and_for_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with web_world(tmp_path, httpd={"max_connections": 12, "max_connections_per_source": 8}) as world:
        await world.client.aclose()
        clock = Hours()
        (bound,) = world.app.door("http")._bound
        world.app.ledger.clock = clock
        connections = bound.listener.server_state.connections
        async with asyncio.timeout(5):
            while connections:
                await asyncio.sleep(0)
        slow = [await slow_head(world, "127.0.0.7") for _ in range(20)]
        async with asyncio.timeout(5):
            while len(connections) < 8:
                await asyncio.sleep(0)
        for _ in range(5):  # others are served although nobody has waited for a second
            assert (await raw(world, HEALTH, seconds=3)).startswith(b"HTTP/1.1 200 ")
        clock.now += 2
        slow += [await slow_head(world, f"127.0.0.{n}") for n in range(10, 14)]
        for _ in range(5):  # now everything is taken, and the oldest makes room
            assert (await raw(world, HEALTH, seconds=3)).startswith(b"HTTP/1.1 200 ")
        assert len(connections) < 12
        for writer in slow:
            writer.close()
    told = [line for line in caplog.messages if line.startswith("limit reached")]
    assert told == [
        "limit reached: httpd.max_connections_per_source (127.0.0.7): 8 HTTP connections",
        "limit reached: httpd.max_connections: 12 HTTP connections",
    ]


async def test_five_hundred_slow_heads_of_one_address_close_nothing(tmp_path: Path):
    async with web_world(tmp_path) as world:
        await world.client.aclose()
        clock = Hours()
        world.app.ledger.clock = clock
        slow = [await slow_head(world) for _ in range(150)]
        clock.now += 2
        slow += [await slow_head(world) for _ in range(150)]
        clock.now += 2
        for _ in range(5):  # also from that very address
            assert (await raw(world, HEALTH, seconds=3)).startswith(b"HTTP/1.1 200 ")
        for writer in slow:
            writer.close()


async def test_a_client_that_does_not_read_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "STALL_SECONDS", 0.3)
    async with web_world(tmp_path) as world:
        big = "x" * 60_000
        for number in range(40):
            user = world.user(f"u{number}", description=big, additional_info=big)
            assert (await world.client.post(f"{API}/users", json=user)).status_code == 201
        token = await world.token()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port_of(world.app, "http")))
        request = f"GET {API}/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        await loop.sock_sendall(sock, request.encode())
        (bound,) = world.app.door("http")._bound
        async with asyncio.timeout(10):
            while len(bound.listener.server_state.connections) < 2:
                await asyncio.sleep(0.01)
            while len(bound.listener.server_state.connections) > 1:  # ours stays, theirs goes
                await asyncio.sleep(0.01)
        sock.close()


# --- what every answer has ----------------------------------------------------------------------------------


async def test_headers_of_every_answer(world: WebWorld):
    for path in ("/healthz", f"{API}/users", "/docs", "/openapi.json", "/nothing", f"{API}/nothing"):
        answer = await world.client.get(path, headers={"Origin": "https://evil.example"})
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "server" not in answer.headers
    preflight = await world.client.options(f"{API}/users", headers={"Origin": "https://evil.example"})
    assert preflight.status_code == 405
    assert preflight.json()["message"] == "Method not allowed"
    for path in (f"{API}", f"{API}/users/", "/static/x"):
        answer = await world.client.get(path)
        assert (answer.status_code, answer.json()["message"]) == (404, "Not found")


async def test_the_root_leads_to_the_pages(world: WebWorld):
    answer = await world.client.get("/", follow_redirects=True)
    assert answer.status_code == 200
    assert answer.url.path == "/web/admin/login"


async def test_the_page_needs_nothing_from_elsewhere(world: WebWorld):
    page = (await world.client.get("/docs")).text
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    described = (await world.client.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.")
    for path in described["paths"]:
        assert path in page


async def test_a_crash_is_told_by_number_only(world: WebWorld, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    async def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("the inner secret")

    monkeypatch.setattr(world.app.provider, "users", crash)
    answer = await world.client.get(f"{API}/users")
    assert answer.status_code == 500
    assert answer.json()["message"] == "Internal error"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["error"]
    assert any(answer.headers["x-request-id"] in text for text in caplog.messages)


async def test_the_access_log(world: WebWorld, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "tidegate.record")
    await world.client.get(f"{API}/users?limit=5&token=hunter2&hunter3", headers={"User-Agent": "probe/1"})
    (record,) = [r for r in caplog.records if r.name == "tidegate.record"][-1:]
    assert record.sender == "httpd"
    fields = record.fields
    assert fields.keys() == HTTP_FIELDS.keys(), "docs/reference/logs.md is made from it"
    assert fields.pop("remote_addr").startswith("127.0.0.1:")
    assert fields.pop("elapsed_ms") >= 0
    assert fields.pop("request_id")
    assert fields == {
        "proto": "HTTP/1.1", "method": "GET", "user_agent": "probe/1", "resp_status": 200, "resp_size": 2,
        "uri": "/api/v2/users?limit=5&...=********&...=********",
    }  # fmt: skip


def test_shown_uris_are_bounded():
    assert len(shown_uri(b"/" + b"x" * 9000, b"path=" + b"y" * 8000, SHOWN_PARAMETERS)) <= 2048
    assert shown_uri(b"/a", b"q" * 9000, SHOWN_PARAMETERS) == "/a?..."
    assert "\n" not in shown_uri(b"/a", b"path=%0A%1b[2J", SHOWN_PARAMETERS)


# --- proxies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "values", "depth", "expected"),
    [
        ("10.0.0.1", ["198.51.100.7"], 0, "198.51.100.7"),
        ("10.0.0.1", ["evil, 198.51.100.7"], 0, "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.7, 10.0.0.9"], 1, "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7"], 3, "10.0.0.1"),
        ("10.0.0.1", ["not an address"], 0, "10.0.0.1"),
        ("10.0.0.1", [], 0, "10.0.0.1"),
        ("192.0.2.1", ["198.51.100.7"], 0, "192.0.2.1"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], 0, "2001:db8::1"),
        ("10.0.0.1", [", ".join(["9.9.9.9"] * 100)], 50, "10.0.0.1"),
    ],
)
def test_only_proxies_are_believed(peer: str, values: list[str], depth: int, expected: str):
    options = EdgeOptions(proxies=AddressList(("10.0.0.0/8",)), header="x-forwarded-for", depth=depth)
    headers = [(b"x-forwarded-for", value.encode()) for value in values]
    assert client_address((peer, 1), headers, options) == expected


# --- bindings and TLS ---------------------------------------------------------------------------------------


async def shown_name(port: int, *, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[str, str]:
    """Subject of the certificate and TLS version that a new connection meets."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = most
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        sock = writer.get_extra_info("ssl_object")
        der = sock.getpeercert(binary_form=True)
        name = x509.load_der_x509_certificate(der).subject.rfc4514_string().removeprefix("CN=")
        return name, sock.version()
    finally:
        writer.close()
        await writer.wait_closed()


def https(port: int, **more: Any) -> dict[str, Any]:
    files = {"certificate_file": "cert.pem", "certificate_key_file": "key.pem"}
    return {"port": port, "enable_https": True, **files, **more}


async def test_certificates_are_exchanged_while_running(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    certificate(tmp_path, "first")
    async with web_world(tmp_path, httpd={"bindings": [https(free_port())]}) as world:
        port = port_of(world.app, "http")
        assert world.url == f"https://127.0.0.1:{port}"
        assert await shown_name(port) == ("first", "TLSv1.3")
        assert (await shown_name(port, most=ssl.TLSVersion.TLSv1_2))[1] == "TLSv1.2"
        kept = await world.client.get(f"{API}/version")
        certificate(tmp_path, "second")
        await world.app.reload(world.app.loaded)  # what SIGHUP does
        assert (await shown_name(port))[0] == "second"
        good = (tmp_path / "cert.pem").read_bytes()
        (tmp_path / "cert.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken\n")
        await world.app.reload(world.app.loaded)
        assert (await shown_name(port))[0] == "second"
        assert "the certificate in use stays" in caplog.text
        (tmp_path / "cert.pem").write_bytes(good)
        assert (await world.client.get(f"{API}/version")).status_code == kept.status_code == 200


async def test_certificates_are_noticed_without_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tidegate.doors.common.tls.POLL_SECONDS", 0.05)
    certificate(tmp_path, "first")
    async with web_world(tmp_path, httpd={"bindings": [https(free_port())]}) as world:
        certificate(tmp_path, "second")
        async with asyncio.timeout(5):
            while (await shown_name(port_of(world.app, "http")))[0] != "second":
                await asyncio.sleep(0.02)


async def test_the_least_tls_version_is_kept(tmp_path: Path):
    certificate(tmp_path, "first")
    async with web_world(tmp_path, httpd={"bindings": [https(free_port(), min_tls_version=13)]}) as world:
        port = port_of(world.app, "http")
        assert (await shown_name(port))[1] == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await shown_name(port, most=ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("fault", ["missing", "mismatch", "passphrase", "nonsense"])
async def test_certificates_that_cannot_be_used_stop_the_start(tmp_path: Path, fault: str):
    certificate(tmp_path, "first")
    match fault:
        case "missing":
            (tmp_path / "key.pem").unlink()
        case "mismatch":
            key = ec.generate_private_key(ec.SECP256R1())
        case "passphrase":
            key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
        case "nonsense":
            (tmp_path / "cert.pem").write_text("hello")
    if fault in ("mismatch", "passphrase"):
        lock: Any = (
            serialization.BestAvailableEncryption(b"x")
            if fault == "passphrase"
            else serialization.NoEncryption()
        )
        (tmp_path / "key.pem").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        )
    with pytest.raises(ConfigError) as error:
        async with web_world(tmp_path, httpd={"bindings": [https(free_port())]}):
            pass
    assert "httpd.bindings[0]" in str(error.value)
    assert "\n" not in str(error.value)


async def test_a_taken_port_is_named(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bindings = [{"port": free_port()}, {"port": port}]
        with pytest.raises(
            ConfigError, match=rf"httpd.bindings\[1\]: cannot listen on 127.0.0.1:{port}: "
        ) as error:
            async with web_world(tmp_path, httpd={"bindings": bindings}):
                pass
    assert "\n" not in str(error.value)
    with socket.create_server(("127.0.0.1", bindings[0]["port"])):
        pass  # the first binding was given back


async def test_bindings_differ(tmp_path: Path):
    ports = [free_port(), free_port()]
    bindings = [
        {"port": ports[0]},
        {
            "port": ports[1],
            "address": "localhost",
            "enable_rest_api": False,
            "render_openapi": False,
            "enable_web_admin": False,
        },
        {"port": 0},
    ]
    async with web_world(tmp_path, httpd={"bindings": bindings}) as world, httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{ports[1]}", headers=dict(world.client.headers), verify=False
    ) as second:  # fmt: skip
        assert [one.port for one in world.app.door("http").status().endpoints] == ports
        assert (await second.get("/healthz")).text == "ok"
        for path in (f"{API}/version", "/", "/docs", "/openapi.json", "/web/admin/login"):
            assert (await world.client.get(path)).status_code == (307 if path == "/" else 200)
            assert (await second.get(path)).status_code == 404


async def test_addresses_that_are_none_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"httpd.bindings\[0\]"):
        async with web_world(
            tmp_path, httpd={"bindings": [{"port": free_port(), "address": "no such host.invalid"}]}
        ):
            pass


async def test_stopping_lets_a_request_end_and_cuts_what_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(listener, "STOP_SECONDS", 1)
    async with web_world(tmp_path) as world:
        entered, gate = asyncio.Event(), asyncio.Event()
        users = world.app.provider.users

        async def slow(**named: Any) -> Any:
            entered.set()
            await gate.wait()
            return await users(**named)

        monkeypatch.setattr(world.app.provider, "users", slow)
        request = asyncio.create_task(world.client.get(f"{API}/users"))
        await entered.wait()
        stopping = asyncio.create_task(world.app.door("http").stop())
        await asyncio.sleep(0.05)
        gate.set()
        assert (await request).status_code == 200
        await asyncio.wait_for(stopping, 5)
        await world.app.door("http").stop()  # legal twice
        with pytest.raises(httpx2.ConnectError):
            async with httpx2.AsyncClient(verify=False) as client:
                await client.get(f"http://127.0.0.1:{free_port()}/")


async def test_signals_stay_the_servers_own(tmp_path: Path):
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    async with web_world(tmp_path):
        assert {number: signal.getsignal(number) for number in before} == before


async def test_without_a_binding_nothing_of_it_is_imported(tmp_path: Path):
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tidegate.server.app import App\n"
        "from tidegate.config.load import Loaded\n"
        "from tidegate.config.schema import Settings\n"
        f"loaded = Loaded(Settings.model_validate({settings(httpd={'bindings': []})!r}), config_dir=Path({str(tmp_path)!r}))\n"
        "async def main():\n"
        "    app = App(loaded)\n"
        "    await app.start()\n"
        "    assert app.door('http') is None\n"
        "    await app.stop()\n"
        "asyncio.run(main())\n"
        "assert not {'fastapi', 'uvicorn', 'starlette'} & set(sys.modules), sys.modules.keys()\n"
    )
    run = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr


async def test_reloading_what_cannot_be_used_keeps_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async with web_world(tmp_path) as world:
        bindings = [{"port": port_of(world.app, "http"), "render_openapi": False}]
        changed = settings(httpd={"bindings": bindings, "auth_user_file": "missing"})
        await world.app.reload(Loaded(Settings.model_validate(changed), config_dir=tmp_path))
        assert "missing" in caplog.text
        assert (await world.client.get("/docs")).status_code == 404
        assert (await world.client.get(f"{API}/version")).status_code == 200
        moved = settings(httpd={"bindings": [{"port": free_port()}]})
        await world.app.reload(Loaded(Settings.model_validate(moved), config_dir=tmp_path))
        assert "httpd.bindings changed" in caplog.text
        assert (await world.client.get(f"{API}/version")).status_code == 200


# --- the first administrator --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["TIDEGATE", "SFTPGO"])
async def test_the_first_administrator_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
):
    monkeypatch.setenv(f"{prefix}_DEFAULT_ADMIN_USERNAME", "root")
    monkeypatch.setenv(f"{prefix}_DEFAULT_ADMIN_PASSWORD", "from the environment")
    for create, names in ((False, []), (True, ["root"])):
        async with web_world(tmp_path, first=False, data_provider={"create_default_admin": create}) as world:
            assert [admin.username for admin in await world.app.provider.admins()] == names
            if create:
                await world.token("root", "from the environment")


@pytest.mark.parametrize("missing", ["USERNAME", "PASSWORD"])
async def test_there_is_no_default_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str):
    monkeypatch.setenv("TIDEGATE_DEFAULT_ADMIN_USERNAME", "root")
    monkeypatch.setenv("TIDEGATE_DEFAULT_ADMIN_PASSWORD", "from the environment")
    monkeypatch.delenv(f"TIDEGATE_DEFAULT_ADMIN_{missing}")
    async with web_world(tmp_path, first=False, data_provider={"create_default_admin": True}) as world:
        assert await world.app.provider.admins() == []


@pytest.mark.parametrize(
    ("name", "password"), [("a/b", "from the environment"), ("root", "a\udc80b"), ("root", "wk")]
)
async def test_a_first_administrator_that_cannot_be_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, password: str
):
    monkeypatch.setenv("TIDEGATE_DEFAULT_ADMIN_USERNAME", name)
    monkeypatch.setenv("TIDEGATE_DEFAULT_ADMIN_PASSWORD", password)
    provider = {"create_default_admin": True, "password_validation": {"admins": {"min_entropy": 40}}}
    with pytest.raises(ConfigError, match="TIDEGATE_DEFAULT_ADMIN_") as error:
        async with web_world(tmp_path, first=False, data_provider=provider):
            pass
    assert password not in str(error.value)


async def test_who_is_there_already_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    database = {"driver": "sqlite", "name": "t.db", "create_default_admin": True}
    async with web_world(tmp_path, data_provider=database):
        pass
    monkeypatch.setenv("TIDEGATE_DEFAULT_ADMIN_USERNAME", "root")
    monkeypatch.setenv("TIDEGATE_DEFAULT_ADMIN_PASSWORD", "from the environment")
    async with web_world(tmp_path, first=False, data_provider=database) as world:
        assert [admin.username for admin in await world.app.provider.admins()] == [ADMIN]
