# SPDX-License-Identifier: Apache-2.0
"""Calls HTTP services of the operator over kept connections, bounded in time, size and redirects."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tidegate import __version__
from tidegate.errors import OperatorError, OutsideFailed
from tidegate.outgoing.line import Line

if TYPE_CHECKING:
    import aiohttp
    import yarl

MAX_BODY: Final = 1024 * 1024
"""Bytes of an answer, decompressed."""
MAX_REDIRECTS: Final = 10
"""Redirects of one try."""
MAX_KEPT: Final = 20
"""Connections to one host."""
KEPT_SECONDS: Final = 60.0
"""Seconds that an idle connection is kept."""

_TOKEN: Final = re.compile(r"(?<=/)(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[^/.]{16,}(?=/|\Z)")
"""A part of a path with letters and digits that is as long as tokens are, and no name of a file."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class HttpHeader:
    """A header of calls.

    Attributes:
        name: of the header.
        value: may be a secret, so it is not shown.
        url: sent with URLs that begin with it; empty with all that are called, but not where a redirect leads
            to another origin.
    """

    name: str
    value: str = field(repr=False)
    url: str = ""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Options of calls; section ``http`` of the configuration.

    Attributes:
        seconds: for one try, unless a call says otherwise.
        wait_min: before the first repetition; each further wait is twice as long.
        wait_max: longest wait between tries.
        retries: repetitions of a call that asks for them.
        authorities: files of certificate authorities that are trusted besides the system's.
        certificates: files of client certificate and key, without a passphrase; the first is used.
        verify: check the certificates of servers.
        headers: added to calls.
        environment_proxies: use ``https_proxy``, ``http_proxy`` and ``no_proxy``.
        other_origins: follow redirects to them.
    """

    seconds: float = 20.0
    wait_min: float = 2.0
    wait_max: float = 30.0
    retries: int = 3
    authorities: Sequence[Path] = ()
    certificates: Sequence[tuple[Path, Path]] = ()
    verify: bool = True
    headers: Sequence[HttpHeader] = ()
    environment_proxies: bool = False
    other_origins: bool = True

    def of_administrators(self) -> HttpOptions:
        """The same for URLs that are records: administrators write them, who need not be the operator.

        They get nothing that says who the server is, and what was judged about the host of such a URL holds
        for every host that is called.
        """
        return replace(self, headers=(), certificates=(), other_origins=False)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, whatever its status.

    Attributes:
        status: of the last response.
        body: at most `MAX_BODY` bytes.
        tries: number of times that it was asked.
    """

    status: int
    body: bytes = field(repr=False)
    tries: int = 1


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    body: bytes
    headers: Mapping[str, str]
    query: Mapping[str, str]


