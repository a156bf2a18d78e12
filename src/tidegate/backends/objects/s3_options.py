# SPDX-License-Identifier: Apache-2.0
"""Options of a record under ``s3config``: a bucket of Amazon S3 or of a store that speaks its protocol."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from tidegate.backends.objects.bucket import Limits
from tidegate.backends.objects.option_checks import (
    CONCURRENCY,
    MAX_TIME,
    check,
    check_endpoint,
    check_prefix,
    matches,
    one_of,
    prefix_of,
    within,
)
from tidegate.model import Reach
from tidegate.model.secrets import Secret, check_secret, open_secret

PART_SIZES: Final = range(5, 5121)
"""`upload_part_size` in MiB; the service takes parts of 5 MiB to 5 GiB."""
RANGE_SIZES: Final = range(1, 5121)
"""`download_part_size` in MiB."""
ACLS: Final = frozenset(
    (
        "private",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "aws-exec-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
        "log-delivery-write",
    )
)
"""Canned ACLs."""
ENCRYPTIONS: Final = frozenset(("AES256", "aws:kms", "aws:kms:dsse"))
"""Encryption by the service, with keys of the service or of its key management."""
CHECKSUMS: Final = frozenset(("CRC32", "MD5"))
"""Digests that go with what is sent."""

_GIB: Final = 1024**3
LIMITS: Final = Limits(
    put=5 * _GIB,
    copy=5 * _GIB,
    part_least=5 * 1024**2,
    part=5 * _GIB,
    parts=10_000,
    object=5 * 1024 * _GIB,
    takes_crc32=True,
)
"""Bounds of the protocol (S3 user guide, "Amazon S3 multipart upload limits"); some stores take less."""

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}|arn:[a-z-]+:s3[a-z-]*:[A-Za-z0-9:/_-]+")
_REGION: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ROLE: Final = re.compile(r"arn:[a-z-]+:iam::\d*:role/[\w+=,.@/-]+")
_CLASS: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Options of a record under ``s3config``. Empty text and 0 stand for the default.

    Attributes:
        bucket: its name, or the ARN of an access point.
        region: for instance ``eu-central-1``; by default that of the environment, else ``us-east-1``.
        access_key: identifier of a key. Without one the credentials are looked for in the environment, a web
            identity, the files of the AWS tools, and the metadata of the container or instance (IMDSv2).
        access_secret: belongs to `access_key`.
        session_token: belongs to temporary keys.
        role_arn: a role that is assumed with those credentials.
        external_id: what the role's owner asks for with it.
        endpoint: ``https://host:port`` of another store than Amazon's.
        key_prefix: of all keys; without a leading ``/``, one at its end is added.
        storage_class: of new objects.
        acl: canned ACL of new objects.
        upload_part_size: MiB; larger files get larger parts. By default 5.
        upload_concurrency: parts of one upload under way at the same time. By default 15 MiB of them.
        upload_part_max_time: seconds that a part may take with all its tries. By default 600.
        download_part_size: MiB that one request asks for at most. By default 2.
        download_concurrency: requests of one download under way at the same time. By default 12 MiB of
            them.
        download_part_max_time: seconds that one of them may take with all its tries. By default 600.
        force_path_style: ``host/bucket/key`` in place of ``bucket.host/key``; most other stores want it.
        skip_tls_verify: take any certificate. Whoever is in between reads and changes everything.
        ca_file: absolute path of certificates (PEM) that are trusted in place of those of the environment.
        server_side_encryption: ``AES256`` (SSE-S3), ``aws:kms`` or ``aws:kms:dsse``; by default the bucket's.
        sse_kms_key_id: key of the key management; by default the service's own.
        sse_customer_key: key of 32 bytes, or their base64 (SSE-C); the service needs it for each request.
        sign_payload: True if the content is part of the signature. By default with ``http`` to another host
            only: TLS protects it otherwise, and it costs 0.6 s of CPU a GiB.
        checksum: ``CRC32`` or ``MD5``; by default CRC32, and MD5 where the service is seen not to take it.
    """

    bucket: str
    region: str = ""
    access_key: str = ""
    access_secret: Secret = field(default="", repr=False)
    session_token: Secret = field(default="", repr=False)
    role_arn: str = ""
    external_id: str = ""
    endpoint: str = ""
    key_prefix: str = ""
    storage_class: str = ""
    acl: str = ""
    upload_part_size: int = 0
    upload_concurrency: int = 0
    upload_part_max_time: int = 0
    download_part_size: int = 0
    download_concurrency: int = 0
    download_part_max_time: int = 0
    force_path_style: bool = False
    skip_tls_verify: bool = False
    ca_file: str = ""
    server_side_encryption: str = ""
    sse_kms_key_id: str = ""
    sse_customer_key: Secret = field(default="", repr=False)
    sign_payload: bool | None = None
    checksum: str = ""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(bool(_BUCKET.fullmatch(self.bucket)), "bucket", self.bucket, "the name of a bucket or an ARN")
        matches(_REGION, "region", self.region, "a region, for instance eu-central-1")
        matches(_ROLE, "role_arn", self.role_arn, "the ARN of a role")
        matches(_CLASS, "storage_class", self.storage_class, "a storage class, for instance STANDARD_IA")
        one_of(ACLS, "acl", self.acl)
        one_of(ENCRYPTIONS, "server_side_encryption", self.server_side_encryption)
        one_of(CHECKSUMS, "checksum", self.checksum)
        within(PART_SIZES, "upload_part_size", self.upload_part_size, " MiB")
        within(RANGE_SIZES, "download_part_size", self.download_part_size, " MiB")
        for name in ("upload_concurrency", "download_concurrency"):
            within(CONCURRENCY, name, getattr(self, name), "")
        for name in ("upload_part_max_time", "download_part_max_time"):
            within(range(1, MAX_TIME + 1), name, getattr(self, name), " seconds")
        check_endpoint(self.endpoint)
        self._check_secrets()
        check_prefix(self.key_prefix)
        check(not self.ca_file or self.ca_file.startswith("/"), "ca_file", self.ca_file, "an absolute path")

    def reach(self) -> Reach:
        """The hosts and credentials that it uses; the server's own without a key."""
        urls = {"endpoint": self.endpoint} if self.endpoint else {}
        return Reach(urls, "" if self.access_key else "access_key")

    def _check_secrets(self) -> None:
        for name in ("access_secret", "session_token", "sse_customer_key"):
            check_secret(name, getattr(self, name))
        if customer := open_secret("sse_customer_key", self.sse_customer_key):
            customer_key(customer)
        if bool(self.access_key) != bool(self.access_secret):
            missing = "access_secret" if self.access_key else "access_key"
            raise ValueError(f"{missing} is missing: access_key and access_secret go together")
        if self.session_token and not self.access_key:
            raise ValueError("session_token needs access_key and access_secret")
        if self.external_id and not self.role_arn:
            raise ValueError("external_id needs role_arn")
        if self.sse_customer_key and self.server_side_encryption:
            raise ValueError("sse_customer_key and server_side_encryption exclude each other")
        if self.sse_kms_key_id and not self.server_side_encryption.startswith("aws:kms"):
            raise ValueError("sse_kms_key_id needs server_side_encryption aws:kms")

    @property
    def prefix(self) -> str:
        """`key_prefix`, empty or with ``/`` at its end."""
        return prefix_of(self.key_prefix)


def customer_key(text: str) -> bytes:
    """The 32 bytes of `S3Options.sse_customer_key`.

    Raises:
        ValueError: the text is neither them nor their base64.
    """
    if len(raw := text.encode()) == 32:
        return raw
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ValueError("sse_customer_key has to be 32 bytes, or the base64 of 32 bytes")
    return raw


def limits_of(options: S3Options) -> Limits:
    """Bounds of a bucket: who chooses MD5 has nothing else computed."""
    return replace(LIMITS, takes_crc32=False) if options.checksum == "MD5" else LIMITS
