# SPDX-License-Identifier: Apache-2.0
"""The HTTP door: bindings, certificates and limits around any ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp

from tidegate.doors.common.client_certificates import ClientCertificates
from tidegate.doors.common.door import Apply
from tidegate.doors.common.ports import bind
from tidegate.doors.common.tls import Certificate, CertificateWatch
from tidegate.doors.http.edge import EdgeMiddleware, EdgeOptions
from tidegate.doors.http.listener import BACKLOG, HttpLimits, Listener
from tidegate.errors import ConfigError, Problem
from tidegate.model.door import DoorStatus, Endpoint
from tidegate.resources import Ledger
from tidegate.resources.entrance import Entrance

_log = logging.getLogger(__name__)

ALPN = ("http/1.1",)
"""Protocols offered in TLS handshakes."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A server certificate.

    Attributes:
        certificate: PEM file, the chain included.
        key: PEM file without a passphrase.
        min_version: least TLS version, 12 or 13.
        clients: certificates that clients are asked for; None asks for none.
        suites: of TLS 1.2, names of `tidegate.model.tls_suites`; empty for the usual ones.
    """

    certificate: Path
    key: Path
    min_version: int = 12
    clients: ClientCertificates | None = None
    suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBinding:
    """One address to listen on.

    Attributes:
        label: key of the binding, for errors.
        address: host name or address; empty for every interface.
        port: TCP port; 0 takes a free one.
        tls: for HTTPS, None for HTTP.
        edge: what requests pass first.
        limits: who may connect.
    """

    label: str
    address: str
    port: int
    tls: CertificateFiles | None = None
    edge: EdgeOptions = field(default_factory=EdgeOptions)
    limits: HttpLimits = field(default_factory=HttpLimits)

    @property
    def place(self) -> tuple[str, int, CertificateFiles | None]:
        """The part that needs a restart to change."""
        return (self.address, self.port, self.tls)


class HttpDoor:
    """Serves an ASGI application on every binding. Life: see `doors.common.door.Door`.

    Args:
        name: of the door.
        section: of the configuration, for messages.
        application: gets every request that passed the edge.
        bindings: where to listen.
        ledger: of the process.
        family: the protocol, for the log.
        ending: called before the door waits for requests under way; answers that go on have to end then.
        entrance: is asked who may come in; None for that of the ledger.
    """

    def __init__(
        self,
        name: str,
        section: str,
        application: ASGIApp,
        bindings: tuple[HttpBinding, ...],
        ledger: Ledger,
        *,
        family: str = "HTTP",
        ending: Callable[[], None] = lambda: None,
        entrance: Entrance | None = None,
    ) -> None:
        self._entrance = entrance
        self._answers = [0] * 6
        self.name = name
        self._family = family
        self._ending = ending
        self.application = application
        self._section = section
        self._bindings = bindings
        self._ledger = ledger
        self._bound: list[_Bound] = []
        self._certificates = CertificateWatch()

    async def start(self) -> None:
        """Load certificates and listen.

        Raises:
            ConfigError: a certificate cannot be used, or an address is taken.
        """
        problems: list[Problem] = []
        try:
            for binding in self._bindings:
                try:
                    await self._listen(binding)
                except ConfigError as error:
                    problems += error.problems
            if problems:
                raise ConfigError(problems)
        except BaseException:
            await self.stop()
            raise
        self._certificates.start()
        _log.info("listening for %s at %s", self._family, ", ".join(bound.where for bound in self._bound))

    async def reload(self, options: tuple[HttpBinding, ...]) -> Apply:
        """Get ready for other bindings, and read changed certificates now; see `Door.reload`.

        A certificate that cannot be used is logged, and the one in use stays.
        """
        await self._certificates.renew()
        return lambda: self._apply(options)

    def _apply(self, bindings: tuple[HttpBinding, ...]) -> None:
        if [one.place for one in bindings] != [one.place for one in self._bindings]:
            _log.warning("%s.bindings changed; restart the server to apply that", self._section)
            return
        self._bindings = bindings
        for bound, binding in zip(self._bound, bindings, strict=True):
            bound.edge.options = binding.edge
            bound.listener.limits = binding.limits

    async def drain(self, grace_seconds: float) -> None:
        """Nothing: health and the API are asked for until `stop`, which lets requests under way end."""

    async def stop(self) -> None:
        """Stop listening and let requests under way end."""
        self._ending()
        await self._certificates.stop()
        bound, self._bound = self._bound, []
        await asyncio.gather(*(one.listener.close() for one in bound))

    def usernames(self) -> set[str]:
        """Nobody: a connection here belongs to no account, each request logs in by itself."""
        return set()

    def close_user(self, username: str, *, by: str) -> int:
        """End nothing; see `usernames`."""
        del username, by
        return 0

    def status(self) -> DoorStatus:
        """The door as it is now."""
        return DoorStatus(
            name=self.name,
            active=bool(self._bound),
            endpoints=tuple(
                Endpoint(bound.binding.address, bound.listener.port, tls=bound.binding.tls is not None)
                for bound in self._bound
            ),
            connections=sum(bound.listener.admission.connections for bound in self._bound),
            answers=tuple(self._answers),
        )

    async def _listen(self, binding: HttpBinding) -> None:
        certificate: Certificate | None = None
        if binding.tls is not None:
            certificate = Certificate(
                binding.tls.certificate,
                binding.tls.key,
                min_version=binding.tls.min_version,
                label=binding.label,
                alpn=ALPN,
                clients=binding.tls.clients,
                suites=binding.tls.suites,
            )
            await certificate.load()
        edge = EdgeMiddleware(
            self.application, binding.edge, self._entrance or self._ledger.entrance, self._answers
        )
        listener = Listener(
            edge,
            await bind(binding.label, binding.address, binding.port, BACKLOG, self._ledger.inherited),
            certificate.context if certificate is not None else None,
            binding.limits,
            self._ledger,
            turns_away=edge.turns_away,
        )
        bound = _Bound(binding, listener, edge)
        self._bound.append(bound)
        await listener.open()
        if certificate is not None:
            self._certificates.add(certificate, bound.where)


@dataclass(slots=True)
class _Bound:
    """One binding that is listened on."""

    binding: HttpBinding
    listener: Listener
    edge: EdgeMiddleware

    @property
    def where(self) -> str:
        return f"{self.binding.address or '*'}:{self.listener.port}"
