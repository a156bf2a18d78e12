# SPDX-License-Identifier: Apache-2.0
"""Small parts of event rules: configuration, the stored book, backups, and the server they work in."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from tidegate.accounts.administration import Administration
from tidegate.accounts.event_rules import every_action, every_rule
from tidegate.actions.messages import SmtpOptions
from tidegate.config.load import Loaded
from tidegate.errors import ConfigError, ProviderUnavailable
from tidegate.model import Account, Peer, Principal
from tidegate.rules.book import Rule, RuleBook, book_of
from tidegate.rules.translate import configured_rules
from tidegate.store.contract import Provider
from tidegate.vfs.api import Session

if TYPE_CHECKING:
    from tidegate.server.app import App

log = logging.getLogger(__name__)


def rules_of_configuration(loaded: Loaded) -> list[Rule]:
    """The rules that the configuration's actions stand for.

    Raises:
        ConfigError: naming each mistake.
    """
    settings = loaded.settings
    rules, problems = configured_rules(
        settings.common.actions.model_dump(), settings.data_provider.actions.model_dump()
    )
    if problems:
        raise ConfigError(problems)
    return rules


class ServerParts(Protocol):
    """Parts of a server that actions work with."""

    async def find(self, username: str) -> Account | None:
        """An account by name, stored or not."""
        ...

    async def open_session(self, principal: Principal, peer: Peer) -> Session:
        """A session on files."""
        ...

    def administration(self) -> Administration:
        """The administration service."""
        ...

    async def scan(self, kind: str, name: str) -> None:
        """Count the files of an account or folder, and wait for the end."""
        ...


def smtp_options(loaded: Loaded) -> SmtpOptions:
    """Options of the mail server."""
    section = loaded.settings.smtp
    encryptions: tuple[Literal["none", "tls", "starttls"], ...] = ("none", "tls", "starttls")
    return SmtpOptions(
        host=section.host,
        port=section.port,
        sender=getattr(section, "from"),
        user=section.user,
        password=section.password,
        encryption=encryptions[section.encryption],
        domain=section.domain,
    )


def rotate_log() -> None:
    """Begin a new log file, as SIGUSR1 does."""
    os.kill(os.getpid(), signal.SIGUSR1)


async def stored_book(loaded: Loaded, provider: Provider) -> RuleBook:
    """The rules that a server of this configuration runs, as they are stored now."""
    rules = await every_rule(provider)
    actions = await every_action(provider) if rules else {}
    return book_of(rules_of_configuration(loaded), rules, actions.values())


async def back_up(loaded: Loaded, provider: Provider) -> tuple[str, int]:
    """Write a dump; returns name and size. Names repeat after a week, as those of SFTPGo do."""
    from tidegate.store.dump import dump
    from tidegate.web.api.backups import Backups

    backups = Backups(loaded.resolve(loaded.settings.data_provider.backups_path))
    name = time.strftime("backup_%A_%H.json", time.gmtime())
    async with backups.busy:
        size = await backups.write([name], dump(provider))
    log.info("a backup was written: %s", name)
    return name, size


def events_of(rule: Rule) -> str:
    """The events and actions of a rule, for the log."""
    events = ", ".join(sorted(rule.condition.events)) or "every event"
    return f"on {events}: {', '.join(step.name for step in rule.steps)}"


def certificate_files(loaded: Loaded) -> list[Path]:
    """The files with the server's own TLS certificates."""
    settings = loaded.settings
    bindings = [
        *((one.certificate_file, one.port) for one in settings.ftpd.bindings),
        *((one.certificate_file, one.port) for one in settings.httpd.bindings if one.enable_https),
        *((one.certificate_file, one.port) for one in settings.webdavd.bindings if one.enable_https),
    ]
    names = dict.fromkeys(name for name, port in bindings if name and port)
    return [loaded.resolve(name) for name in names]


class PartsOfServer:
    """`ServerParts` of a running server."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def find(self, username: str) -> Account | None:
        """An account by name, stored or not."""
        return await self._app.identity.find(username)

    async def open_session(self, principal: Principal, peer: Peer) -> Session:
        """A session on files.

        Raises:
            ProviderUnavailable: the server is not that far yet.
        """
        try:
            sessions = self._app.sessions
        except AssertionError:  # rules begin before files can be reached; they are tried again
            raise ProviderUnavailable from None
        return await sessions.open(principal, peer)

    def administration(self) -> Administration:
        """The administration service."""
        from tidegate.server.administration import administration

        app = self._app
        return administration(
            app.loaded, app.provider, hashes=app.identity.passwords, connections=app.doors, events=app.bus
        )

    async def scan(self, kind: str, name: str) -> None:
        """Count the files of an account or folder, and wait for the end."""
        from tidegate.server.administration import ScansInTurn

        await ScansInTurn(self._app.sessions.scans).scan("user" if kind == "user" else "folder", name)
