# SPDX-License-Identifier: Apache-2.0
"""Options of records under ``gcsconfig``: every mistake is named by its field, and secrets are shown nowhere."""

from __future__ import annotations

import base64
import json
from typing import Any

import google_crc32c
import pytest
from tests.support.google_key import service_account

from tidegate.abc import StorageHost
from tidegate.backends.factory import StorageKinds, options_of
from tidegate.backends.objects import sums
from tidegate.backends.objects.gcs_kind import GcsStorage, settings_of
from tidegate.backends.objects.gcs_options import GcsOptions, credentials_of
from tidegate.errors import BadRecord
from tidegate.model import StorageConfig, StorageSpec
from tidegate.model.secrets import SecretDocument
from tidegate.store.storages import keep_secrets

TOKEN_URI = "https://oauth2.googleapis.com/token"


def changed(**more: Any) -> str:
    found = {**json.loads(service_account(TOKEN_URI)), **more}
    return json.dumps({name: value for name, value in found.items() if value is not None})


def read(document: dict[str, Any]) -> GcsOptions:
    config = StorageConfig("gcs", {"gcsconfig": document})
    found = options_of(GcsOptions, "gcsconfig", config, "filesystem.")
    assert isinstance(found, GcsOptions)
    return found


@pytest.fixture(autouse=True)
def no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)


