# SPDX-License-Identifier: Apache-2.0
"""Signature Version 4 of requests to S3 (S3 API reference, "Authenticating Requests")."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
"""Stands for the digest of content that is not part of the signature."""
ALGORITHM: Final = "AWS4-HMAC-SHA256"
SAFE: Final = "-_.~"
"""Characters of names and values that stay as they are, beside letters and digits."""


def encoded_key(key: str) -> str:
    """A key as it stands in the path of a URL."""
    return quote(key, safe=f"{SAFE}/")


def encoded_query(values: Mapping[str, str]) -> str:
    """A query in the order in which it is signed."""
    return "&".join(f"{quote(name, safe=SAFE)}={quote(values[name], safe=SAFE)}" for name in sorted(values))


class Signer:
    """Signs requests of one region.

    Args:
        region: that the service expects in the signature.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._derived: tuple[tuple[str, str], bytes] | None = None

    def sign(  # noqa: PLR0917  the parts of a request
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        payload: str,
        key: tuple[str, str],
        now: float | None = None,
    ) -> None:
        """Add what signs a request to its headers.

        Args:
            method: of HTTP.
            path: encoded.
            query: encoded and sorted.
            headers: all that are signed, ``host`` among them; names in lower case.
            payload: hex SHA-256 of the content, or `UNSIGNED`.
            key: access key and secret.
            now: seconds since 1970.
        """
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        day, (access, secret) = at[:8], key
        headers["x-amz-date"] = at
        headers["x-amz-content-sha256"] = payload
        names = sorted(headers)
        lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
        signed = ";".join(names)
        whole = f"{method}\n{path}\n{query}\n{lines}\n{signed}\n{payload}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"{ALGORITHM}\n{at}\n{scope}\n{hashlib.sha256(whole.encode()).hexdigest()}"
        signature = hmac.digest(self._key(day, secret), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"{ALGORITHM} Credential={access}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )

    def _key(self, day: str, secret: str) -> bytes:
        """The key of a day, which is derived once."""
        if self._derived is None or self._derived[0] != (day, secret):
            made = f"AWS4{secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                made = hmac.digest(made, part.encode(), "sha256")
            self._derived = ((day, secret), made)
        return self._derived[1]
