# SPDX-License-Identifier: Apache-2.0
"""Options of records under ``s3config``: every mistake is named by its field, and secrets are shown nowhere."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tidegate.backends.factory import StorageKinds, options_of
from tidegate.backends.objects.s3_kind import S3Storage, settings_of
from tidegate.backends.objects.s3_options import S3Options, customer_key
from tidegate.contracts.storage import StorageHost
from tidegate.errors import BadRecord
from tidegate.model import StorageConfig, StorageSpec
from tidegate.model.secrets import SecretDocument, open_secret

MIB = 1024 * 1024
SECRETS = ("the-secret", "the-token", "k" * 32)
WHOLE: dict[str, Any] = {
    "bucket": "b-1", "region": "eu-central-1", "access_key": "AK", "session_token": "the-token",
    "access_secret": {"status": "Plain", "payload": "the-secret"}, "role_arn": "arn:aws:iam::123456789012:role/x/y",
    "external_id": "id", "endpoint": "https://s3.example.com:9000", "key_prefix": "a/b", "storage_class": "STANDARD_IA",
    "acl": "private", "upload_part_size": 16, "upload_concurrency": 3, "upload_part_max_time": 60,
    "download_part_size": 8, "download_concurrency": 4, "download_part_max_time": 30, "force_path_style": True,
    "skip_tls_verify": True, "ca_file": "/etc/ca.pem", "sse_customer_key": "k" * 32, "sign_payload": False,
    "checksum": "MD5",
}  # fmt: skip
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"bucket": ""}, ": bucket is ''; expected the name of a bucket or an ARN"),
    ({"bucket": "a/b"}, ": bucket is 'a/b'; expected the name of a bucket or an ARN"),
    ({"bucket": 3}, ".bucket: should be a valid string"),
    ({"region": "eu central"}, ": region is 'eu central'; expected a region, for instance eu-central-1"),
    ({"access_key": "AK"}, ": access_secret is missing: access_key and access_secret go together"),
    ({"access_secret": "s"}, ": access_key is missing: access_key and access_secret go together"),
    ({"session_token": "t"}, ": session_token needs access_key and access_secret"),
    ({"external_id": "x"}, ": external_id needs role_arn"),
    ({"role_arn": "role"}, ": role_arn is 'role'; expected the ARN of a role"),
    ({"endpoint": "s3.example.com"}, ": endpoint is 's3.example.com'; expected https://host:port"),
    ({"endpoint": "ftp://x"}, ": endpoint is 'ftp://x'; expected https://host:port"),
    ({"endpoint": "https://host/path"}, ": endpoint is 'https://host/path'; expected https://host:port"),
    ({"endpoint": "https://me:the-secret@host"}, ": endpoint holds a user; expected https://host:port"),
    ({"key_prefix": "/a"}, ": key_prefix is '/a'; expected no / at its beginning"),
    ({"key_prefix": "a/../b"}, ": key_prefix is 'a/../b'; expected no . or .. as a name"),
    ({"storage_class": "cold storage"}, ": storage_class is 'cold storage'; expected a storage class"),
    ({"acl": "everybody"}, ": acl is 'everybody'; expected one of authenticated-read"),
    ({"upload_part_size": 4}, ": upload_part_size is 4; expected 0 or 5 to 5120 MiB"),
    ({"download_part_size": 6000}, ": download_part_size is 6000; expected 0 or 1 to 5120 MiB"),
    ({"upload_concurrency": -1}, ": upload_concurrency is -1; expected 0 or 1 to 100"),
    ({"upload_part_max_time": 90_000}, ": upload_part_max_time is 90000; expected 0 or 1 to 86400 seconds"),
    ({"ca_file": "ca.pem"}, ": ca_file is 'ca.pem'; expected an absolute path"),
    ({"server_side_encryption": "DES"}, ": server_side_encryption is 'DES'; expected one of AES256, aws:kms"),
    ({"sse_kms_key_id": "k"}, ": sse_kms_key_id needs server_side_encryption aws:kms"),
    ({"sse_customer_key": "short"}, ": sse_customer_key has to be 32 bytes, or the base64 of 32 bytes"),
    (
        {"sse_customer_key": "k" * 32, "server_side_encryption": "AES256"},
        ": sse_customer_key and server_side_encryption exclude each other",
    ),
    ({"checksum": "CRC64"}, ": checksum is 'CRC64'; expected one of CRC32, MD5"),
    ({"force_path_style": "yes"}, ".force_path_style: should be a valid boolean"),
    ({"buckett": "x"}, ".buckett: Unexpected keyword argument"),
    (
        {"access_key": "AK", "access_secret": {"status": "AES-256-GCM", "payload": "the-secret"}},
        ": access_secret is encrypted (AES-256-GCM); expected it in plain text",
    ),
    (
        {"access_key": "AK", "access_secret": "$aes$the-secret$x"},
        ": access_secret is encrypted ($aes$); expected it in plain text",
    ),
]


def options(document: dict[str, Any]) -> S3Options:
    made: S3Options = options_of(
        S3Options, "s3config", StorageConfig("s3", {"s3config": document}), "filesystem."
    )
    return made


def test_all_fields() -> None:
    made = options(WHOLE)
    assert made.prefix == "a/b/"
    assert open_secret("access_secret", made.access_secret) == "the-secret"
    assert customer_key(open_secret("", made.sse_customer_key)) == b"k" * 32
    settings = settings_of(made, StorageHost())
    assert (settings.upload_part_size, settings.upload_concurrency) == (16 * MIB, 3)
    assert (settings.download_part_size, settings.download_concurrency) == (8 * MIB, 4)


def test_defaults() -> None:
    made = options({"bucket": "b-1"})
    assert made.prefix == ""
    settings = settings_of(made, StorageHost())
    assert (settings.upload_part_size, settings.upload_concurrency) == (5 * MIB, 3)
    assert (settings.download_part_size, settings.download_concurrency) == (2 * MIB, 6)


@pytest.mark.parametrize(
    ("document", "says"), MISTAKES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_mistakes(document: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRecord) as caught:
        options({"bucket": "b-1", **document})
    assert f"filesystem.s3config{says}" in str(caught.value)
    assert "the-secret" not in str(caught.value)


def test_missing_bucket() -> None:
    with pytest.raises(BadRecord, match=r"^filesystem\.s3config\.bucket: is missing$"):
        options({})


def test_secrets_are_not_shown() -> None:
    text = repr(options(WHOLE))
    assert not any(secret in text for secret in SECRETS)
    assert "the-secret" not in repr(SecretDocument("Plain", "the-secret", "the-secret", "the-secret"))


def test_customer_keys() -> None:
    key = bytes(range(32))
    assert customer_key(base64.b64encode(key).decode()) == key
    assert customer_key("k" * 32) == b"k" * 32
    for wrong in ("", "k" * 31, "k" * 33, "ü" * 32):
        with pytest.raises(ValueError, match="sse_customer_key"):
            customer_key(wrong)


def test_a_record_needs_no_directory() -> None:
    spec = StorageSpec("", StorageConfig("s3", {"s3config": {"bucket": "b-1"}}))
    StorageKinds().check(spec)
    spec = StorageSpec("", StorageConfig("s3", {"s3config": {"bucket": "b-1", "acl": "x"}}))
    with pytest.raises(BadRecord, match=r"^virtual_folders\[0\]\.filesystem\.s3config: acl is 'x'"):
        StorageKinds().check(spec, "virtual_folders[0].")


async def test_roots_in_one_bucket_share_a_client() -> None:
    kind = S3Storage(StorageHost())
    spec = StorageSpec("")
    first = kind.build(spec, options({"bucket": "b-1", "key_prefix": "a"}))
    second = kind.build(spec, options({"bucket": "b-1", "key_prefix": "b"}))
    other = kind.build(spec, options({"bucket": "b-1", "key_prefix": "b", "region": "eu-west-1"}))
    assert first._bucket is second._bucket
    assert other._bucket is not second._bucket
    assert first.location("x") == "s3://b-1/a/x"
    await kind.close()