def test_a_record_of_sftpgo() -> None:
    found = read(
        {
            "bucket": "bkt", "key_prefix": "a/b", "credentials": {"status": "Plain", "payload": service_account(TOKEN_URI)},
            "automatic_credentials": 0, "hns": 1, "storage_class": "NEARLINE", "acl": "projectPrivate",
            "upload_part_size": 16, "upload_part_max_time": 32, "universe_domain": "",
        }
    )  # fmt: skip
    assert (found.bucket, found.prefix, found.upload_part_size) == ("bkt", "a/b/", 16)
    assert isinstance(found.credentials, SecretDocument)
    assert "PRIVATE" not in repr(found)
    settings = settings_of(found, StorageHost())
    assert (settings.upload_part_size, settings.download_part_size) == (16 << 20, 2 << 20)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, ".bucket: is missing"),
        ({"bucket": "B"}, ": bucket is 'B'; expected the name of a bucket"),
        ({"bucket": "b/c"}, ": bucket is 'b/c'; expected the name of a bucket"),
        ({"bucket": "bkt"}, ": credentials is missing: give the JSON of a service account, or set"),
        ({"bucket": "bkt", "automatic_credentials": 2}, ": automatic_credentials is 2; expected 0 or 1"),
        ({"bucket": "bkt", "automatic_credentials": 1, "hns": 3}, ": hns is 3; expected 0 or 1"),
        ({"bucket": "bkt", "automatic_credentials": 1, "acl": "all"}, ": acl is 'all'; expected one of"),
        ({"bucket": "bkt", "automatic_credentials": 1, "storage_class": "cold"}, ": storage_class is 'cold'"),
        ({"bucket": "bkt", "automatic_credentials": 1, "universe_domain": "a b"}, ": universe_domain is 'a b'"),
        ({"bucket": "bkt", "automatic_credentials": 1, "user_project": "a b"}, ": user_project is 'a b'"),
        ({"bucket": "bkt", "automatic_credentials": 1, "key_prefix": "/a"}, ": key_prefix is '/a'"),
        ({"bucket": "bkt", "automatic_credentials": 1, "ca_file": "a"}, ": ca_file is 'a'; expected an absolute"),
        ({"bucket": "bkt", "automatic_credentials": 1, "upload_part_size": 6000}, ": upload_part_size is 6000;"),
        ({"bucket": "bkt", "credentials_file": "key.json"}, ": credentials_file is 'key.json'; expected an abs"),
        ({"bucket": "bkt", "endpoint": "ftp://h"}, ": endpoint is 'ftp://h'; expected https://host:port"),
        (
            {"bucket": "bkt", "automatic_credentials": 1, "endpoint": "http://h.example"},
            ": endpoint is 'http://h.example'; expected https://, for credentials are sent to it",
        ),
        (
            {"bucket": "bkt", "credentials_file": "/k", "credentials": service_account(TOKEN_URI)},
            ": credentials and credentials_file exclude each other",
        ),
        ({"bucket": "bkt", "credentials": "$aes$00$11"}, ": credentials is encrypted ($aes$)"),
        ({"bucket": "bkt", "credential": "x"}, ".credential: "),
    ],
)  # fmt: skip
def test_mistakes_are_named(document: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read(document)
    assert f"filesystem.gcsconfig{says}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "credentials is not the JSON of a service account"),
        ("[1]", "credentials is not the JSON of a service account"),
        ('{"a": ', "credentials is not the JSON of a service account"),
        ("{}", "credentials: type is None; expected service_account"),
        (
            changed(type="external_account"),
            "type is 'external_account'; expected service_account; other kinds",
        ),
        (changed(type=["x"]), "credentials: type is None"),
        (changed(client_email=None), "credentials: client_email is missing"),
        (changed(private_key=None), "credentials: private_key is missing"),
        (changed(private_key=7), "credentials: private_key is missing"),
        (changed(private_key="SECRET"), "credentials: private_key is not a private key in PEM"),
        (changed(token_uri=None), "credentials: token_uri is missing"),
        (changed(token_uri="http://h.example/t"), "credentials: token_uri is not a URL with https"),
        (changed(token_uri="file:///etc/passwd"), "credentials: token_uri is not a URL with https"),
        ("{" + " " * 70_000, "credentials is longer than 65536 bytes"),
        ('{"type": "authorized_user", "client_id": "a"}', "credentials: client_secret is missing"),
    ],
)
def test_credentials_that_are_none(text: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        credentials_of(text)
    assert says in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_base64_of_releases_0_9() -> None:
    text = base64.b64encode(service_account(TOKEN_URI).encode()).decode()
    assert credentials_of(text)["client_email"] == "gate@project-1.iam.gserviceaccount.com"


def test_an_emulator_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read({"bucket": "bkt", "endpoint": "http://127.0.0.1:4443"}).bucket == "bkt"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:4443")
    assert read({"bucket": "bkt"}).bucket == "bkt"


def test_roots_in_one_bucket_share_a_client() -> None:
    kind = GcsStorage(StorageHost())

    def built(**more: Any) -> Any:
        spec = StorageSpec("", StorageConfig("gcs", {}))
        return kind.build(spec, GcsOptions(bucket="bkt", automatic_credentials=1, **more))._tree.bucket

    first, second = built(key_prefix="a/"), built(key_prefix="b/")
    assert first is second
    assert built(storage_class="NEARLINE") is not first
    assert first.location("k") == "gs://bkt/k"


def test_it_is_a_kind() -> None:
    kinds = StorageKinds()
    assert "gcs" in kinds.names()
    kinds.check(
        StorageSpec("", StorageConfig("gcs", {"gcsconfig": {"bucket": "bkt", "automatic_credentials": 1}}))
    )


@pytest.mark.parametrize("name", ["endpoint", "universe_domain"])
def test_a_secret_does_not_go_to_another_place(name: str) -> None:
    stored = StorageConfig("gcs", {"gcsconfig": {"bucket": "bkt", "credentials": "the-secret"}})
    given = {"bucket": "bkt", "credentials": {"status": "Redacted"}}
    same = keep_secrets(StorageConfig("gcs", {"gcsconfig": given}), stored)
    assert "the-secret" in repr(same.options)
    elsewhere = StorageConfig("gcs", {"gcsconfig": {**given, name: "https://h.example"}})
    assert "the-secret" not in repr(keep_secrets(elsewhere, stored).options)


def test_crc32c_of_parts() -> None:
    pieces = [b"", b"1", b"23456789", bytes(1000), b"x" * 777, b"1"]
    parts = [(f"{google_crc32c.value(piece):08x}", len(piece)) for piece in pieces]
    whole = f"{google_crc32c.value(b''.join(pieces)):08x}"
    assert sums.crc_of_parts(parts, sums.CASTAGNOLI) == whole
    assert f"{google_crc32c.value(b'123456789'):08x}" == "e3069283"  # RFC 3720, B.4 and many others
