# SPDX-License-Identifier: Apache-2.0
"""Writes that a login leaves behind, off its path: the time of it, and a better hash."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Final

from tidegate.errors import NotFound, ProviderError, ProviderUnavailable, TidegateError
from tidegate.identity.hashing import PasswordChecker
from tidegate.model import Account
from tidegate.store.contract import Provider

_MAX_TOUCHED: Final = 10_000
"""User names whose last touch is remembered."""
COUNT_SECONDS: Final = 30.0
"""Longest time that a login which follows another one of the same user waits to be counted."""
_MAX_BACKGROUND: Final = 1000
"""Upgrades and touches under way; what comes beyond is left to a later login."""

_log = logging.getLogger(__name__)


class Upkeep:
    """Touches and upgrades. No login waits for one, and none fails by one.

    Args:
        provider: where accounts are.
        passwords: makes hashes.
        touch_seconds: `last_login` is written at most this often for each user.
    """

    def __init__(self, provider: Provider, passwords: PasswordChecker, *, touch_seconds: float) -> None:
        self._provider = provider
        self._passwords = passwords
        self._touch_seconds = touch_seconds
        self._touched: OrderedDict[str, float] = OrderedDict()
        self._background: set[asyncio.Task[None]] = set()
        self._given_up: set[str] = set()
        self._uncounted: dict[str, tuple[int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def settle(self) -> None:
        """Wait for what is under way."""
        while self._background:
            await asyncio.wait(set(self._background))

    def count_now(self) -> None:
        """Write the logins that are not counted yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        uncounted, self._uncounted = self._uncounted, {}
        if uncounted:
            self._start(self._count(uncounted))

    async def _count(self, uncounted: dict[str, tuple[int, int]]) -> None:
        for name, (when_ms, logins) in uncounted.items():
            await self._write_touch(name, when_ms, logins)

    def upgrade(self, account: Account, password: str) -> None:
        """Replace a stored hash that is not of the preferred kind."""
        if "password" not in self._given_up:
            self._start(self._upgrade(account, password))

    def touch(self, account: Account, now_ms: int) -> None:
        """Write the time of the login and count it; if that was done a moment ago, in a while."""
        name, now = account.username, now_ms / 1000
        if "touch" in self._given_up:
            return
        _, before = self._uncounted.pop(name, (0, 0))
        if now - self._touched.get(name, account.last_login / 1000) < self._touch_seconds:
            if len(self._uncounted) < _MAX_TOUCHED:
                self._uncounted[name] = now_ms, before + 1
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(COUNT_SECONDS, self.count_now)
            return
        self._touched[name] = now
        self._touched.move_to_end(name)
        if len(self._touched) > _MAX_TOUCHED:
            self._touched.popitem(last=False)
        self._start(self._write_touch(name, now_ms, before + 1))

    async def _write_touch(self, name: str, now_ms: int, logins: int) -> None:
        try:
            await self._provider.touch_login(name, now_ms, logins=logins)
        except NotFound:
            return  # just deleted
        except ProviderUnavailable as error:
            _log.warning("last login of user %r was not stored: %s", name, error)
        except ProviderError as error:
            self._give_up("touch", f"last logins are not stored: {error}")
        except TidegateError as error:
            _log.warning("last login of user %r was not stored: %s", name, error)

    def _give_up(self, what: str, why: str) -> None:
        """Stop trying what this provider does not take, for instance because accounts are read-only."""
        if what not in self._given_up:
            self._given_up.add(what)
            _log.warning("%s", why)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        if len(self._background) >= _MAX_BACKGROUND:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _upgrade(self, account: Account, password: str) -> None:
        """Replace a stored hash that is not of the preferred kind; failure is no harm."""
        try:
            made = await self._passwords.replacement(account.username, account.password, password)
            if made is None:
                return
            # Somebody may have set another password meanwhile; that one must not be undone.
            current = await self._provider.user(account.username)
            if current is not None and current.password == account.password:
                await self._provider.set_password(account.username, made)
        except ProviderUnavailable as error:
            _log.warning("password hash of user %r was not upgraded: %s", account.username, error)
        except ProviderError as error:
            self._give_up("password", f"password hashes are not upgraded: {error}")
        except TidegateError as error:
            _log.warning("password hash of user %r was not upgraded: %s", account.username, error)
