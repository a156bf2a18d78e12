# SPDX-License-Identifier: Apache-2.0
"""Hooks of logins and connections by the configuration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tidegate.config.load import Loaded
from tidegate.errors import ConfigError, OperatorError, Problem
from tidegate.hooks.settings import (
    CHECK_PASSWORD,
    EXTERNAL_AUTH,
    KEYBOARD_INTERACTIVE,
    NOTICE_SECONDS,
    OLD_SECONDS,
    POST_CONNECT,
    POST_DISCONNECT,
    POST_LOGIN,
    PRE_LOGIN,
    STARTUP,
    Hook,
    HookSettings,
)
from tidegate.model import Origin
from tidegate.model.observe import Observe
from tidegate.outgoing.commands import USUAL_SECONDS
from tidegate.outgoing.http import tls_context
from tidegate.outgoing.program_files import problems_of, remarks_on
from tidegate.server.administration import administration
from tidegate.server.outgoing import command_options, create_caller, create_programs, http_options

if TYPE_CHECKING:
    from tidegate.cluster.registry import LiveConnection, Registry
    from tidegate.events.bus import Bus
    from tidegate.hooks.asking import Asker
    from tidegate.hooks.logins import LoginHooks
    from tidegate.hooks.notices import Notices
    from tidegate.model import Account
    from tidegate.store.contract import Provider

_log = logging.getLogger(__name__)

CONVERSATIONS: Final = 4
"""So many times as many programs that ask questions may run as others: most of their time people type."""


def hook_settings(loaded: Loaded) -> HookSettings:
    """The hooks of a configuration."""
    settings = loaded.settings
    provider = settings.data_provider

    def hook(name: str, key: str, seconds: float = USUAL_SECONDS, *, old: bool = False) -> Hook | None:
        section, _, field = key.partition(".")
        target = getattr(getattr(settings, section), field)
        return Hook(name, target, key, seconds, old=old) if target else None

    return HookSettings(
        external_auth=hook(EXTERNAL_AUTH, "data_provider.external_auth_hook")
        or hook(EXTERNAL_AUTH, "data_provider.external_auth_program", OLD_SECONDS, old=True),
        external_scope=provider.external_auth_scope,
        pre_login=hook(PRE_LOGIN, "data_provider.pre_login_hook")
        or hook(PRE_LOGIN, "data_provider.pre_login_program", OLD_SECONDS, old=True),
        check_password=hook(CHECK_PASSWORD, "data_provider.check_password_hook"),
        password_scope=provider.check_password_scope,
        keyboard_interactive=hook(KEYBOARD_INTERACTIVE, "sftpd.keyboard_interactive_auth_hook", OLD_SECONDS)
        or hook(KEYBOARD_INTERACTIVE, "sftpd.keyboard_interactive_auth_program", OLD_SECONDS, old=True),
        post_login=hook(POST_LOGIN, "data_provider.post_login_hook", NOTICE_SECONDS),
        login_scope=provider.post_login_scope,
        post_connect=hook(POST_CONNECT, "common.post_connect_hook", NOTICE_SECONDS),
        post_disconnect=hook(POST_DISCONNECT, "common.post_disconnect_hook", NOTICE_SECONDS),
        startup=hook(STARTUP, "common.startup_hook", NOTICE_SECONDS),
        store_accounts=settings.hooks.store_accounts and bool(provider.manage_users),
        at_once=settings.hooks.at_once,
        waiting=settings.hooks.waiting,
    )


def create_asker(loaded: Loaded, *, times: int = 1, observe: Observe | None = None) -> Asker:
    """A caller of hooks with places of its own.

    Args:
        times: factor for the places that `hooks.at_once` gives.
        observe: see `Asker`.
    """
    from tidegate.hooks.asking import Asker, unobserved

    section = loaded.settings.hooks
    at_once, waiting = section.at_once * times, section.waiting
    return Asker(
        create_programs(loaded, at_once=at_once, waiting=waiting),
        create_caller(loaded, at_once=at_once, waiting=waiting),
        command_options(loaded),
        observe or unobserved,
    )


def create_login_hooks(
    loaded: Loaded, provider: Provider, bus: Bus, observe: Observe | None = None
) -> LoginHooks | None:
    """The hooks that decide about logins, not bound yet; None if there are none."""
    settings = hook_settings(loaded)
    if not settings.decides_logins:
        return None
    from tidegate.hooks.logins import LoginHooks
    from tidegate.hooks.records import HookRecords

    records = HookRecords(
        provider, administration(loaded, provider, events=bus), store=settings.store_accounts
    )
    return LoginHooks(
        settings,
        create_asker(loaded, observe=observe),
        records,
        conversations=create_asker(loaded, times=CONVERSATIONS),
        connections=create_asker(loaded, observe=observe),
    )


def hook_problems(loaded: Loaded) -> tuple[list[Problem], list[str]]:
    """Reasons not to start, and notes, about the hooks of a configuration. Reads files: call it off the loop.

    A program has to be a file that the server may run and that not everybody can replace; authorities and
    client certificates of URLs have to be readable. Nothing is called.
    """
    settings, problems, notes = hook_settings(loaded), list[Problem](), list[str]()
    for hook in settings.all:
        section, _, field = hook.key.partition(".")
        where = str(loaded.origin((section, field)))
        if not hook.is_http:
            problems += [Problem(where, text) for text in problems_of(hook.target)]
            notes += [f"{where}: {text}" for text in remarks_on(hook.target)]
            continue
        try:
            parts = urlsplit(hook.target)
            usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            parts, usable = urlsplit(""), False
        if not usable:
            problems.append(Problem(where, f"{hook.shown} is no URL that can be called"))
        elif parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            notes.append(
                f"{where}: {hook.shown} is called in the clear; anybody on the way can read passwords"
            )
    if any(hook.is_http for hook in settings.all):
        try:
            tls_context(http_options(loaded))
        except OperatorError as error:
            problems.append(Problem(str(loaded.origin(("http",))), str(error)))
        if len(loaded.settings.http.certificates) > 1:
            notes.append("http.certificates: the first is used, the others have no effect")
    return problems, notes


async def require_usable(loaded: Loaded) -> None:
    """Return if the hooks can be used, with notes about them in the log.

    Raises:
        ConfigError: they cannot; every problem is named.
    """
    problems, notes = await asyncio.to_thread(hook_problems, loaded)
    for note in notes:
        _log.warning("%s", note)
    if problems:
        raise ConfigError(problems)


async def open_notices(
    loaded: Loaded,
    bus: Bus,
    registry: Registry,
    find: Callable[[str], Awaitable[Account | None]],
    observe: Observe | None = None,
) -> Notices | None:
    """Begin to tell hooks of logins, ends of connections and the start; None if there are none."""
    settings = hook_settings(loaded)
    if settings.post_login is None and settings.post_disconnect is None and settings.startup is None:
        return None
    from tidegate.hooks.notices import Notices

    notices = Notices(settings, create_asker(loaded, observe=observe), find)
    await bus.add(notices)

    def left(connection: LiveConnection) -> None:
        origin = Origin.of(connection.peer, connection.username)
        notices.channel_ended(origin, connection.connected_at)

    registry.on_left = left
    return notices
