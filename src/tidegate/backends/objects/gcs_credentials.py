# SPDX-License-Identifier: Apache-2.0
"""Access tokens for Google Cloud Storage, fetched by Google's library in a thread before the old ones end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import google.auth
import google.auth.transport.requests
import requests
from google.auth import exceptions as g

from tidegate.backends.objects.bucket import StorageDenied, StorageMisconfigured
from tidegate.backends.objects.gcs_errors import clock, plain
from tidegate.backends.objects.gcs_options import CREDENTIALS_BYTES, UNIVERSE, GcsOptions, credentials_of
from tidegate.errors import StorageFailed, TidegateError
from tidegate.model.secrets import open_secret

SCOPES: Final = ("https://www.googleapis.com/auth/devstorage.full_control",)
"""The scope of a token: objects and, if `GcsOptions.acl` is set, their ACLs."""
CALL_SECONDS: Final = 10.0
"""Bound of one request for a token; the library tries up to three times."""
RENEW_SECONDS: Final = 10.0
"""Seconds before a token that has just been fetched is fetched again."""


class Tokens:
    """Tokens of the credentials of a record. Life: constructed (pure), `open`, used, `close`.

    Args:
        options: of the record.
        anonymous: requests carry no token.
    """

    def __init__(self, options: GcsOptions, *, anonymous: bool) -> None:
        self._options = options
        self._anonymous = anonymous
        self._credentials: Any = None
        self._session: requests.Session | None = None
        self._date: str | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._fetched = float("-inf")

    async def open(self) -> None:
        """Find the credentials; fetches no token.

        Raises:
            StorageDenied, StorageMisconfigured: there are none, or they cannot be read.
        """
        if not self._anonymous:
            await asyncio.to_thread(self._load)

    async def close(self) -> None:
        """Release what was opened."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        if self._session is not None:
            self._session.close()

    async def headers(self) -> Mapping[str, str]:
        """Headers of a request.

        Raises:
            TidegateError: no token can be had.
        """
        if self._anonymous:
            return {}
        if not self._credentials.valid:
            await self._fetch()
        return {"Authorization": f"Bearer {self._credentials.token}"}

    async def renew(self, used: Mapping[str, str]) -> bool:
        """Fetch a token in place of one that was refused; False if there can be no other."""
        if self._anonymous:
            return False
        if used.get("Authorization") != f"Bearer {self._credentials.token}":
            return True
        if asyncio.get_running_loop().time() - self._fetched < RENEW_SECONDS:
            return False
        await self._fetch()
        return True

    async def _fetch(self) -> None:
        """Fetch a token; all that wait for one share one request, which goes on if one of them leaves."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_once())
            self._fetching.add_done_callback(_looked_at)
        fetching = self._fetching
        try:
            await asyncio.shield(fetching)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if fetching.cancelled() and task is not None and not task.cancelling():
                raise StorageFailed(detail="no token: the storage is closed") from None
            raise

    async def _fetch_once(self) -> None:
        try:
            await asyncio.to_thread(self._credentials.refresh, self._request())
        except (g.GoogleAuthError, requests.RequestException, ValueError, OSError) as error:
            raise self._translated(error) from None
        self._fetched = asyncio.get_running_loop().time()

    def _request(self) -> Any:
        if self._session is None:
            self._session = requests.Session()
            options = self._options
            # A record may name who gives its tokens: they send nobody on to a host that was not judged.
            self._session.max_redirects = 0
            self._session.auth = _as_it_is
            self._session.verify = False if options.skip_tls_verify else options.ca_file or True
        inner: Any = google.auth.transport.requests.Request(self._session)

        def request(*words: Any, timeout: float | None = None, **named: Any) -> Any:
            answer = inner(*words, timeout=min(timeout or CALL_SECONDS, CALL_SECONDS), **named)
            self._date = answer.headers.get("date")
            return answer

        return request

    def _load(self) -> None:
        options = self._options
        try:
            if options.automatic_credentials:
                found, _ = google.auth.default(scopes=SCOPES, request=self._request())
            else:
                found = _made(self._given(), self._request())
            universe = found.universe_domain
        except (g.GoogleAuthError, requests.RequestException, ValueError, OSError) as error:
            raise self._translated(error) from None
        if universe != (options.universe_domain or UNIVERSE):
            wanted = options.universe_domain or UNIVERSE
            raise StorageMisconfigured(
                detail=f"the credentials are of {universe}, not of {wanted}: set universe_domain"
            )
        self._credentials = found

    def _given(self) -> dict[str, Any]:
        options = self._options
        if not options.credentials_file:
            return credentials_of(open_secret("credentials", options.credentials))
        try:
            with Path(options.credentials_file).open("rb") as file:
                found = json.loads(file.read(CREDENTIALS_BYTES))
        except OSError as error:
            raise StorageMisconfigured(
                detail=f"credentials_file: {options.credentials_file!r} cannot be read: {error.strerror}"
            ) from None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise StorageMisconfigured(detail=f"credentials_file: {options.credentials_file!r} is not JSON")
        return found

    def _translated(self, error: Exception) -> TidegateError:
        text = plain(error)
        if (off := clock(self._date)) is not None and "invalid_grant" in text:
            return StorageMisconfigured(detail=f"no token: the clock of this host {off}")
        if isinstance(error, g.TransportError | requests.RequestException) or getattr(
            error, "retryable", False
        ):
            return StorageFailed(detail=f"no token: {text}")
        if "account not found" in text:
            return StorageDenied(detail="no token: the service account is not there any more")
        if "Invalid JWT Signature" in text:
            return StorageDenied(detail="no token: the key does not belong to the service account any more")
        if "expired or revoked" in text:
            return StorageDenied(detail="no token: the credentials have expired or were revoked")
        if isinstance(error, g.RefreshError):
            return StorageDenied(detail=f"no token: {text}")
        return StorageDenied(detail=f"no credentials: {text}")


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication but the request's own: `requests` would send what ``~/.netrc`` has for the host."""
    return request


def _looked_at(task: asyncio.Task[None]) -> None:
    """Take the error of a task that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _made(info: dict[str, Any], request: Any) -> Any:
    """Credentials of a file, by their kind."""
    library: Any
    if info.get("type") == "service_account":
        from google.oauth2 import service_account as library

        return library.Credentials.from_service_account_info(info, scopes=SCOPES)
    if info.get("type") == "authorized_user":
        from google.oauth2 import credentials as library

        return library.Credentials.from_authorized_user_info(info, scopes=None)
    # The library's loader has the other kinds; it warns because records of strangers could hold any of them.
    # Only files of this host come here.
    library = google.auth._default  # noqa: SLF001
    found, _ = library._load_credentials_from_info("credentials_file", info, SCOPES, None, None, request)  # noqa: SLF001
    return found
