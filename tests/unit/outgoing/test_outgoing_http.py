# SPDX-License-Identifier: Apache-2.0
"""Calls over HTTP, to real servers on loopback: repeated, redirected, bounded, and without secrets in errors."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from tests.support.certificates import certificate

from tidegate.errors import OutsideBusy, OutsideFailed
from tidegate.outgoing.http import HttpCaller, HttpHeader, HttpOptions, shown

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """A server that answers each path by a function, and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.connections: set[object] = set()
        self.answers: dict[str, Handler] = {}
        self.base = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append((request.method, request.path_qs, await request.read(), dict(request.headers)))
        self.connections.add(request.transport)
        return await self.answers[request.path](request)

    async def serve(self, context: ssl.SSLContext | None = None) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        self.base = f"{'https' if context else 'http'}://127.0.0.1:{port}"
        return runner


def answer(status: int, text: str = "", **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return handler


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    runner = await one.serve()
    yield one
    await runner.cleanup()


@pytest.fixture
async def caller() -> AsyncIterator[HttpCaller]:
    one = HttpCaller(HttpOptions(wait_min=0.01, wait_max=0.02, retries=3))
    yield one
    await one.close()


async def test_connections_are_kept_and_queries_joined(receiver: Receiver, caller: HttpCaller) -> None:
    receiver.answers["/a"] = answer(200, "yes")
    for _ in range(5):
        got = await caller.call(
            "POST",
            f"{receiver.base}/a?x=1",
            body=b"{}",
            query={"ip": "1", "user": "ü&="},
            headers={"Content-Type": "application/json"},
        )
        assert (got.status, got.body, got.tries) == (200, b"yes", 1)
    assert len(receiver.connections) == 1
    method, path, body, headers = receiver.got[0]
    assert (method, path, body) == ("POST", "/a?x=1&ip=1&user=%C3%BC%26%3D", b"{}")
    assert headers["Content-Type"] == "application/json"
    assert "Cookie" not in headers


@pytest.mark.parametrize(
    ("statuses", "tries", "last"),
    [
        ([500, 503, 404, 200], 3, 404),
        ([500] * 9, 4, 500),
        ([501, 200], 1, 501),
        ([404, 200], 1, 404),
        ([502, 204], 2, 204),
    ],
)
async def test_repeats_as_recorded(
    receiver: Receiver, caller: HttpCaller, statuses: list[int], tries: int, last: int
) -> None:
    left = iter(statuses)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=next(left))

    receiver.answers["/a"] = handler
    got = await caller.call("POST", f"{receiver.base}/a", body=b"same", retry=True)
    assert (got.status, got.tries, len(receiver.got)) == (last, tries, tries)
    assert {body for _, _, body, _ in receiver.got} == {b"same"}


async def test_without_retry_one_call(receiver: Receiver, caller: HttpCaller) -> None:
    receiver.answers["/a"] = answer(500)
    assert (await caller.call("GET", f"{receiver.base}/a")).status == 500
    assert len(receiver.got) == 1


async def test_a_refused_connection_is_tried_again_and_named_without_secrets(caller: HttpCaller) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = f"http://me:secret@127.0.0.1:{port}/hook?token=secret#secret"
        with pytest.raises(OutsideFailed, match=f"http://127.0.0.1:{port}/hook: cannot be reached") as caught:
            await caller.call("POST", url, retry=True)
    assert "secret" not in str(caught.value)
    assert shown("https://u:p@[::1]:8/a?b") == "https://[::1]:8/a"


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [
        (301, "GET", b""),
        (302, "GET", b""),
        (303, "GET", b""),
        (307, "POST", b"b"),
        (308, "POST", b"b"),
    ],
)
async def test_redirects(
    receiver: Receiver, caller: HttpCaller, status: int, method: str, body: bytes
) -> None:
    receiver.answers["/a"] = answer(status, Location="/b?c=1")
    receiver.answers["/b"] = answer(200, "there")
    got = await caller.call("POST", f"{receiver.base}/a", body=b"b", query={"q": "1"})
    assert (got.status, got.body) == (200, b"there")
    assert receiver.got[1][:3] == (method, "/b?c=1", body)


async def test_redirects_end(receiver: Receiver, caller: HttpCaller) -> None:
    receiver.answers["/a"] = answer(302, Location="/a")
    with pytest.raises(OutsideFailed, match="redirects more than 10 times"):
        await caller.call("GET", f"{receiver.base}/a")
    assert len(receiver.got) == 11
    receiver.answers["/a"] = answer(302, Location="file:///etc/passwd")
    with pytest.raises(OutsideFailed, match="not an http or https URL"):
        await caller.call("GET", f"{receiver.base}/a")


