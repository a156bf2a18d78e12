# SPDX-License-Identifier: Apache-2.0
"""200 addresses that shake hands for TLS and hang up, beside a user who loads a file by SFTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.running import Running

SOURCES = 200
SIZE = 48 << 20
SHARE = 0.5
"""Of what a handshake costs here: so much the server has charged, at least."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-out", "cert.pem", "-keyout", "key.pem"],
        check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    ports = {name: free_port() for name in ("httpd", "webdavd", "telemetry")}
    secure = {
        "address": "127.0.0.1",
        "enable_https": True,
        "certificate_file": str(tmp_path / "cert.pem"),
        "certificate_key_file": str(tmp_path / "key.pem"),
    }
    running = Running(
        tmp_path / "server",
        settings={
            "httpd": {"bindings": [{**secure, "port": ports["httpd"]}]},
            "webdavd": {"bindings": [{**secure, "port": ports["webdavd"]}]},
            "telemetry": {"bind_port": ports["telemetry"], "bind_address": "127.0.0.1"},
        },
    )
    running.ports = ports  # type: ignore[attr-defined]
    try:
        yield running.start()
    finally:
        running.stop()


def charged(server: Running) -> float:
    """Processor seconds of strangers."""
    line = http.client.HTTPConnection("127.0.0.1", server.ports["telemetry"], timeout=10)  # type: ignore[attr-defined]
    try:
        line.request("GET", "/metrics")
        text = line.getresponse().read().decode()
    finally:
        line.close()
    name = "tidegate_unauthenticated_cpu_seconds_total"
    return sum(float(one.split()[-1]) for one in text.splitlines() if one.startswith(name))


def cost_of_one(directory: Path, times: int = 20) -> float:
    """Processor seconds of the server's half of a handshake with the same certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    spent = 0.0
    for _ in range(times):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        theirs = trusting().wrap_bio(to_client, to_server)
        ours = context.wrap_bio(to_server, to_client, server_side=True)
        for turn in range(4):
            began = time.thread_time()
            with contextlib.suppress(ssl.SSLWantReadError):
                (ours if turn % 2 else theirs).do_handshake()
            spent += (time.thread_time() - began) * (turn % 2)
    return spent / times


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.needs("openssl")
async def test_what_they_cost_is_theirs_and_the_download_goes_on(server: Running, tmp_path: Path) -> None:
    person = server.account()
    (person.home / "big").write_bytes(b"tide" * (SIZE // 4))
    context = trusting()

    async def shake(number: int) -> bool:
        port = server.ports["httpd" if number % 2 else "webdavd"]  # type: ignore[attr-defined]
        source = (f"127.0.1.{number}", 0)
        try:
            async with asyncio.timeout(30):
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=source)
        except (OSError, TimeoutError):
            return False
        writer.transport.abort()
        return True

    async with person.connect() as connection, connection.start_sftp_client() as sftp:
        before = await asyncio.to_thread(charged, server)
        download = asyncio.create_task(sftp.get("big", str(tmp_path / "got")))
        shaken = sum(await asyncio.gather(*map(shake, range(1, SOURCES + 1))))
        await download
        spent = await asyncio.to_thread(charged, server) - before
    assert (tmp_path / "got").read_bytes() == (person.home / "big").read_bytes()
    assert shaken == SOURCES  # they wait, and are served
    assert spent > shaken * SHARE * await asyncio.to_thread(cost_of_one, tmp_path)
