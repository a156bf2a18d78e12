# SPDX-License-Identifier: Apache-2.0
"""Marks on accounts belong to a server, and a server that lives says so.

Several servers may use one data provider. The mark that an account's numbers may be behind has the name of
the server that changes them. As long as that server lives, it writes the numbers and clears the mark itself;
who counts the account meanwhile would lose what it still holds. So a server renews a lease in the provider
(the setting ``server:NAME``, Unix milliseconds at which it ends), and others count an account again only when
every mark on it is their own of an earlier life, of a server whose lease has ended, or of nobody.

The clocks of the servers have to agree within `LEASE_SECONDS` less `RENEW_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from tidegate.errors import TidegateError

LEASE_SECONDS: Final = 90.0
"""Seconds that a server counts as alive after it said so last."""
RENEW_SECONDS: Final = 20.0
"""Seconds between two times that it says so, and looks for what dead servers left."""
NAME_CHARS: Final = 40
"""Characters of the host's name in a server's name."""

log = logging.getLogger(__name__)


class MarkingStore(Protocol):
    """The part of a data provider that marks and leases need; as in `store.contract`."""

    async def mark_usage(self, username: str, *, dirty: bool, server: str = "") -> None:
        """Set or clear a server's mark."""
        ...

    async def usage_marks(self) -> list[tuple[str, str]]:
        """Every mark: account and server."""
        ...

    async def setting(self, name: str) -> str | None:
        """A small value."""
        ...

    async def set_setting(self, name: str, value: str | None) -> None:
        """Store such a value, or forget it."""
        ...


def server_name(place: str) -> str:
    """The name of the server that has its configuration at `place` of this host; the same after a restart."""
    return f"{socket.gethostname()[:NAME_CHARS]}:{hashlib.blake2b(place.encode(), digest_size=6).hexdigest()}"


class Lease:
    """One server's marks, and the sign that it lives.

    Life: constructed, `start`, `stop`.

    Args:
        store: the data provider.
        name: of this server.
        now: seconds since the epoch.
    """

    def __init__(self, store: MarkingStore, name: str, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._task: asyncio.Task[None] | None = None
        self.name = name

    async def start(self, reconcile: Callable[[], Awaitable[object]]) -> None:
        """Say that the server lives, and go on saying so; `reconcile` is called each time.

        Raises:
            ProviderUnavailable: not now.
        """
        await self.renew()
        if self._task is None:
            self._task = asyncio.create_task(self._keep(reconcile), name="lease")

    async def stop(self) -> None:
        """Give the lease up; what is still marked is for others to count."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            with contextlib.suppress(TidegateError):
                await self._store.set_setting(self._setting(self.name), None)

    async def _keep(self, reconcile: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew()
                await reconcile()
            except TidegateError as error:
                log.debug("lease of %s: %s", self.name, error)
            except Exception:  # without the lease others would count accounts that are in use here
                log.exception("lease of %s: unforeseen error; it is renewed all the same", self.name)

    async def renew(self) -> None:
        """Say that the server lives."""
        ends = int((self._now() + LEASE_SECONDS) * 1000)
        await self._store.set_setting(self._setting(self.name), str(ends))

    @staticmethod
    def _setting(server: str) -> str:
        return f"server:{server}"

    async def mark(self, username: str, *, dirty: bool) -> None:
        """Set or clear this server's mark."""
        await self._store.mark_usage(username, dirty=dirty, server=self.name)

    async def left(self, *, own: bool) -> dict[str, list[str]]:
        """Accounts that nobody else looks after, and the servers whose marks they have.

        Args:
            own: include marks of this server, which are of an earlier life.
        """
        by_account: dict[str, list[str]] = {}
        for username, server in await self._store.usage_marks():
            by_account.setdefault(username, []).append(server)
        alive: dict[str, bool] = {"": False, self.name: not own}
        for server in sorted({server for servers in by_account.values() for server in servers}):
            if server not in alive:
                alive[server] = await self._alive(server)
        return {
            username: servers
            for username, servers in sorted(by_account.items())
            if not any(alive[server] for server in servers)
        }

    async def shared(self, username: str) -> bool:
        """True if another living server has a mark on an account."""
        for marked, server in await self._store.usage_marks():
            if marked == username and server not in ("", self.name) and await self._alive(server):
                return True
        return False

    async def _alive(self, server: str) -> bool:
        value = await self._store.setting(self._setting(server))
        return value is not None and value.isdecimal() and int(value) > self._now() * 1000

    async def clear(self, username: str, servers: list[str]) -> None:
        """The account was counted: its marks of an earlier life, of dead servers and of nobody go."""
        for server in servers:
            await self._store.mark_usage(username, dirty=False, server=server)