class HttpCaller:
    """Calls URLs. Life: constructed (pure), used, `close`.

    Cookies are not kept, ``.netrc`` is not read, and proxies of the environment are used only if the options
    say so.

    Args:
        options: see `HttpOptions`.
        at_once: calls under way.
        waiting: calls that wait for their turn.
    """

    def __init__(self, options: HttpOptions | None = None, *, at_once: int = 32, waiting: int = 256) -> None:
        self._options = options or HttpOptions()
        self._line = Line(at_once, waiting)
        self._session: aiohttp.ClientSession | None = None
        self._strangers: ssl.SSLContext | None = None
        self._opening: asyncio.Lock = asyncio.Lock()
        self._closed = False

    async def call(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float | None = None,
        retry: bool = False,
        source: str = "",
    ) -> HttpAnswer:
        """Call a URL; an answer of any status is an answer.

        Redirects are followed, at most `MAX_REDIRECTS`, never from ``https`` to ``http``: 301, 302 and 303
        turn a POST into a GET without body (as browsers and SFTPGo do), 307 and 308 repeat it. To another
        origin (RFC 6454: scheme, host and port) neither a body nor headers of the call go, nor the client
        certificate, nor headers of the options but for those that name a URL there; a redirect that would
        repeat a body there fails.

        Args:
            query: added to the query that the URL has, in this order.
            headers: besides those of the options.
            seconds: for one try; None takes the options' time.
            retry: repeat after a status of 500 and above (but 501), and after a connection that failed.
            source: whose share of places this takes, usually a client's address.

        Raises:
            OutsideFailed: no answer, too slow, too large, redirects that are not followed, or a file of the
                options that cannot be read. The detail names the URL without user, password and query.
            OutsideBusy: too many calls wait.
        """
        request = _Request(method, url, body, dict(headers or {}), dict(query or {}))
        limit = self._options.seconds if seconds is None else seconds
        wait = self._options.wait_min
        left = self._options.retries if retry else 0
        tries = 0
        async with self._line.place(source):
            while True:
                tries += 1
                try:
                    status, content = await self._once(request, limit)
                    if not left or status < 500 or status == 501:
                        return HttpAnswer(status, content, tries)
                except OutsideFailed:
                    if not left or self._closed:
                        raise
                left -= 1
                await asyncio.sleep(wait * random.uniform(1.0, 1.05))  # noqa: S311  (spreads load)
                wait = min(wait * 2, self._options.wait_max)

    async def _once(self, request: _Request, seconds: float) -> tuple[int, bytes]:
        import aiohttp

        try:
            async with asyncio.timeout(seconds):
                return await self._follow(request)
        except TimeoutError:
            raise OutsideFailed(detail=f"{shown(request.url)} took longer than {seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, OperatorError) as error:
            raise OutsideFailed(detail=f"{shown(request.url)}: {_reason(error)}") from error

    async def _follow(self, request: _Request) -> tuple[int, bytes]:
        import yarl

        session = await self._open()
        # What is ASCII goes as it was written: receivers compare texts, and a signature may cover them.
        written = request.url.isascii() and request.url.isprintable() and " " not in request.url
        target = _checked(yarl.URL(request.url, encoded=written))
        if request.query:
            target = target.extend_query(request.query)
        first, method, body = target.origin(), request.method, request.body
        for _ in range(MAX_REDIRECTS + 1):
            at_first = target.origin() == first
            headers = {
                **self._headers(target, everywhere=at_first),
                **(request.headers if at_first else {}),
            }
            tls = True if at_first or not self._options.certificates else await self._without_certificate()
            proxy = _proxy_for(target) if self._options.environment_proxies else None
            async with session.request(
                method,
                target,
                data=body or None,
                headers=headers,
                allow_redirects=False,
                proxy=proxy,
                ssl=tls,
            ) as response:
                status = response.status
                location = response.headers.get("Location", "")
                if status not in _REDIRECTS or not location:
                    return status, await _content(response)
            following = _checked(target.join(yarl.URL(location)))
            if target.scheme == "https" and following.scheme == "http":
                raise ValueError("redirects from https to http")
            if status in (301, 302, 303) and method not in ("GET", "HEAD"):
                method, body = "GET", b""
            if following.origin() != first and (body or not self._options.other_origins):
                raise ValueError(
                    f"redirects to another server, {shown(str(following))}: that is not followed"
                )
            target = following
        raise ValueError(f"redirects more than {MAX_REDIRECTS} times")

    def _headers(self, target: yarl.URL, *, everywhere: bool) -> dict[str, str]:
        """Headers of the options for a URL; those that name none only if they may go everywhere."""
        return {
            one.name: one.value
            for one in self._options.headers
            if (_applies(one.url, str(target)) if one.url else everywhere)
        }

    async def _without_certificate(self) -> ssl.SSLContext:
        """The TLS settings of another origin, which is not shown who this is."""
        if self._strangers is None:
            self._strangers = await asyncio.to_thread(tls_context, replace(self._options, certificates=()))
        return self._strangers

    async def _open(self) -> aiohttp.ClientSession:
        """The session; made at the first call, because its library and the trusted authorities take time."""
        async with self._opening:
            if self._closed:
                raise OSError("the server is ending")
            if self._session is None:
                import aiohttp

                context = await asyncio.to_thread(tls_context, self._options)
                connector = aiohttp.TCPConnector(
                    ssl=context, limit=0, limit_per_host=MAX_KEPT, keepalive_timeout=KEPT_SECONDS
                )
                self._session = aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=None),
                    headers={"User-Agent": f"Tidegate/{__version__}"},
                    trust_env=False,
                )
            return self._session

    async def close(self) -> None:
        """End all calls; those under way fail."""
        self._closed = True
        async with self._opening:
            session, self._session = self._session, None
        if session is not None:
            await session.close()


def tls_context(options: HttpOptions) -> ssl.SSLContext:
    """The TLS settings of calls. Reads files: call it off the loop.

    Raises:
        OperatorError: an authority or a client certificate cannot be read.
    """
    context = ssl.create_default_context()
    for authority in options.authorities:
        try:
            context.load_verify_locations(cafile=authority)
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(f"http.ca_certificates: {authority}: {error}") from error
    if options.certificates:
        certificate, key = options.certificates[0]
        try:
            # Nobody is at a terminal to type the password of a key.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(f"http.certificates: {certificate}, {key}: {error}") from error
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _content(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for piece in response.content.iter_chunked(64 * 1024):
        content += piece
        if len(content) > MAX_BODY:
            response.close()  # what is still to come is not wanted
            raise ValueError(f"more than {MAX_BODY} bytes of answer")
    return bytes(content)


def _applies(prefix: str, url: str) -> bool:
    """True if a header for URLs that begin with `prefix` goes to `url`; hosts are compared as a whole."""
    if not url.startswith(prefix):
        return False
    left, right = urlsplit(prefix), urlsplit(url)
    return (left.scheme, left.netloc) == (right.scheme, right.netloc)


def _checked(target: yarl.URL) -> yarl.URL:
    if target.scheme not in ("http", "https") or not target.host:
        raise ValueError("is not an http or https URL")
    return target


def _proxy_for(target: yarl.URL) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    if target.host and proxy_bypass(target.host):
        return None
    return getproxies().get(target.scheme)


def _reason(error: Exception) -> str:
    """The failure in one line, without URLs, which may hold secrets."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "closed the connection without an answer"
    if isinstance(error, aiohttp.ClientError):
        return f"answers unusably ({type(error).__name__})"
    return str(error) or type(error).__name__


def shown(url: str) -> str:
    """A URL for logs and errors: without user, password, query and fragment.

    Parts of the path that may be tokens, as in webhooks of Slack, Teams and Discord, are ``***``.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an unreadable URL"
    return f"{parts.scheme}://{host}{port}{_TOKEN.sub('***', parts.path)}"
