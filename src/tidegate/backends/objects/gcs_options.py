# SPDX-License-Identifier: Apache-2.0
"""Options of a record under ``gcsconfig``: a bucket of Google Cloud Storage."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from tidegate.backends.objects.bucket import Limits
from tidegate.backends.objects.option_checks import (
    CONCURRENCY,
    MAX_TIME,
    MIB,
    check,
    check_endpoint,
    check_prefix,
    is_loopback,
    matches,
    one_of,
    prefix_of,
    within,
)
from tidegate.model import Reach
from tidegate.model.secrets import Secret, check_secret, open_secret

PART_SIZES: Final = range(1, 5121)
"""`upload_part_size` and `download_part_size` in MiB."""
ACLS: Final = frozenset(
    (
        "authenticatedRead",
        "bucketOwnerFullControl",
        "bucketOwnerRead",
        "private",
        "projectPrivate",
        "publicRead",
    )
)
"""Predefined ACLs (JSON API reference, objects: insert)."""
EMULATOR: Final = "STORAGE_EMULATOR_HOST"
"""Variable of the environment that names another server, as Google's own libraries read it."""
UNIVERSE: Final = "googleapis.com"
CREDENTIALS_BYTES: Final = 64 * 1024
"""Longest text of `GcsOptions.credentials`."""

