# SPDX-License-Identifier: Apache-2.0
"""Hooks that are told of something and decide nothing: logins, ends of connections, the start.

They are told beside everything else: at most so many at once, and what cannot wait any more is lost with a
word in the log. What must not be lost is the business of kept sinks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from tidegate.abc import Sink
from tidegate.errors import OutsideFailed, TidegateError
from tidegate.events.kinds import Disconnected, LoggedIn, LoginFailed
from tidegate.hooks.asking import Asker, Question, compact
from tidegate.hooks.documents import stranger_document, user_document
from tidegate.hooks.settings import ACCEPTED, FAILED, Hook, HookSettings
from tidegate.model import Account, Origin

REFUSED: Final = "post_connect_hook"
"""The cause of the end of a connection that its hook refused; nobody is told more of it."""
MAX_TOLD: Final = 1024
"""Notices that are being told or wait."""
REPORT_SECONDS: Final = 10.0
"""Lost notices are reported at most this often."""
_SSH: Final = ("SFTP", "SCP", "SSH")

_log = logging.getLogger(__name__)


class Notices:
    """Tells hooks: a sink of events, and told of channels that end. Life: `open`, used, `close`.

    Args:
        settings: the hooks.
        asker: calls them.
        find: the account of a name, as it is now.
    """

    kinds: Final = (LoggedIn, LoginFailed, Disconnected)
    """The bus hands it no others."""

    def __init__(
        self, settings: HookSettings, asker: Asker, find: Callable[[str], Awaitable[Account | None]]
    ) -> None:
        self._settings = settings
        self._asker = asker
        self._find = find
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost = 0
        self._reported = 0.0

    async def open(self) -> None:
        """Nothing to do."""

    async def handle(self, event: object) -> None:
        """Take an event."""
        self.handle_nowait(event)

    def handle_nowait(self, event: object) -> None:
        """Take an event: a login, or the end of an FTP connection."""
        if isinstance(event, LoggedIn):
            self._login(event.origin, event.method, accepted=True)
        elif isinstance(event, LoginFailed):
            if event.reason != REFUSED:
                self._login(event.origin, event.login_type, accepted=False)
        elif isinstance(event, Disconnected):
            hook = self._settings.post_disconnect
            if hook is not None and event.origin.door == "FTP" and event.by != REFUSED:
                # Who has not logged in has no name, whatever they typed.
                origin = event.origin if event.logged_in else replace(event.origin, username="")
                self._tell(hook, ended_question(origin, event.duration))

    def channel_ended(self, origin: Origin, connected_at: float) -> None:
        """Take the end of a channel, or of a connection by another door, which is not told.

        Args:
            connected_at: seconds since the epoch.
        """
        hook = self._settings.post_disconnect
        if hook is not None and origin.protocol in _SSH:
            self._tell(hook, ended_question(origin, max(0.0, time.time() - connected_at)))

    def started(self) -> None:
        """The server has started."""
        if self._settings.startup is not None:
            self._tell(self._settings.startup, Question(method="GET"))

    def _login(self, origin: Origin, method: str, *, accepted: bool) -> None:
        hook, scope = self._settings.post_login, self._settings.login_scope
        if hook is None or scope == (FAILED if accepted else ACCEPTED):
            return
        self._start(self._tell_login(hook, origin, method, accepted=accepted))

    async def _tell_login(self, hook: Hook, origin: Origin, method: str, *, accepted: bool) -> None:
        account: Account | None = None
        if origin.username:
            try:
                account = await self._find(origin.username)
            except TidegateError as error:
                _log.debug("account %r for %s: %s", origin.username, hook.key, error)
        await self._ask(hook, login_question(origin, method, account, accepted=accepted))

    def _tell(self, hook: Hook, question: Question) -> None:
        self._start(self._ask(hook, question))

    def _start(self, work: Awaitable[None]) -> None:
        if len(self._tasks) >= MAX_TOLD:
            self._lost += 1
            work.close()  # type: ignore[attr-defined]
            now = time.monotonic()
            if now - self._reported > REPORT_SECONDS:
                _log.error("%d calls of hooks were lost: %d wait already", self._lost, MAX_TOLD)
                self._reported, self._lost = now, 0
            return
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a hook was not told", exc_info=error)

    async def _ask(self, hook: Hook, question: Question) -> None:
        try:
            reply = await self._asker.ask(hook, question, retry=True)
        except OutsideFailed as error:
            _log.warning("%s failed: %s", hook.key, error.detail)
            return
        if not reply.ok:
            _log.warning("%s failed: %s", hook.key, reply.problem)

    async def settle(self) -> None:
        """Wait until everybody is told."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """End calls that are under way."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._asker.close()


# -- payloads --------------------------------------------------------------------------------------------


def login_question(origin: Origin, method: str, account: Account | None, *, accepted: bool) -> Question:
    """The notice of a login."""
    if account is None:
        text = compact(stranger_document(origin.username, secrets=False))
    else:
        text = compact(user_document(account, password=False))
    family = "SSH" if origin.protocol in _SSH else origin.door
    status = "1" if accepted else "0"
    return Question(
        {
            "LOGIND_USER": text,
            "LOGIND_IP": origin.ip,
            "LOGIND_METHOD": method,
            "LOGIND_STATUS": status,
            "LOGIND_PROTOCOL": family,
        },
        query={"login_method": method, "ip": origin.ip, "protocol": family, "status": status},
        body=text.encode(),
        source=origin.ip,
    )


def ended_question(origin: Origin, seconds: float) -> Question:
    """The notice of the end of a channel or connection; its duration is in whole milliseconds."""
    duration = str(int(seconds * 1000))
    return Question(
        {
            "CONNECTION_IP": origin.ip,
            "CONNECTION_USERNAME": origin.username,
            "CONNECTION_DURATION": duration,
            "CONNECTION_PROTOCOL": origin.door,
        },
        method="GET",
        query={
            "ip": origin.ip,
            "protocol": origin.door,
            "username": origin.username,
            "connection_duration": duration,
        },
        source=origin.ip,
    )


def _keeps_contract(notices: Notices) -> Sink:
    return notices
