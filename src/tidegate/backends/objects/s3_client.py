# SPDX-License-Identifier: Apache-2.0
"""Requests to S3: one client library's client with its connections and credentials, tries, pauses and bounds.

The library's own tries are switched off: only one place may know whether an answer was lost, because what a
lost answer means depends on the request.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore import exceptions as b
from botocore.loaders import create_loader
from typing_extensions import Buffer

from tidegate.backends.objects.option_checks import is_loopback
from tidegate.backends.objects.s3_body import Body
from tidegate.backends.objects.s3_direct import ASKED, METHODS, Direct
from tidegate.backends.objects.s3_errors import has_expired, may_try_again, reply_of, translate
from tidegate.backends.objects.s3_options import S3Options
from tidegate.backends.objects.tries import Bounds, Failed
from tidegate.backends.objects.wire import Connections
from tidegate.model.secrets import open_secret

DEFAULT_REGION: Final = "us-east-1"
CONNECTIONS: Final = 64
"""Connections of one client for frequent requests, and as many for others; further requests wait for one."""
RENEW_SECONDS: Final = 10.0
"""Seconds before credentials that have just been fetched are fetched again."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        operation: name of the client's method, for instance ``put_object``.
        params: its parameters, without the body.
        body: the content.
        most: bytes that the answer's ``Body`` may have, which is read; 0 for requests whose answer has none.
        seconds: bound in place of `Bounds.call`; 0 for that.
    """

    operation: str
    params: Answer
    body: Buffer | None = None
    most: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Name of the operation in the API, for texts."""
        return "".join(part.title() for part in self.operation.split("_"))


class _Live:
    """A client of the library while requests use it."""

    def __init__(self, client: Any, credentials: Any, stack: AsyncExitStack, bounds: Bounds) -> None:
        self._client = client
        self._session: Any = client._endpoint.http_session  # noqa: SLF001 - no public way
        self._wire = Connections(CONNECTIONS, bounds.connect, bounds.read, self._session.context)
        self._direct = Direct(credentials, self._connections)
        self._stack = stack
        self._direct_way: dict[str, bool] = {}
        self._users = 0
        self._retired = False

    async def send(self, request: Request) -> Answer:
        """The answer to one try; frequent operations go past the library once it has shown how."""
        self._users += 1
        try:
            if request.operation not in METHODS:
                return await _send(self._client, request)
            found = await self._direct.send(request.operation, request.params, request.body, request.most)
            if found is not None:
                return found
            token = ASKED.set((self._direct, request.operation, request.params.get("Key", "")))
            try:
                return await _send(self._client, request)
            finally:
                ASKED.reset(token)
        finally:
            self._users -= 1
            await self._end()

    def _connections(self, url: str) -> Connections | None:
        direct = self._direct_way.get(url)
        if direct is None:  # asked once: the few URLs of a client are known by its first requests
            proxy = self._session._proxy_config.proxy_url_for(url)  # noqa: SLF001 - no public way
            direct = self._direct_way[url] = proxy is None
        return self._wire if direct else None

    async def retire(self) -> None:
        self._retired = True
        await self._end()

    async def _end(self) -> None:
        if self._retired and self._users == 0:
            await self._wire.close()
            await self._stack.aclose()


def make_loader() -> Any:
    """The library's descriptions of services, which clients share: reading them anew takes 0.15 s of CPU."""
    return create_loader(None)


