# SPDX-License-Identifier: Apache-2.0
"""fake-gcs-server, the emulator of Google Cloud Storage, which the tests start on a free port of the loopback.

`gcs_server` is one for a process of the suite; each test takes a bucket of its own. The program is built by
`foreign_builds` from tests/clients/foreign/gcs, which adds the preconditions that the emulator does not check. What
it lacks beyond that is in docs/how_to/gcs.md.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.foreign_builds import GCS, Unavailable, built
from tests.support.needs import absent, missing
from tests.support.object_servers import running, wait
from tests.support.ports import free_ports

HIDDEN = ".tidegate-uploads/"


class GcsAdmin:
    """Looks at what is stored, over plain HTTP."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """The answer to one request."""
        request = urllib.request.Request(self._endpoint + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: bytes = answer.read()
        return found

    def objects(self, bucket: str, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Objects by key, parts of uploads too."""
        found = json.loads(self.ask("GET", f"/storage/v1/b/{bucket}/o?prefix={quote(prefix, safe='')}"))
        return {entry["name"]: entry for entry in found.get("items", ())}

    def read(self, bucket: str, key: str) -> bytes:
        """Content of an object."""
        return self.ask("GET", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}?alt=media")

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Store an object."""
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(key, safe='')}"
        self.ask("POST", path, data, **{"Content-Type": "application/octet-stream"})

    def uploads(self, bucket: str) -> list[str]:
        """Keys of objects that belong to unfinished uploads."""
        return list(self.objects(bucket, HIDDEN))


@dataclass(frozen=True)
class GcsServer:
    """An emulator.

    Attributes:
        endpoint: its URL.
        pid: of its process.
        admin: looks at what is stored.
    """

    endpoint: str
    pid: int
    admin: GcsAdmin
    kind: str = "gcs"

    def bucket(self) -> str:
        """A new bucket, empty."""
        name = f"tidegate-{secrets.token_hex(6)}"
        body = json.dumps({"name": name}).encode()
        self.admin.ask("POST", "/storage/v1/b?project=p", body, **{"Content-Type": "application/json"})
        return name

    def made(self, bucket: str, bounds: Any = None, **more: Any) -> Any:
        """The product's client of a bucket, not open; `more` are further options, `bounds` those of requests."""
        from tidegate.backends.objects.gcs import GcsBucket
        from tidegate.backends.objects.gcs_options import GcsOptions

        return GcsBucket(GcsOptions(**self.options(bucket, **more)), bounds)

    def options(self, bucket: str, **more: Any) -> dict[str, Any]:
        """The ``gcsconfig`` of a record for a bucket."""
        return {"bucket": bucket, "endpoint": self.endpoint, **more}


@contextlib.contextmanager
def gcs(directory: Path) -> Iterator[GcsServer]:
    """The emulator with its data in memory."""
    gone = [name for name in GCS.programs if missing(name)]
    if gone:
        absent(", ".join(gone))
    try:
        program = built(GCS) / "client"
    except Unavailable as error:
        absent(f"fake-gcs-server: {error}")
    directory.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with running([str(program), address], directory / "log") as process:
        wait(f"http://{address}/_internal/healthcheck", process, directory / "log")
        yield GcsServer(f"http://{address}", process.pid, GcsAdmin(f"http://{address}"))


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """The emulator, one for the process."""
    with gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server
