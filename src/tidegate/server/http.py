# SPDX-License-Identifier: Apache-2.0
"""Makes the HTTP door from the configuration, with the REST API and the pages behind it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Literal

from fastapi import FastAPI

from tidegate.config.load import Loaded
from tidegate.config.secret_files import read_secret
from tidegate.doors.common.door import Apply
from tidegate.doors.http.door import HttpDoor
from tidegate.errors import ConfigError
from tidegate.identity.admins import AdminLogin
from tidegate.identity.htpasswd import HtpasswdFile
from tidegate.model.geography import nowhere
from tidegate.packages import load_beside
from tidegate.server import wiring
from tidegate.server.administration import ScansInTurn, administration
from tidegate.server.doors import Composition, InstalledDoor
from tidegate.server.http_bindings import bindings
from tidegate.server.inspectors import quarantine_host
from tidegate.web import site
from tidegate.web.api import application as api
from tidegate.web.api.backups import Backups
from tidegate.web.api.security import Tokens, derive_key
from tidegate.web.api.services import Jobs, Services

if TYPE_CHECKING:
    from tidegate.hooks.rehearsing import HookAnswers
    from tidegate.model import Account, Peer
    from tidegate.server.facts import Facts
    from tidegate.web.admin.application import Pages
    from tidegate.web.admin.brand import Brand
    from tidegate.web.admin.rendering import Look
    from tidegate.web.v1.application import OldApi

_KINDS: Final[tuple[Literal["admin", "user"], ...]] = ("admin", "user")
_log = logging.getLogger(__name__)


async def create(composition: Composition, loaded: Loaded) -> InstalledDoor:
    """The HTTP door with the REST API and the pages.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
    """
    rest = RestApi(composition)
    application = site.Site(await rest.open(loaded), rest.pages, rest.old_api)
    if any(one.port and one.enable_web_admin for one in loaded.settings.httpd.bindings):
        # The hour of the dashboard begins with the server, not with who looks.
        await composition.measures().remember(composition.registry.in_flight)
    door = HttpDoor(
        "http", "httpd", application, bindings(loaded), composition.ledger, ending=application.end_streams
    )

    async def reload(fresh: Loaded) -> Apply:
        apply_api = await rest.reload(fresh)
        apply_door = await door.reload(bindings(fresh))

        def apply() -> None:
            apply_api()
            apply_door()

        return apply

    async def close() -> None:
        await application.close()
        await rest.close()

    return InstalledDoor(door, reload, close)


class RestApi:
    """The services of the REST API's handlers, made from the configuration.

    Args:
        composition: the objects behind them.
    """

    def __init__(self, composition: Composition) -> None:
        self._composition = composition
        self._throttle = composition.identity.throttle
        self._jobs = Jobs()

    async def open(self, loaded: Loaded) -> FastAPI:
        """The application.

        Raises:
            ConfigError: a file that the configuration names cannot be used.
        """
        htpasswd = await self._user_file(loaded)
        self._look = await look_of(loaded)
        httpd = loaded.settings.httpd
        key = await signing_key(loaded)
        tokens, user_tokens = (
            Tokens(
                key,
                lifetime_seconds=httpd.jwt_lifetime * 60,
                bind_address=httpd.token_validation == 0,
                provider=self._composition.provider,
                kind=kind,
            )
            for kind in _KINDS
        )
        self._user_tokens = user_tokens
        backups = Backups(loaded.resolve(loaded.settings.data_provider.backups_path))
        services = self._services(loaded, htpasswd, tokens, backups)
        self._application = await asyncio.to_thread(api.build, services)
        return self._application

    def pages(self) -> Pages:
        """The pages for administrators. Blocking: loads them."""
        from tidegate.web.admin.application import Pages
        from tidegate.web.admin.live import Sampler
        from tidegate.web.admin.rendering import standard

        root = self._composition

        def services() -> Services:
            found: Services = self._application.state.services
            return found

        def directory() -> str:
            loaded = services().loaded
            return loaded.settings.data_provider.users_base_dir or str(loaded.config_dir)

        sampler = Sampler(services, lambda: root.measures().remember(root.registry.in_flight), directory)
        return Pages(services, sampler, root.doors.setup_code, lambda: self._look or standard())

    def old_api(self) -> OldApi:
        """The API of SFTPGo's 0.9 generation. Blocking: loads it."""
        from tidegate.web.v1.application import OldApi

        return OldApi(self._application)

    async def reload(self, loaded: Loaded) -> Apply:
        """Get ready for another configuration. A file that cannot be used is logged, the old one stays."""
        before: Services = self._application.state.services
        httpd = loaded.settings.httpd
        htpasswd, look, keys = before.htpasswd, self._look, []
        try:
            htpasswd = await self._user_file(loaded)
        except ConfigError as error:
            _log.error("not reloaded: %s", error)
        try:
            look = await look_of(loaded)
        except ConfigError as error:
            _log.error("not reloaded: %s", error)
        try:
            keys.append(await signing_key(loaded))
        except ConfigError as error:
            _log.error("not reloaded: %s", error)

        def apply() -> None:
            self._look = look
            for key in keys:
                for tokens in (before.tokens, before.user_tokens):
                    tokens.reconfigure(
                        key,
                        lifetime_seconds=httpd.jwt_lifetime * 60,
                        bind_address=httpd.token_validation == 0,
                    )
            self._application.state.services = self._services(loaded, htpasswd, before.tokens, before.backups)

        return apply

    async def close(self) -> None:
        """End background jobs."""
        await self._jobs.close()

    def _services(
        self, loaded: Loaded, htpasswd: HtpasswdFile | None, tokens: Tokens, backups: Backups
    ) -> Services:
        root = self._composition
        return Services(
            loaded=loaded,
            rules=wiring.record_rules(loaded),
            hashing=wiring.hash_options(loaded),
            provider=root.provider,
            health=root.monitor().health,
            metrics=root.monitor().render,
            ready=root.monitor().ready,
            passwords=root.identity.passwords,
            admins=AdminLogin(
                root.provider,
                root.identity.passwords,
                throttle=self._throttle,
                naming_rules=loaded.settings.data_provider.naming_rules,
                factors=lambda: root.identity.factors,
                delays=lambda: root.identity.delays,
            ),
            throttle=self._throttle,
            htpasswd=htpasswd,
            tokens=tokens,
            user_tokens=self._user_tokens,
            identity=root.identity,
            emit=root.bus.emit,
            factors=lambda: root.identity.factors,
            sessions=root.sessions,
            registry=root.registry,
            connections=root.doors,
            administration=administration(
                loaded, root.provider, hashes=root.identity.passwords, connections=root.doors,
                tokens=tokens, scans=ScansInTurn(root.sessions.scans), events=root.bus,
            ),
            backups=backups,
            jobs=self._jobs,
            moves=root.moves,
            event_rules=root.receivers,
            defence=root.defence,
            locate=nowhere if root.defence is None else root.defence.checks.locate,
            monotonic=time.monotonic,
            facts=lambda: _facts(root),
            hooks=_explain_hooks,
            quarantine=quarantine_host(root),
            log=root.log,
        )  # fmt: skip

    async def _user_file(self, loaded: Loaded) -> HtpasswdFile | None:
        """The user file, read.

        Raises:
            ConfigError: it cannot be used.
        """
        name = loaded.settings.httpd.auth_user_file
        if not name:
            return None
        file = HtpasswdFile(loaded.resolve(name), self._composition.identity.passwords)
        await asyncio.to_thread(file.load)
        return file