class S3Client:
    """Requests to one bucket. Life: constructed (pure), `open`, used, `close`.

    Args:
        options: of the record.
        bounds: of requests.
        loader: of `make_loader`.
    """

    def __init__(self, options: S3Options, bounds: Bounds, loader: Any) -> None:
        self._options = options
        self._bounds = bounds
        self._loader = loader
        self._live: _Live | None = None
        self._renewing = asyncio.Lock()
        self._renewed = float("-inf")
        self.region = options.region or DEFAULT_REGION

    async def open(self) -> None:
        """Make the library's client; looks for credentials in the environment, asks the service nothing.

        Raises:
            TidegateError: there are no credentials, or the options do not fit.
        """
        try:
            self._live = await self._make()
        except (b.BotoCoreError, b.ClientError, OSError, ValueError) as error:
            raise translate(error, "open", self._options.bucket, self.region) from None

    async def close(self) -> None:
        """Close its connections, when the requests that run have ended."""
        live, self._live = self._live, None
        if live is not None:
            await live.retire()

    async def call(self, request: Request) -> Answer:
        """The answer.

        Raises:
            Failed: the last error.
        """
        tries, renewed = 0, False
        try:
            async with asyncio.timeout(request.seconds or self._bounds.call):
                while True:
                    tries += 1
                    live = self._live
                    if live is None:
                        raise b.HTTPClientError(error="the storage is closed")
                    try:
                        return await live.send(request)
                    except (b.BotoCoreError, b.ClientError, OSError) as error:
                        if has_expired(error) and not renewed and await self._renew(live):
                            renewed = True
                            continue
                        if tries >= self._bounds.tries or not may_try_again(error):
                            raise
                    await asyncio.sleep(self._bounds.pause_after(tries))
        except (b.BotoCoreError, b.ClientError, OSError, ValueError) as error:
            code = reply_of(error).code if isinstance(error, b.ClientError) else ""
            ours = translate(error, request.name, self._options.bucket, self.region)
            raise Failed(ours, code, tries) from None

    async def _renew(self, used: _Live) -> bool:
        """Fetch credentials again; False if there can be no others."""
        if self._options.access_key and not self._options.role_arn:
            return False
        async with self._renewing:
            if self._live is not used:
                return self._live is not None
            now = asyncio.get_running_loop().time()
            if now - self._renewed < RENEW_SECONDS:
                return False
            self._renewed = now
            self._live = await self._make()
        await used.retire()
        return True

    async def _make(self) -> _Live:
        options = self._options
        session = AioSession()
        session.register_component("data_loader", self._loader)
        region = options.region or session.get_config_variable("region") or DEFAULT_REGION
        self.region = region
        verify: bool | str | None = False if options.skip_tls_verify else options.ca_file or None
        if options.access_key:
            secret = open_secret("access_secret", options.access_secret)
            token = open_secret("session_token", options.session_token) or None
            session.set_credentials(options.access_key, secret, token)
        if options.role_arn:
            await _assume(session, options, region)
        elif await session.get_credentials() is None:
            raise b.NoCredentialsError
        stack = AsyncExitStack()
        client = await stack.enter_async_context(
            session.create_client(
                "s3",
                region_name=region,
                endpoint_url=options.endpoint or None,
                verify=verify,
                config=self._config(),
            )
        )
        client.meta.events.register("before-call.s3", _stay_in_region)
        client.meta.events.register("before-send.s3", _send_at_once)
        return _Live(client, await session.get_credentials(), stack, self._bounds)

    def _config(self) -> AioConfig:
        options = self._options
        sign = options.sign_payload
        if sign is None:
            sign = options.endpoint.startswith("http://") and not is_loopback(options.endpoint)
        return AioConfig(
            connect_timeout=self._bounds.connect,
            read_timeout=self._bounds.read,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 1},
            s3={
                "addressing_style": "path" if options.force_path_style else "auto",
                "payload_signing_enabled": sign,
            },
            http_session_cls=_OneTry,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            warm_up_loader_caches=True,
            user_agent_appid="tidegate",
        )


class _OneTry(AIOHTTPSession):  # type: ignore[misc] # the library has no types
    """Connections over which nothing is sent twice behind our back.

    aiohttp repeats a PUT whose connection broke; a condition is then not met because the first one was.
    """

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        session._retry_connection = False  # noqa: SLF001 - no public way
        return session

    async def context(self) -> ssl.SSLContext:
        """The certificates that are trusted, for connections of our own."""
        made: ssl.SSLContext = (await asyncio.to_thread(self._build_ssl_contexts, None))[0]
        return made


async def _send(client: Any, request: Request) -> Answer:
    params = dict(request.params)
    if request.body is not None:
        params["Body"] = Body(request.body)
    answer: Answer = await getattr(client, request.operation)(**params)
    if request.most:
        async with answer["Body"] as stream:
            length = answer.get("ContentLength", request.most + 1)  # without one it could be endless
            if length > request.most:
                raise b.HTTPClientError(error=f"{length} bytes come where {request.most} were asked for")
            try:
                answer["Body"] = await stream.read()
            except aiohttp.ClientError as error:
                raise b.ResponseStreamingError(error=error) from None
    return answer


async def _assume(session: AioSession, options: S3Options, region: str) -> None:
    """Replace the session's credentials by those of the role, fetched when needed and before they end."""
    source = await session.get_credentials()
    if source is None:
        raise b.NoCredentialsError
    extra = {"RoleSessionName": "tidegate"}
    if options.external_id:
        extra["ExternalId"] = options.external_id

    def create(service: str, **given: Any) -> Any:
        return AioSession().create_client(service, region_name=region, **given)

    fetcher = AioAssumeRoleCredentialFetcher(create, source, options.role_arn, extra_args=extra)
    session._credentials = AioDeferredRefreshableCredentials(  # noqa: SLF001 - no public way to set these
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )


def _stay_in_region(context: dict[str, Any], **_: Any) -> None:
    """Tell the library not to follow to another region: the setting is wrong, and the operator is told."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _send_at_once(request: Any, **_: Any) -> None:
    """Do not wait for the service's leave to send a body: that is a round trip for each file."""
    request.headers.pop("Expect", None)
    if (asked := ASKED.get()) is not None:
        direct, operation, key = asked
        direct.learn(operation, key, request.url, request.headers)


__all__ = ["Answer", "Request", "S3Client", "make_loader"]