async def test_headers_go_to_their_urls_alone(receiver: Receiver) -> None:
    other = Receiver()
    runner = await other.serve()
    caller = HttpCaller(
        HttpOptions(
            headers=[
                HttpHeader("X-All", "a"),
                HttpHeader("X-Only", "b", f"{receiver.base}/a?fixed=1"),
                HttpHeader("X-Pre", "c", f"{receiver.base}/a"),
                HttpHeader("X-Not", "d", receiver.base[:-1]),
                HttpHeader("X-There", "f", f"{other.base}/b"),
            ]
        )
    )
    try:
        receiver.answers["/a"] = answer(303, Location=f"{other.base}/b")
        other.answers["/b"] = answer(200)
        await caller.call("POST", f"{receiver.base}/a?fixed=1", body=b"1", headers={"X-Call": "e"})
        sent = {name: value for name, value in receiver.got[0][3].items() if name.startswith("X-")}
        assert sent == {"X-All": "a", "X-Only": "b", "X-Pre": "c", "X-Call": "e"}
        method, path, body, headers = other.got[0]
        assert (method, path, body) == ("GET", "/b", b"")
        assert {name for name in headers if name.startswith("X-")} == {"X-There"}
    finally:
        await caller.close()
        await runner.cleanup()


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("hops", [1, 2])
async def test_a_body_goes_to_no_other_server(
    receiver: Receiver, caller: HttpCaller, status: int, hops: int
) -> None:
    other = Receiver()
    runner = await other.serve()
    other.answers["/b"] = answer(200)
    receiver.answers["/a"] = answer(status, Location=f"{other.base}/b?key=secret" if hops == 1 else "/hop")
    receiver.answers["/hop"] = answer(status, Location=f"{other.base}/b?key=secret")
    try:
        with pytest.raises(OutsideFailed, match=f"to another server, {other.base}/b: that is not") as caught:
            await caller.call(
                "POST", f"{receiver.base}/a", body=b"pw-e1", headers={"X-Call": "e"}, retry=True
            )
        assert "secret" not in str(caught.value)
        assert other.got == []
        # Without a body there is nothing to keep back.
        receiver.answers["/a"] = answer(status, Location=f"{other.base}/b")
        assert (await caller.call("GET", f"{receiver.base}/a", headers={"X-Call": "e"})).status == 200
        assert "X-Call" not in other.got[0][3]
    finally:
        await runner.cleanup()


async def test_urls_of_administrators_get_no_secrets_and_lead_nowhere_else(receiver: Receiver) -> None:
    other = Receiver()
    runner = await other.serve()
    options = HttpOptions(headers=[HttpHeader("X-All", "a"), HttpHeader("X-Here", "b", receiver.base)])
    caller = HttpCaller(options.of_administrators())
    try:
        receiver.answers["/a"] = answer(302, Location=f"{other.base}/b")
        with pytest.raises(OutsideFailed, match="redirects to another server"):
            await caller.call("GET", f"{receiver.base}/a")
        assert other.got == []
        receiver.answers["/a"] = answer(302, Location="/b")
        receiver.answers["/b"] = answer(200)
        assert (await caller.call("POST", f"{receiver.base}/a", body=b"1")).status == 200
        assert not any(name.startswith("X-") for _, _, _, headers in receiver.got for name in headers)
    finally:
        await caller.close()
        await runner.cleanup()


async def test_ten_mebibytes_are_not_read(receiver: Receiver, caller: HttpCaller) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(160):
                await response.write(b"x" * 65536)
                sent += 65536
        except ConnectionError:
            pass
        return response

    receiver.answers["/a"] = flood
    with pytest.raises(OutsideFailed, match="more than 1048576 bytes of answer"):
        await caller.call("GET", f"{receiver.base}/a")
    assert sent < 10 * 1024 * 1024


async def test_slow_answers_end_in_time(receiver: Receiver, caller: HttpCaller) -> None:
    gate = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await gate.wait()
        return web.Response()

    receiver.answers["/a"] = slow
    with pytest.raises(OutsideFailed, match=r"/a took longer than 0.1 s"):
        await caller.call("GET", f"{receiver.base}/a", seconds=0.1)
    gate.set()