async def look_of(loaded: Loaded) -> Look | None:
    """The look of the pages with the operator's own templates and files; None if there are none.

    Raises:
        ConfigError: one of them cannot be used.
    """
    httpd = loaded.settings.httpd
    if not (httpd.templates_path or httpd.static_files_path):
        return None
    return await asyncio.to_thread(_own_look, loaded)


def _own_look(loaded: Loaded) -> Look:
    look, brand = own_brand(loaded)
    for note in brand.notes:
        _log.warning("%s", note)
    return look


def own_brand(loaded: Loaded) -> tuple[Look, Brand]:
    """The operator's own templates and files. Blocking.

    Raises:
        ConfigError: one of them cannot be used.
    """
    from tidegate.web.admin.brand import own_look

    httpd = loaded.settings.httpd
    return own_look(
        *(loaded.resolve(name) if name else None for name in (httpd.templates_path, httpd.static_files_path))
    )


async def signing_key(loaded: Loaded) -> bytes | None:
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


async def _facts(root: Composition) -> Facts:
    """See `tidegate.server.facts`, which is loaded for those who look."""
    await load_beside("tidegate.server.facts")
    from tidegate.server.facts import Facts

    return Facts(root)


async def _explain_hooks(
    loaded: Loaded, username: str, account: Account | None, *, peer: Peer, method: str, secret: str | None
) -> HookAnswers:
    """See `tidegate.server.explained_hooks`, which is loaded for those who ask."""
    await load_beside("tidegate.server.explained_hooks")
    from tidegate.server.explained_hooks import explain_hooks

    return await explain_hooks(loaded, username, account, peer=peer, method=method, secret=secret)
