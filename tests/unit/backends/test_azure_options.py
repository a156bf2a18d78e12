# SPDX-License-Identifier: Apache-2.0
"""Options of records under ``azblobconfig``: every mistake is named by its field, and secrets are shown nowhere."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tidegate.backends.factory import StorageKinds, options_of
from tidegate.backends.objects.azure_kind import AzureStorage, settings_of
from tidegate.backends.objects.azure_options import AzureOptions, Place
from tidegate.contracts.storage import StorageHost
from tidegate.errors import BadRecord
from tidegate.model import StorageConfig, StorageSpec

MIB = 1024 * 1024
KEY = base64.b64encode(b"the-secret").decode()
SAS = "https://acct.blob.core.windows.net/files?sv=2024-11-04&sr=c&sp=rl&sig=the-secret%3D"
LEAST: dict[str, Any] = {"container": "files", "account_name": "acct", "account_key": KEY}
WHOLE: dict[str, Any] = {
    "container": "files", "account_name": "acct", "account_key": {"status": "Plain", "payload": KEY}, "sas_url": {},
    "endpoint": "blob.core.windows.net", "key_prefix": "a/b", "access_tier": "Cool", "upload_part_size": 16,
    "upload_concurrency": 3, "upload_part_max_time": 60, "download_part_size": 8, "download_concurrency": 4,
    "download_part_max_time": 30, "use_emulator": False, "ca_file": "/etc/ca.pem",
}  # fmt: skip
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"container": ""}, ": container is missing"),
    ({"container": "Files"}, ": container is 'Files'; expected the name of one"),
    ({"container": "a--b"}, ": container is 'a--b'; expected the name of one"),
    ({"container": "a/b"}, ": container is 'a/b'; expected the name of one"),
    ({"container": 3}, ".container: should be a valid string"),
    ({"account_name": ""}, ": account_name is missing"),
    (
        {"account_name": "evil.example.com/"},
        ": account_name is 'evil.example.com/'; expected the name of a storage",
    ),
    ({"account_key": "the-secret"}, ": account_key is no key of a storage account: they are base64"),
    ({"sas_url": SAS}, ": account_key and sas_url exclude each other"),
    ({"account_key": "", "sas_url": "the-secret"}, ": sas_url is no URL; expected https://account.blob"),
    ({"account_key": "", "sas_url": "https://h/c?sv=the-secret"}, ": sas_url has no signature (sig=...)"),
    (
        {"account_key": "", "sas_url": SAS.replace("files", "other")},
        ": container is 'files'; that of sas_url is 'other'",
    ),
    (
        {"account_key": "", "sas_url": SAS.replace("files", "files/blob")},
        ": sas_url is that of a blob; expected",
    ),
    (
        {"account_key": "", "endpoint": "https://blobs.example.com"},
        ": account_key is missing: without it or sas_url, blobs.example.com would get tokens",
    ),
    (
        {"account_key": "", "endpoint": "blob.example.com"},
        ": account_key is missing: without it or sas_url, acct.blob",
    ),
    ({"account_key": "", "use_emulator": True}, ": account_key is missing: an emulator needs it, or sas_url"),
    ({"endpoint": "https://host/path"}, ": endpoint is 'https://host/path'; expected https://host:port"),
    ({"endpoint": "https://me:the-secret@host"}, ": endpoint holds a user; expected https://host:port"),
    ({"endpoint": "host/path"}, ": endpoint is 'host/path'; expected blob.core.windows.net or https://host"),
    ({"key_prefix": "/a"}, ": key_prefix is '/a'; expected no / at its beginning"),
    ({"key_prefix": "a/../b"}, ": key_prefix is 'a/../b'; expected no . or .. as a name"),
    ({"access_tier": "Frozen"}, ": access_tier is 'Frozen'; expected one of Archive, Cold, Cool, Hot"),
    ({"upload_part_size": 4001}, ": upload_part_size is 4001; expected 0 or 1 to 4000 MiB"),
    ({"upload_concurrency": -1}, ": upload_concurrency is -1; expected 0 or 1 to 100"),
    ({"upload_part_max_time": 90_000}, ": upload_part_max_time is 90000; expected 0 or 1 to 86400 seconds"),
    ({"ca_file": "ca.pem"}, ": ca_file is 'ca.pem'; expected an absolute path"),
    ({"use_emulator": "yes"}, ".use_emulator: should be a valid boolean"),
    ({"bucket": "x"}, ".bucket: Unexpected keyword argument"),
    (
        {"account_key": {"status": "AES-256-GCM", "payload": "the-secret"}},
        ": account_key is encrypted (AES-256-GCM); expected it in plain text",
    ),
]


def options(document: dict[str, Any]) -> AzureOptions:
    config = StorageConfig("azblob", {"azblobconfig": document})
    made: AzureOptions = options_of(AzureOptions, "azblobconfig", config, "filesystem.")
    return made


def test_all_fields() -> None:
    made = options(WHOLE)
    assert made.prefix == "a/b/"
    assert made.place() == Place("https://acct.blob.core.windows.net", "files", "acct")
    settings = settings_of(made, StorageHost())
    assert (settings.upload_part_size, settings.upload_concurrency) == (16 * MIB, 3)
    assert (settings.download_part_size, settings.download_concurrency) == (8 * MIB, 4)
    assert settings.service == "https://acct.blob.core.windows.net"


def test_defaults() -> None:
    settings = settings_of(options(LEAST), StorageHost())
    assert (settings.upload_part_size, settings.upload_concurrency) == (5 * MIB, 3)
    assert (settings.download_part_size, settings.download_concurrency) == (2 * MIB, 6)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (
            {"endpoint": "blob.core.usgovcloudapi.net"},
            Place("https://acct.blob.core.usgovcloudapi.net", "files", "acct"),
        ),
        ({"endpoint": "https://blobs.example.com/"}, Place("https://blobs.example.com", "files", "acct")),
        ({"use_emulator": True}, Place("http://127.0.0.1:10000/acct", "files", "acct")),
        (
            {"use_emulator": True, "account_name": "", "endpoint": "http://az:1"},
            Place("http://az:1/devstoreaccount1", "files", "devstoreaccount1"),
        ),
        ({"account_key": ""}, Place("https://acct.blob.core.windows.net", "files", "acct")),
        (
            {"account_key": "", "sas_url": SAS, "container": "", "endpoint": "blob.core.windows.net"},
            Place("https://acct.blob.core.windows.net", "files", ""),
        ),
        (
            {"account_key": "", "sas_url": {"status": "Plain", "payload": SAS.replace("/files", "/")}},
            Place("https://acct.blob.core.windows.net", "files", ""),
        ),
        (
            {"account_key": "", "sas_url": "http://h:1/acct/files?sig=x", "use_emulator": True},
            Place("http://h:1/acct", "files", "acct"),
        ),
    ],
)
def test_places(document: dict[str, Any], place: Place) -> None:
    assert options({**LEAST, **document}).place() == place


@pytest.mark.parametrize(
    ("document", "says"), MISTAKES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_mistakes(document: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRecord) as caught:
        options({**LEAST, **document})
    assert f"filesystem.azblobconfig{says}" in str(caught.value)
    assert "the-secret" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    assert KEY not in repr(options(WHOLE))
    assert "the-secret" not in repr(options({"container": "files", "sas_url": SAS}))


def test_a_record_needs_no_directory() -> None:
    StorageKinds().check(StorageSpec("", StorageConfig("azblob", {"azblobconfig": LEAST})))


async def test_roots_in_one_container_share_a_client() -> None:
    kind = AzureStorage(StorageHost())
    spec = StorageSpec("")
    first = kind.build(spec, options({**LEAST, "key_prefix": "a"}))
    second = kind.build(spec, options({**LEAST, "key_prefix": "b"}))
    other = kind.build(spec, options({**LEAST, "access_tier": "Hot"}))
    assert first._bucket is second._bucket
    assert other._bucket is not second._bucket
    assert first.location("x") == "azblob://acct/files/a/x"
    await kind.close()