_GIB: Final = 1024**3
LIMITS: Final = Limits(
    put=5 * 1024 * _GIB,
    copy=5 * 1024 * _GIB,
    part_least=MIB,
    part=5 * _GIB,
    parts=10_000,
    object=5 * 1024 * _GIB,
    copies_ranges=False,
)
"""Bounds of the service (Cloud Storage, "Quotas and limits"); parts are objects, so theirs are ours."""

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_CLASS: Final = re.compile(r"[A-Z][A-Z_]{1,63}")
_DOMAIN: Final = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_PROJECT: Final = re.compile(r"([a-z0-9.-]{1,200}:)?[a-z0-9][a-z0-9-]{0,62}")
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "service_account": ("client_email", "private_key", "token_uri"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
}
"""Kinds of credentials that a record may hold, and what each has to have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsOptions:
    """Options of a record under ``gcsconfig``. Empty text and 0 stand for the default.

    Attributes:
        bucket: its name.
        credentials: the JSON text of a key of a service account (or of what ``gcloud auth`` keeps of a user),
            or its base64.
        credentials_file: absolute path of such a file on this host; one of workload identity federation, too.
        automatic_credentials: 1 for those of this host: the variable ``GOOGLE_APPLICATION_CREDENTIALS``, the
            files of ``gcloud``, then the metadata server (of an instance, or workload identity of GKE).
        endpoint: ``https://host:port`` of another server than Google's. Without credentials it is asked
            without, as an emulator is.
        universe_domain: of Google's clouds elsewhere; by default ``googleapis.com``.
        user_project: project that pays for requests to a bucket whose requester pays.
        key_prefix: of all keys; without a leading ``/``, one at its end is added.
        storage_class: of new objects, for instance ``NEARLINE``; by default the bucket's.
        acl: predefined ACL of new objects; buckets with uniform access refuse any.
        hns: of records of SFTPGo: the bucket has a hierarchical namespace. Nothing depends on it.
        upload_part_size: MiB; larger files get larger parts. By default 5.
        upload_concurrency: parts of one upload under way at the same time. By default 15 MiB of them.
        upload_part_max_time: seconds that a part may take with all its tries. By default 600.
        download_part_size: MiB that one request asks for at most. By default 2.
        download_concurrency: requests of one download under way at the same time. By default 12 MiB of
            them.
        download_part_max_time: seconds that one of them may take with all its tries. By default 600.
        skip_tls_verify: take any certificate. Whoever is in between reads and changes everything.
        ca_file: absolute path of certificates (PEM) that are trusted in place of those of the environment.
    """

    bucket: str
    credentials: Secret = field(default="", repr=False)
    credentials_file: str = ""
    automatic_credentials: int = 0
    endpoint: str = ""
    universe_domain: str = ""
    user_project: str = ""
    key_prefix: str = ""
    storage_class: str = ""
    acl: str = ""
    hns: int = 0
    upload_part_size: int = 0
    upload_concurrency: int = 0
    upload_part_max_time: int = 0
    download_part_size: int = 0
    download_concurrency: int = 0
    download_part_max_time: int = 0
    skip_tls_verify: bool = False
    ca_file: str = ""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check(bool(_BUCKET.fullmatch(self.bucket)), "bucket", self.bucket, "the name of a bucket")
        matches(_CLASS, "storage_class", self.storage_class, "a storage class, for instance NEARLINE")
        matches(_DOMAIN, "universe_domain", self.universe_domain, "a domain, for instance googleapis.com")
        matches(_PROJECT, "user_project", self.user_project, "the id of a project")
        one_of(ACLS, "acl", self.acl)
        for name in ("automatic_credentials", "hns"):
            if getattr(self, name) not in {0, 1}:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or 1")
        for name in ("upload_part_size", "download_part_size"):
            within(PART_SIZES, name, getattr(self, name), " MiB")
        for name in ("upload_concurrency", "download_concurrency"):
            within(CONCURRENCY, name, getattr(self, name), "")
        for name in ("upload_part_max_time", "download_part_max_time"):
            within(range(1, MAX_TIME + 1), name, getattr(self, name), " seconds")
        check_endpoint(self.endpoint)
        check_prefix(self.key_prefix)
        for name in ("credentials_file", "ca_file"):
            path = getattr(self, name)
            check(not path or path.startswith("/"), name, path, "an absolute path")
        self._check_credentials()

    def reach(self) -> Reach:
        """The hosts and credentials that it uses; files and identities of this host are the server's own."""
        urls: dict[str, str] = {}
        if self.endpoint:
            urls["endpoint"] = self.endpoint
        if self.universe_domain not in {"", UNIVERSE}:
            urls["universe_domain"] = f"https://storage.{self.universe_domain}"
        if self.automatic_credentials:
            return Reach(urls, "automatic_credentials")
        if self.credentials:
            found = credentials_of(open_secret("credentials", self.credentials))
            if "token_uri" in found:
                urls["credentials"] = str(found["token_uri"])
        own = self.credentials or (self.endpoint and not self.credentials_file)
        return Reach(urls, "" if own else "credentials_file" if self.credentials_file else "credentials")

    def _check_credentials(self) -> None:
        check_secret("credentials", self.credentials)
        given = [name for name in ("credentials", "credentials_file") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError("credentials and credentials_file exclude each other")
        if self.credentials and not self.automatic_credentials:
            credentials_of(open_secret("credentials", self.credentials))
        if not given and not self.automatic_credentials:
            if not self.endpoint and not os.environ.get(EMULATOR):
                others = "or set credentials_file, or automatic_credentials to 1"
                raise ValueError(f"credentials is missing: give the JSON of a service account, {others}")
        elif self.endpoint.startswith("http://") and not is_loopback(self.endpoint):
            raise ValueError(
                f"endpoint is {self.endpoint!r}; expected https://, for credentials are sent to it"
            )

    @property
    def prefix(self) -> str:
        """`key_prefix`, empty or with ``/`` at its end."""
        return prefix_of(self.key_prefix)


def credentials_of(text: str) -> dict[str, Any]:
    """The credentials of `GcsOptions.credentials`.

    Raises:
        ValueError: it is no such JSON; names what is missing and repeats nothing of it.
    """
    if len(text) > CREDENTIALS_BYTES:
        raise ValueError(f"credentials is longer than {CREDENTIALS_BYTES} bytes")
    if not text.lstrip().startswith("{"):  # releases 0.9 wrote base64
        try:
            text = base64.b64decode(text, validate=True).decode()
        except ValueError:
            text = ""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("credentials is not the JSON of a service account")
    kind = found.get("type")
    if not isinstance(kind, str) or kind not in _NEEDED:
        expected = "expected service_account; other kinds may only come from credentials_file"
        raise ValueError(f"credentials: type is {kind if isinstance(kind, str) else None!r}; {expected}")
    for name in _NEEDED[kind]:
        if not isinstance(found.get(name), str) or not found[name]:
            raise ValueError(f"credentials: {name} is missing")
    if kind == "service_account":
        _check_key(found)
    return found


def _check_key(found: Mapping[str, str]) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # takes a while to import

    try:
        load_pem_private_key(found["private_key"].encode(), None)
    except (ValueError, TypeError):
        raise ValueError("credentials: private_key is not a private key in PEM") from None
    where = urlsplit(found["token_uri"])
    if where.scheme != "https" and not is_loopback(found["token_uri"]):
        raise ValueError("credentials: token_uri is not a URL with https")
