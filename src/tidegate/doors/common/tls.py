# SPDX-License-Identifier: Apache-2.0
"""Server certificates that can be exchanged while connections are open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tidegate.doors.common.client_certificates import ClientCertificates
from tidegate.errors import ConfigError

VERSIONS: Final = {12: ssl.TLSVersion.TLSv1_2, 13: ssl.TLSVersion.TLSv1_3}

POLL_SECONDS: Final = 60.0
"""Seconds between two looks for changed certificate files without a signal."""

_log = logging.getLogger(__name__)

_Mark = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate with its key, read again when its files change.

    Listeners hold `context` for good. Each handshake is switched to the newest pair, which was loaded into a
    context of its own, off the loop: a pair that does not fit together is never half in use.

    Args:
        certificate: PEM file, the chain included.
        key: PEM file, without a passphrase.
        min_version: 12 or 13.
        label: of the binding, for errors.
        alpn: protocols offered to clients that ask (RFC 7301).
        clients: certificates that clients are asked for; None asks for none.
        suites: of TLS 1.2, names of `tidegate.model.tls_suites`; empty for the usual ones.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        min_version: int,
        label: str,
        alpn: Sequence[str] = (),
        clients: ClientCertificates | None = None,
        suites: Sequence[str] = (),
    ) -> None:
        self._suites = ""
        if suites:
            from tidegate.model.tls_suites import SUITES  # few name any

            self._suites = ":".join(SUITES[name] for name in suites)
        self._files = (certificate, key)
        self._clients = clients
        self._min_version = min_version
        self._label = label
        self._alpn = list(alpn)
        self._current: ssl.SSLContext | None = None
        self._seen: _Mark = ()
        self._outer: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """The context that listeners use; there once loaded."""
        assert self._outer is not None
        return self._outer

    async def load(self) -> None:
        """Read the files now.

        Raises:
            ConfigError: they cannot be used; what was loaded before stays in use.
        """
        fresh, seen = await asyncio.to_thread(self._read)
        self._current, self._seen = fresh, seen
        if self._outer is None:
            self._outer = fresh
            fresh.sni_callback = self._switch

    async def fresh_context(self) -> ssl.SSLContext:
        """A context of its own with this certificate, for connections that are to share sessions.

        While the files cannot be used, as in the middle of a renewal, it is the one that is in use.

        Raises:
            ConfigError: as `load`, and nothing was loaded before.
        """
        try:
            return (await asyncio.to_thread(self._read))[0]
        except ConfigError:
            if self._current is None:
                raise
            return self._current

    async def refresh(self) -> bool:
        """Read the files if they changed; returns whether they did.

        Raises:
            ConfigError: as `load`.
        """
        if await asyncio.to_thread(self._mark) == self._seen:
            return False
        await self.load()
        return True

    def _switch(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in every handshake, with or without a server name."""
        if self._current is not None:
            connection.context = self._current

    def _read(self) -> tuple[ssl.SSLContext, _Mark]:
        certificate, key = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[self._min_version]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        if self._suites:
            context.set_ciphers(self._suites)
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        if self._alpn:
            context.set_alpn_protocols(self._alpn)
        seen = self._mark()
        try:
            # A key with a passphrase would have the library ask on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except ssl.SSLError as error:
            reason = (error.reason or "cannot be read").replace("_", " ").lower()
            raise ConfigError(f"{self._label}: {certificate} with {key}: {reason}") from None
        except OSError as error:
            raise ConfigError(
                f"{self._label}: {certificate} with {key} cannot be read: {error.strerror}"
            ) from None
        if self._clients is not None:
            self._clients.ask(context)
        return context, seen

    def _mark(self) -> _Mark:
        found = []
        clients = self._clients
        more = (*clients.authorities, *clients.revoked) if clients is not None else ()
        for path in (*self._files, *more):
            try:
                status = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)


class CertificateWatch:
    """Reads certificates again when their files change. Life: constructed, `add`..., `start`, `stop`."""

    def __init__(self) -> None:
        self._watched: list[tuple[Certificate, str]] = []
        self._polling: asyncio.Task[None] | None = None

    def add(self, certificate: Certificate, where: str) -> None:
        """Watch one that is loaded; `where` is used, for the log."""
        self._watched.append((certificate, where))

    def start(self) -> None:
        """Look every `POLL_SECONDS`, if there is anything to look at."""
        if self._watched and self._polling is None:
            self._polling = asyncio.create_task(self._poll(), name="certificates")

    async def renew(self) -> None:
        """Look now. A certificate that cannot be used is logged, and the one in use stays."""
        for certificate, where in self._watched:
            try:
                if await certificate.refresh():
                    _log.info("new certificate for %s", where)
            except ConfigError as error:
                _log.error("the certificate in use stays: %s", error)

    async def stop(self) -> None:
        """Look no more. Safe to call twice."""
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.renew()
