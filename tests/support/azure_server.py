# SPDX-License-Identifier: Apache-2.0
"""Azurite, the emulator of Azure Blob, which the tests start on a free port of the loopback.

`azurite_server` is one for a process of the suite; each test takes a container of its own. What is stored is
looked at with the service's own library. What Azurite lacks is in docs/how_to/azure.md.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.foreign_builds import AZURITE, Unavailable, built
from tests.support.needs import absent, missing
from tests.support.object_servers import running, wait
from tests.support.ports import free_ports

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key that every emulator has."""


@dataclass(frozen=True)
class AzureServer:
    """An emulator.

    Attributes:
        endpoint: its URL, without the account.
        pid: of its process.
        admin: a client of the service's library, to look at what is stored.
    """

    endpoint: str
    pid: int
    admin: Any
    kind: str = "azurite"

    def bucket(self) -> str:
        """A new container, empty."""
        name = f"tidegate-{secrets.token_hex(6)}"
        self.admin.create_container(name)
        return name

    def made(self, bucket: str, bounds: Any = None, **more: Any) -> Any:
        """The product's client of a container, not open; `more` are further options, `bounds` those of requests."""
        from tidegate.backends.objects.azure import AzureBucket
        from tidegate.backends.objects.azure_options import AzureOptions

        return AzureBucket(AzureOptions(**self.options(bucket, **more)), bounds)

    def options(self, bucket: str, **more: Any) -> dict[str, Any]:
        """The ``azblobconfig`` of a record for a container."""
        return {
            "container": bucket,
            "account_name": ACCOUNT,
            "account_key": KEY,
            "endpoint": self.endpoint,
            "use_emulator": True,
            **more,
        }

    def sas_url(self, container: str, permission: str = "racwdl", **more: Any) -> str:
        """A URL with a signature for a container."""
        from datetime import UTC, datetime, timedelta

        from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        how = {"expiry": datetime.now(UTC) + timedelta(hours=1), **more}
        permissions = ContainerSasPermissions.from_string(permission)
        token = generate_container_sas(ACCOUNT, container, account_key=KEY, permission=permissions, **how)
        return f"{self.endpoint}/{ACCOUNT}/{container}?{token}"


@contextlib.contextmanager
def azurite(directory: Path, *words: str, ca_file: str = "") -> Iterator[AzureServer]:
    """Azurite with its data in memory.

    Args:
        directory: of its log.
        words: further options.
        ca_file: certificate to trust, if they make it speak TLS.
    """
    scheme = "https" if ca_file else "http"
    gone = [name for name in AZURITE.programs if missing(name)]
    if gone:
        absent(", ".join(gone))
    try:
        program = built(AZURITE) / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    except Unavailable as error:
        absent(f"azurite, which cannot be fetched: {error}")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_ports(1)[0]
    argv = ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    argv += ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", *words]
    with running(argv, directory / "log") as process:
        url = f"{scheme}://127.0.0.1:{port}"
        context = ssl.create_default_context(cafile=ca_file) if ca_file else None
        wait(f"{url}/", process, directory / "log", context)
        with contextlib.closing(_client(url, ca_file)) as client:
            yield AzureServer(url, process.pid, client)


def _client(url: str, ca_file: str) -> Any:
    from azure.storage.blob import BlobServiceClient  # takes 0.3 s, and most of the suite does without

    credential = {"account_name": ACCOUNT, "account_key": KEY}
    return BlobServiceClient(f"{url}/{ACCOUNT}", credential=credential, connection_verify=ca_file or True)


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """Azurite, one for the process."""
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server