async def test_so_many_at_once(receiver: Receiver) -> None:
    gate = asyncio.Event()
    caller = HttpCaller(at_once=1, waiting=1)

    async def slow(_: web.Request) -> web.Response:
        await gate.wait()
        return web.Response()

    receiver.answers["/a"] = slow
    try:
        tasks = [asyncio.create_task(caller.call("GET", f"{receiver.base}/a")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OutsideBusy):
            await caller.call("GET", f"{receiver.base}/a")
        gate.set()
        assert [one.status for one in await asyncio.gather(*tasks)] == [200, 200]
    finally:
        await caller.close()


async def test_environment_proxies_and_netrc_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    receiver.answers["/a"] = answer(200)
    plain, proxied = HttpCaller(), HttpCaller(HttpOptions(environment_proxies=True))
    try:
        assert (await plain.call("GET", f"{receiver.base}/a")).status == 200
        assert "Authorization" not in receiver.got[0][3]
        with pytest.raises(OutsideFailed, match="cannot be reached"):
            await proxied.call("GET", f"{receiver.base}/a")
    finally:
        await plain.close()
        await proxied.close()


async def test_tls_with_own_authority_and_client_certificate(tmp_path: Path) -> None:
    server, client = tmp_path / "server", tmp_path / "client"
    server.mkdir()
    client.mkdir()
    authority, own = certificate(server, "server"), certificate(client, "client")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=own)
    context.load_cert_chain(authority, server / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    receiver = Receiver()
    runner = await receiver.serve(context)
    receiver.answers["/a"] = answer(200, "tls")
    receiver.answers["/down"] = answer(302, Location="http://127.0.0.1:9/")
    second = Receiver()
    known: list[object] = []

    async def who(request: web.Request) -> web.Response:
        assert request.transport is not None
        known.append(request.transport.get_extra_info("peercert"))
        return web.Response(text="who")

    asking = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=own)
    asking.load_cert_chain(authority, server / "key.pem")
    asking.verify_mode = ssl.CERT_OPTIONAL
    second_runner = await second.serve(asking)
    second.answers["/who"] = who
    receiver.answers["/away"] = answer(302, Location=f"{second.base}/who")
    good = HttpCaller(HttpOptions(authorities=[authority], certificates=[(own, client / "key.pem")]))
    blind = HttpCaller(HttpOptions(verify=False, certificates=[(own, client / "key.pem")]))
    strange, bare = HttpCaller(), HttpCaller(HttpOptions(authorities=[authority]))
    try:
        assert (await good.call("GET", f"{receiver.base}/a")).body == b"tls"
        assert (await blind.call("GET", f"{receiver.base}/a")).body == b"tls"
        with pytest.raises(OutsideFailed, match="redirects from https to http"):
            await good.call("GET", f"{receiver.base}/down")
        assert (await good.call("GET", f"{second.base}/who")).body == b"who"
        assert (await good.call("POST", f"{receiver.base}/away", body=b"1")).body == b"who"
        assert [bool(one) for one in known] == [True, False]  # a redirect shows nobody who this is
        with pytest.raises(OutsideFailed, match="certificate is not trusted"):
            await strange.call("GET", f"{receiver.base}/a")
        with pytest.raises(OutsideFailed):
            await bare.call("GET", f"{receiver.base}/a")
    finally:
        for one in (good, blind, strange, bare):
            await one.close()
        await runner.cleanup()
        await second_runner.cleanup()


async def test_files_that_cannot_be_read_fail_the_call_and_ask_nobody(tmp_path: Path) -> None:
    own = certificate(tmp_path, "client")
    key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    gone = tmp_path / "gone.pem"
    for options, name in (
        (HttpOptions(authorities=[gone], wait_min=0.01), "http.ca_certificates: .*gone.pem"),
        (HttpOptions(certificates=[(own, gone)], wait_min=0.01), "http.certificates: .*gone.pem"),
        (HttpOptions(certificates=[(own, locked)], wait_min=0.01), "http.certificates: .*locked.pem"),
    ):
        caller = HttpCaller(options)
        with pytest.raises(OutsideFailed, match=name):
            await caller.call("GET", "http://127.0.0.1:9/", retry=True)
        await caller.close()


async def test_a_peer_that_breaks_off(caller: HttpCaller) -> None:
    async def rude(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(OutsideFailed, match=r"closed the connection|answers unusably"):
        await caller.call("GET", f"http://127.0.0.1:{port}/")
    with pytest.raises(OutsideFailed):
        await caller.call("GET", f"https://127.0.0.1:{port}/")
    server.close()
    await server.wait_closed()


async def test_closed_means_closed(receiver: Receiver) -> None:
    caller = HttpCaller()
    receiver.answers["/a"] = answer(200)
    await caller.call("GET", f"{receiver.base}/a")
    await caller.close()
    await caller.close()
    with pytest.raises(OutsideFailed, match="ending"):
        await caller.call("GET", f"{receiver.base}/a")
