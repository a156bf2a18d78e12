# SPDX-License-Identifier: Apache-2.0
"""Options of a record under ``azblobconfig``: a container of Azure Blob Storage."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import ClassVar, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tidegate.backends.objects.bucket import Limits
from tidegate.backends.objects.option_checks import (
    CONCURRENCY,
    MAX_TIME,
    MIB,
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

PART_SIZES: Final = range(1, 4001)
"""`upload_part_size` and `download_part_size` in MiB; the service takes blocks of up to 4,000 MiB."""
TIERS: Final = frozenset(("Archive", "Cold", "Cool", "Hot"))
"""Access tiers that the service takes for a new blob."""
LIMITS: Final = Limits(
    put=5000 * MIB,
    copy=256 * MIB,
    part_least=MIB,
    part=4000 * MIB,
    parts=50_000,
    object=50_000 * 4000 * MIB,
    sets_metadata=True,
)
"""Bounds of the protocol from its version 2019-12-12 on (REST reference, "Scalability and performance targets
for Blob storage", "Put Blob", "Put Block List" and "Copy Blob From URL"). Blocks may be smaller than 1 MiB;
but to read and send less than that again takes fewer requests than to append by blocks."""

PUBLIC_SUFFIX: Final = "blob.core.windows.net"
EMULATOR: Final = "http://127.0.0.1:10000"
"""The endpoint of an emulator on this host."""
EMULATOR_ACCOUNT: Final = "devstoreaccount1"
AZURE_SUFFIXES: tuple[str, ...] = (
    ".blob.core.windows.net",
    ".blob.core.usgovcloudapi.net",
    ".blob.core.chinacloudapi.cn",
    ".blob.storage.azure.net",
)
"""Hosts that get tokens of this host's own identity: those of Azure's clouds."""

_CONTAINER: Final = re.compile(r"\$root|\$web|[a-z0-9](?:-?[a-z0-9]){2,62}")
_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
_SUFFIX: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Place:
    """The container that a record names.

    Attributes:
        account_url: ``https://host`` of the account, or ``http://host/account`` of an emulator; without ``/``
            at its end.
        container: its name.
        account: name of the account; empty if only a SAS URL names the host.
    """

    account_url: str
    container: str
    account: str

    @property
    def name(self) -> str:
        """``account/container``; the host in place of an account that is not known."""
        return f"{self.account or urlsplit(self.account_url).netloc}/{self.container}"

    @property
    def host(self) -> str:
        """The name of the host, without a port."""
        return urlsplit(self.account_url).hostname or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureOptions:
    """Options of a record under ``azblobconfig``. Empty text and 0 stand for the default.

    Attributes:
        container: its name. With a `sas_url` of a container that URL names it too.
        account_name: of the storage account. With `use_emulator` ``devstoreaccount1`` by default.
        account_key: of the account, base64. Without one and without `sas_url`, tokens are asked for with what
            the environment names (``AZURE_TENANT_ID``, ``AZURE_CLIENT_ID`` and a secret or certificate), a
            workload identity, or the managed identity of the host.
        sas_url: URL of the account or the container with a shared access signature, in place of a key. It
            names the host, so `endpoint` and `account_name` do not count then.
        endpoint: what follows the account's name in the name of its host, by default
            ``blob.core.windows.net``; or the whole URL of the account, ``https://host``. With `use_emulator`
            the URL of the emulator, by default ``http://127.0.0.1:10000``.
        key_prefix: of all keys; without a leading ``/``, one at its end is added.
        access_tier: of new blobs: ``Hot``, ``Cool``, ``Cold`` or ``Archive``; by default the account's.
        upload_part_size: MiB; larger files get larger parts. By default 5.
        upload_concurrency: parts of one upload under way at the same time. By default 15 MiB of them.
        upload_part_max_time: seconds that a part may take with all its tries. By default 600.
        download_part_size: MiB that one request asks for at most. By default 2.
        download_concurrency: requests of one download under way at the same time. By default 12 MiB of
            them.
        download_part_max_time: seconds that one of them may take with all its tries. By default 600.
        use_emulator: the account's name is the first part of the path, as emulators have it.
        ca_file: absolute path of certificates (PEM) that are trusted in place of those of the environment.
    """

    container: str = ""
    account_name: str = ""
    account_key: Secret = field(default="", repr=False)
    sas_url: Secret = field(default="", repr=False)
    endpoint: str = ""
    key_prefix: str = ""
    access_tier: str = ""
    upload_part_size: int = 0
    upload_concurrency: int = 0
    upload_part_max_time: int = 0
    download_part_size: int = 0
    download_concurrency: int = 0
    download_part_max_time: int = 0
    use_emulator: bool = False
    ca_file: str = ""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("account_key", "sas_url"):
            check_secret(name, getattr(self, name))
        self._check_texts()
        if self.account_key and self.sas_url:
            raise ValueError("account_key and sas_url exclude each other")
        if self.account_key:
            account_key(open_secret("account_key", self.account_key))
        place = self.place()
        if not place.container:
            raise ValueError("container is missing")
        check(bool(_CONTAINER.fullmatch(place.container)), "container", place.container, "the name of one")
        if not self.account_key and not self.sas_url:
            self._check_identity(place)

    def _check_texts(self) -> None:
        what = "the name of a storage account: 3 to 24 of a-z and 0-9"
        matches(_ACCOUNT, "account_name", self.account_name, what)
        one_of(TIERS, "access_tier", self.access_tier)
        for name in ("upload_part_size", "download_part_size"):
            within(PART_SIZES, name, getattr(self, name), " MiB")
        for name in ("upload_concurrency", "download_concurrency"):
            within(CONCURRENCY, name, getattr(self, name), "")
        for name in ("upload_part_max_time", "download_part_max_time"):
            within(range(1, MAX_TIME + 1), name, getattr(self, name), " seconds")
        check_prefix(self.key_prefix)
        check(not self.ca_file or self.ca_file.startswith("/"), "ca_file", self.ca_file, "an absolute path")

    def _check_identity(self, place: Place) -> None:
        """A token lets whoever gets it reach every account that this host's identity may: only Azure does."""
        if not place.account_url.startswith("https://") or not place.host.endswith(AZURE_SUFFIXES):
            if self.use_emulator:
                raise ValueError("account_key is missing: an emulator needs it, or sas_url")
            raise ValueError(
                f"account_key is missing: without it or sas_url, {place.host} would get tokens of the "
                "identity of this host, which only hosts of Azure do"
            )

    def reach(self) -> Reach:
        """The hosts and credentials that it uses; the server's own identity without a key or a signature."""
        urls: dict[str, str] = {}
        if self.sas_url or self.endpoint or self.use_emulator:
            urls["sas_url" if self.sas_url else "endpoint"] = self.place().account_url
        return Reach(urls, "" if self.account_key or self.sas_url else "account_key")

    def place(self) -> Place:
        """The container.

        Raises:
            ValueError: what names it is missing or wrong.
        """
        if self.sas_url:
            return self._place_of_sas()
        if self.use_emulator:
            base = _base(self.endpoint or EMULATOR)
            account = self.account_name or EMULATOR_ACCOUNT
            return Place(f"{base}/{account}", self.container, account)
        if not self.account_name:
            raise ValueError("account_name is missing")
        if "://" in self.endpoint or "@" in self.endpoint:
            return Place(_base(self.endpoint), self.container, self.account_name)
        suffix = self.endpoint.rstrip("/") or PUBLIC_SUFFIX
        check(bool(_SUFFIX.fullmatch(suffix)), "endpoint", self.endpoint, f"{PUBLIC_SUFFIX} or https://host")
        return Place(f"https://{self.account_name}.{suffix}", self.container, self.account_name)

    def _place_of_sas(self) -> Place:
        """The text of a SAS URL is in no error: whoever knows it needs no more."""
        parts = urlsplit(open_secret("sas_url", self.sas_url).strip())
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or "@" in parts.netloc
            or parts.fragment
        ):
            raise ValueError(
                "sas_url is no URL; expected https://account.blob.core.windows.net/container?sv=..."
            )
        if "sig" not in dict(parse_qsl(parts.query)):
            raise ValueError("sas_url has no signature (sig=...)")
        names = [unquote(part) for part in parts.path.split("/") if part]
        account = names.pop(0) if self.use_emulator and names else ""
        path = f"/{account}" if account else ""
        if len(names) > 1:
            raise ValueError("sas_url is that of a blob; expected that of an account or a container")
        container = names[0] if names else self.container
        if names and self.container and self.container != container:
            raise ValueError(f"container is {self.container!r}; that of sas_url is {container!r}")
        return Place(f"{parts.scheme}://{parts.netloc}{path}", container, account)

    @property
    def prefix(self) -> str:
        """`key_prefix`, empty or with ``/`` at its end."""
        return prefix_of(self.key_prefix)

    @property
    def sas(self) -> str:
        """The query of `sas_url`; empty without one. A secret."""
        return urlsplit(open_secret("sas_url", self.sas_url).strip()).query


def account_key(text: str) -> bytes:
    """The bytes of `AzureOptions.account_key`.

    Raises:
        ValueError: the text is no base64.
    """
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        found = b""
    if not found:
        raise ValueError("account_key is no key of a storage account: they are base64")
    return found


def _base(url: str) -> str:
    check_endpoint(url)
    return url.rstrip("/")
