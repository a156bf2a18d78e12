# SPDX-License-Identifier: Apache-2.0
"""Traces of connections, as a receiver of OpenTelemetry's protocol gets them from a running server."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.support.receiver import Answer, Receiver
from tests.support.running import Running, wait_for

from tidegate.errors import ConfigError
from tidegate.events import kinds
from tidegate.events.factory import SinkUse, create_sinks
from tidegate.events.sinks import traces
from tidegate.model.origin import Origin

ERROR = 2


def spans(receiver: Receiver) -> list[tuple[str, Any, dict[str, Any]]]:
    """Name of the service, span and attributes of everything that was taken."""
    found = []
    for one in receiver.accepted:
        body = gzip.decompress(one.body) if one.headers.get("content-encoding") == "gzip" else one.body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = {
                        pair.key: pair.value.int_value
                        if pair.value.HasField("int_value")
                        else pair.value.string_value
                        for pair in span.attributes
                    }
                    found.append((named["service.name"], span, values))
    return found


def traced(directory: Path, receiver: Receiver, **options: Any) -> Running:
    sink = {
        "use": "opentelemetry",
        "options": {"endpoint": f"{receiver.url}/v1/traces", "interval": 0.1, **options},
    }
    return Running(directory, settings={"events": {"sinks": [sink]}})


async def work(server: Running, name: bytes = b"/a\xff") -> str:
    """Upload, and be refused; returns the id of the connection."""
    person = server.account(permissions={"/": ["*"], "/closed": ["list"]})
    async with person.connect() as client, client.start_sftp_client() as sftp:
        async with sftp.open(name, "wb") as file:
            await file.write(b"x" * 1000)
        await sftp.mkdir("/closed")
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await sftp.mkdir("/closed/no")
    return str(server.wait_line("disconnected", username=person.name)["connection_id"])


async def test_a_connection_is_one_trace(tmp_path: Path) -> None:
    with Receiver() as receiver:
        server = traced(tmp_path, receiver, headers={"x-key": "k1"}, service_name="gate")
        try:
            server.start()
            connection = await work(server)
            own = hashlib.sha256(connection.encode()).digest()
            wait_for(lambda: any(span.span_id == own[16:24] for _, span, _ in spans(receiver)), "no trace")
            server.stop()
        finally:
            server.kill()
        mine = [one for one in spans(receiver) if one[1].trace_id == own[:16]]
        assert {service for service, _, _ in mine} == {"gate"}
        assert all(one.path == "/v1/traces" and one.headers["x-key"] == "k1" for one in receiver.accepted)
    by_name = {(span.name, values.get("file.path")): (span, values) for _, span, values in mine}
    root, facts = by_name["connection", None]
    assert (root.span_id, root.parent_span_id) == (own[16:24], b"")
    assert facts["network.peer.address"] == "127.0.0.1"
    assert facts["user_agent.original"].startswith("SSH-2.0-AsyncSSH")
    others = [span for span, _ in by_name.values() if span is not root]
    assert {span.parent_span_id for span in others} == {own[16:24]}
    assert len({span.span_id for span in others}) == len(others) == 4
    login, values = by_name["login", None]
    assert values["tidegate.login.method"] == "publickey"
    upload, values = by_name["upload", "/a\ufffd"]
    assert (values["file.size"], values["tidegate.storage"], values["tidegate.protocol"]) == (
        1000,
        "local",
        "SFTP",
    )
    refused, values = by_name["mkdir", "/closed/no"]
    assert (refused.status.code, values["tidegate.rule"]) == (ERROR, "permissions[/closed]")
    assert ("mkdir", "/closed") in by_name
    for span in others:
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    assert login.end_time_unix_nano <= upload.end_time_unix_nano <= root.end_time_unix_nano


async def test_a_receiver_that_fails_or_hangs_holds_nobody_up(tmp_path: Path) -> None:
    moods = iter([Answer(503), Answer(hang=True), Answer(cut=True)])
    with Receiver(lambda _: next(moods, Answer(503))) as receiver:
        server = traced(tmp_path, receiver, timeout=0.5)
        server.expected_errors = ["Failed to export"]
        try:
            server.start()
            for _ in range(5):
                await work(server)
            wait_for(lambda: len(receiver.received) >= 3, "nothing was sent")
            await work(server)
            server.stop()
        finally:
            server.kill()


def sent_to(answer: Callable[[socket.socket], None], *, done: threading.Event | None = None) -> None:
    """One trace for a receiver with a mind of its own; returns when the event loop has ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as client:
                client.recv(65_536)
                answer(client)

        async def send() -> None:
            endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            sink = traces.TraceSink({"endpoint": endpoint, "interval": 0.1, "timeout": 60})
            await sink.open()
            sink.handle_nowait(kinds.ConnectionRefused(origin=Origin(connection_id="c", ip="192.0.2.7")))
            if done is not None:
                assert await asyncio.to_thread(done.wait, 30)
            await sink.close()

        threading.Thread(target=serve, daemon=True).start()
        asyncio.run(send())


def test_a_long_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "CLOSE_SECONDS", 0.2)
    taken, done = [0], threading.Event()

    def answer(client: socket.socket) -> None:
        try:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\n")
            for _ in range(3_000):
                client.sendall(bytes(100_000))
                taken[0] += 1
        except OSError:
            pass  # that is what should happen
        finally:
            done.set()

    sent_to(answer, done=done)
    assert taken[0] < 1_000


def test_an_answer_that_never_ends_does_not_keep_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "CLOSE_SECONDS", 0.2)
    over, asked = threading.Event(), threading.Event()

    def answer(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        asked.set()
        over.wait(60)  # no header follows

    ending = threading.Thread(target=sent_to, args=(answer,), kwargs={"done": asked}, daemon=True)
    begun = time.monotonic()
    ending.start()
    ending.join(15)
    over.set()
    assert not ending.is_alive()
    assert time.monotonic() - begun < 15


async def test_a_part_of_the_connections_can_be_traced(tmp_path: Path) -> None:
    with Receiver() as receiver:
        server = traced(tmp_path, receiver, ratio=0.5)
        try:
            server.start()
            ids = [await work(server) for _ in range(6)]
            server.stop()
        finally:
            server.kill()
        digests = [hashlib.sha256(connection.encode()).digest() for connection in ids]
        assert {span.trace_id for _, span, _ in spans(receiver)} == {d[:16] for d in digests if d[0] < 128}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"end": "x"}, "there is no 'end'"),
        ({"endpoint": "127.0.0.1:4318"}, "endpoint is no http or https URL: '127.0.0.1:4318'"),
        ({"ratio": 2}, "ratio is not between 0 and 1: 2"),
        ({"ratio": True}, "ratio is no number"),
        ({"headers": {"a": 1}}, "headers has a name or value that is no text"),
        ({"certificate_file": "/no/such"}, "certificate_file cannot be read: /no/such"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match="opentelemetry sink") as caught:
        create_sinks([SinkUse("opentelemetry", options=options)])
    assert said in str(caught.value)
