# SPDX-License-Identifier: Apache-2.0
"""The HTTP door: from the composition root to listening sockets and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Final

from tidegate.config.load import Loaded
from tidegate.config.schema.httpd import HttpBinding
from tidegate.config.secret_files import read_secret
from tidegate.doors.common.door import Apply
from tidegate.doors.common.tls import Certificate
from tidegate.doors.http.admission import HttpAdmission, HttpLimits
from tidegate.doors.http.edge import EdgeMiddleware, EdgeOptions
from tidegate.doors.http.listener import Listener, bind
from tidegate.errors import ConfigError, Problem
from tidegate.identity.admins import AdminLogin
from tidegate.identity.htpasswd import HtpasswdFile
from tidegate.identity.throttle import LoginThrottle
from tidegate.model.address_list import AddressList
from tidegate.model.door import DoorStatus, Endpoint
from tidegate.server import wiring
from tidegate.server.doors import Composition, InstalledDoor
from tidegate.web.api import application as api
from tidegate.web.api.backups import Backups
from tidegate.web.api.health import Health
from tidegate.web.api.security import Tokens, derive_key
from tidegate.web.api.services import Jobs, Services

CERTIFICATE_POLL_SECONDS: Final = 60.0
"""How often changed certificate files are noticed without a signal."""

_log = logging.getLogger(__name__)


async def create(composition: Composition, loaded: Loaded) -> InstalledDoor:
    """The HTTP door with the REST API."""
    door = HttpDoor(composition, loaded)
    return InstalledDoor(door, door.reload)


class HttpDoor:
    """REST API and health. Life: constructed, `start`, `reload`..., `stop` (legal at any time).

    Args:
        composition: what handlers work with.
        loaded: the configuration.
    """

    name = "http"

    def __init__(self, composition: Composition, loaded: Loaded) -> None:
        self._root = composition
        self._loaded = loaded
        self._throttle = LoginThrottle()
        self._jobs = Jobs()
        self._services: Services | None = None
        self._bound: list[_Bound] = []
        self._polling: asyncio.Task[None] | None = None

    @property
    def ports(self) -> list[int]:
        """Ports that are listened on, one for each binding that is on."""
        return [bound.listener.port for bound in self._bound]

    @property
    def services(self) -> Services:
        """What handlers work with; there once started."""
        assert self._services is not None
        return self._services

    async def start(self) -> None:
        """Load what the configuration names, and listen.

        Raises:
            ConfigError: a file cannot be used, or an address is taken.
        """
        loaded = self._loaded
        htpasswd = await self._user_file(loaded)
        httpd = loaded.settings.httpd
        tokens = Tokens(
            await _signing_key(loaded),
            lifetime_seconds=httpd.jwt_lifetime * 60,
            bind_address=httpd.token_validation == 0,
            provider=self._root.provider,
        )
        self._services = self._serve_with(loaded, htpasswd, tokens)
        self._asgi = await asyncio.to_thread(api.build, self._services)
        problems: list[Problem] = []
        try:
            for index, binding in enumerate(httpd.bindings):
                if binding.port:
                    try:
                        await self._listen(loaded, binding, f"httpd.bindings[{index}]")
                    except ConfigError as error:
                        problems += error.problems
            if problems:
                raise ConfigError(problems)
        except BaseException:
            await self.stop()
            raise
        if any(bound.certificate for bound in self._bound):
            self._polling = asyncio.create_task(self._poll(), name="http certificates")
        _log.info("listening for HTTP at %s", ", ".join(bound.where for bound in self._bound))

    async def reload(self, options: Loaded) -> Apply:
        """Get ready for another configuration; bindings stay as they are.

        What cannot be used is logged and leaves the former in use.
        """
        loaded = options
        before = self.services
        httpd = loaded.settings.httpd
        htpasswd = before.htpasswd
        key: list[bytes | None] = []
        try:
            htpasswd = await self._user_file(loaded)
        except ConfigError as error:
            _log.error("not reloaded: %s", error)
        try:
            key.append(await _signing_key(loaded))
        except ConfigError as error:
            _log.error("not reloaded: %s", error)
        for bound in self._bound:
            await bound.renew()

        def apply() -> None:
            if key:
                before.tokens.reconfigure(
                    key[0],
                    lifetime_seconds=httpd.jwt_lifetime * 60,
                    bind_address=httpd.token_validation == 0,
                )
            self._services = self._serve_with(loaded, htpasswd, before.tokens)
            self._asgi.state.services = self._services
            active = [binding for binding in httpd.bindings if binding.port]
            if [_place(b) for b in active] != [_place(bound.binding) for bound in self._bound]:
                _log.warning("httpd.bindings changed; restart the server to apply that")
                active = [bound.binding for bound in self._bound]
            for bound, binding in zip(self._bound, active, strict=True):
                bound.front.options = _front_options(loaded, binding)
                bound.listener.admission.limits = _limits(loaded, binding)

        return apply

    async def drain(self, grace_seconds: float) -> None:
        """Nothing: health and the API answer until `stop`, which lets requests under way end."""

    def usernames(self) -> set[str]:
        """Nobody: administrators are no accounts, and a request is no connection of theirs."""
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
                Endpoint(bound.binding.address, bound.listener.port, tls=bound.certificate is not None)
                for bound in self._bound
            ),
            connections=sum(bound.listener.admission.connections for bound in self._bound),
        )

    async def stop(self) -> None:
        """Stop listening, let requests under way end, end background jobs."""
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling
            self._polling = None
        bound, self._bound = self._bound, []
        await asyncio.gather(*(one.listener.close() for one in bound))
        await self._jobs.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _serve_with(self, loaded: Loaded, htpasswd: HtpasswdFile | None, tokens: Tokens) -> Services:
        root = self._root
        section = loaded.settings.data_provider
        former = self._services
        return Services(
            loaded=loaded,
            rules=wiring.record_rules(loaded),
            hashing=wiring.hash_options(loaded),
            provider=root.provider,
            health=Health(root.provider, root.provider_ready, time.monotonic),
            passwords=root.identity.passwords,
            admins=AdminLogin(
                root.provider,
                root.identity.passwords,
                throttle=self._throttle,
                naming_rules=section.naming_rules,
            ),
            throttle=self._throttle,
            htpasswd=htpasswd,
            tokens=tokens,
            sessions=root.sessions,
            registry=root.registry,
            connections=root.doors,
            backups=former.backups if former is not None else Backups(loaded.resolve(section.backups_path)),
            jobs=self._jobs,
            monotonic=time.monotonic,
        )

    async def _user_file(self, loaded: Loaded) -> HtpasswdFile | None:
        """The user file, read.

        Raises:
            ConfigError: it cannot be used.
        """
        name = loaded.settings.httpd.auth_user_file
        if not name:
            return None
        file = HtpasswdFile(loaded.resolve(name), self._root.identity.passwords)
        await asyncio.to_thread(file.load)
        return file

    async def _listen(self, loaded: Loaded, binding: HttpBinding, label: str) -> None:
        certificate: Certificate | None = None
        if binding.enable_https:
            certificate = Certificate(
                loaded.resolve(binding.certificate_file),
                loaded.resolve(binding.certificate_key_file),
                min_version=binding.min_tls_version,
                label=label,
            )
            await certificate.load()
        front = EdgeMiddleware(self._asgi, _front_options(loaded, binding))
        sock = await bind(binding.address, binding.port, label)
        listener = Listener(
            front,
            sock,
            certificate.context if certificate is not None else None,
            HttpAdmission(self._root.ledger, _limits(loaded, binding)),
        )
        self._bound.append(_Bound(binding, listener, front, certificate))
        await listener.open()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_POLL_SECONDS)
            for bound in self._bound:
                await bound.renew()


class _Bound:
    """One binding that is listened on."""

    def __init__(
        self, binding: HttpBinding, listener: Listener, front: EdgeMiddleware, certificate: Certificate | None
    ) -> None:
        self.binding = binding
        self.listener = listener
        self.front = front
        self.certificate = certificate

    @property
    def where(self) -> str:
        return f"{self.binding.address or '*'}:{self.listener.port}"

    async def renew(self) -> None:
        """Read the certificate again if its files changed."""
        if self.certificate is None:
            return
        try:
            if await self.certificate.refresh():
                _log.info("new certificate for %s", self.where)
        except ConfigError as error:
            _log.error("the certificate in use stays: %s", error)


def _place(binding: HttpBinding) -> tuple[object, ...]:
    """What needs a restart to change."""
    return (
        binding.address,
        binding.port,
        binding.enable_https,
        binding.certificate_file,
        binding.certificate_key_file,
        binding.min_tls_version,
    )


def _front_options(loaded: Loaded, binding: HttpBinding) -> EdgeOptions:
    return EdgeOptions(
        rest=binding.enable_rest_api,
        description=binding.render_openapi,
        proxies=AddressList(binding.proxy_allowed),
        header=binding.client_ip_proxy_header.lower(),
        depth=binding.client_ip_header_depth,
        max_body=loaded.settings.httpd.max_request_size,
    )


def _limits(loaded: Loaded, binding: HttpBinding) -> HttpLimits:
    httpd = loaded.settings.httpd
    return HttpLimits(
        connections=httpd.max_connections,
        per_source=httpd.max_connections_per_source,
        head_seconds=float(httpd.head_timeout),
        proxies=AddressList(binding.proxy_allowed),
    )


async def _signing_key(loaded: Loaded) -> bytes | None:
    """The key of the configured passphrase, None without one.

    Raises:
        ConfigError: the file that should hold it cannot be used.
    """
    httpd = loaded.settings.httpd
    passphrase = httpd.signing_passphrase
    if not passphrase and httpd.signing_passphrase_file:
        path = loaded.resolve(httpd.signing_passphrase_file)
        passphrase = await asyncio.to_thread(read_secret, path, "httpd.signing_passphrase_file")
    return await asyncio.to_thread(derive_key, passphrase) if passphrase else None
