# SPDX-License-Identifier: Apache-2.0
"""Ends the sessions of accounts that may not be in any more, however that came about.

What an administrator changes over REST takes effect at once. An account that expires while its user is
connected, or that the command line or another node disables or deletes, is found here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from tidegate.errors import ProviderUnavailable, TidegateError
from tidegate.model import Account
from tidegate.policy.login import disconnect_reason

SWEEP_SECONDS: Final = 60.0
"""Pause between two sweeps. Nobody stays longer than this and `ASK_GAP_SECONDS` for each connected user."""
ASK_GAP_SECONDS: Final = 0.01
"""Pause between two questions to the data provider, so that a sweep of thousands is no burst."""

log = logging.getLogger(__name__)


class AccountWatch:
    """Asks for the account of everybody who is connected, again and again.

    Args:
        connected: names of the users that have connections now.
        find: their account as it is now, None if it is gone.
        end: ends every connection of a user; the second argument says why, for the log.
        now_ms: Unix milliseconds.
    """

    def __init__(
        self,
        connected: Callable[[], Iterable[str]],
        find: Callable[[str], Awaitable[Account | None]],
        end: Callable[[str, str], None],
        *,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._connected = connected
        self._find = find
        self._end = end
        self._now_ms = now_ms
        # As found last, for when the provider cannot be asked; only of those who are connected.
        self._known: dict[str, Account] = {}

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.once()
            except Exception:
                log.exception("a sweep of sessions failed")

    async def once(self) -> None:
        """Ask about everybody who is connected now. What cannot be found out changes nothing."""
        names = sorted(self._connected())
        known, self._known = self._known, {}
        there = True
        for name in names:
            account = known.get(name)
            if there:
                try:
                    account = await self._find(name)
                    if account is None:
                        self._out(name, "deleted")
                        continue
                except ProviderUnavailable:
                    there = False
                except TidegateError as error:
                    log.warning("whether %r may stay connected cannot be told: %s", name, error)
                await asyncio.sleep(ASK_GAP_SECONDS)
            if account is None:
                continue
            self._known[name] = account
            if why := disconnect_reason(account, self._now_ms()):
                self._out(name, why)

    def _out(self, name: str, why: str) -> None:
        log.info("the connections of %r are ended: the account is %s", name, why)
        self._end(name, why)
