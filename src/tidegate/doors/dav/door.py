# SPDX-License-Identifier: Apache-2.0
"""The WebDAV door: the HTTP door around the application, with accounts that are logged in, drain and kick."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from tidegate.doors.common.admission import AdmissionRules
from tidegate.doors.common.door import Apply
from tidegate.doors.dav.application import DavApplication
from tidegate.doors.dav.client import DoorServices
from tidegate.doors.dav.clients import Clients
from tidegate.doors.dav.options import DavBinding, DavOptions
from tidegate.doors.http.door import HttpBinding, HttpDoor
from tidegate.doors.http.edge import EdgeOptions
from tidegate.doors.http.listener import HttpLimits
from tidegate.model.door import DoorStatus

DRAIN_LOOK_SECONDS: Final = 0.05
"""Seconds between two looks of a draining door for requests under way."""
KEEP_ALIVE_SECONDS: Final = 120
"""Seconds that a connection is kept between two requests: a mount would take a new one for each."""
HEAD_SECONDS: Final = 30.0
BODY_SECONDS: Final = 60.0
"""Silence in a body after which its connection ends."""
MAX_REQUESTS: Final = 10_000
"""Connections of one binding that are served, whatever the configuration allows."""
RULES: Final = AdmissionRules(
    connections="common.max_total_connections",
    per_source="common.max_per_host_connections",
    unit="WebDAV connections",
    startups_apart=True,
)

log = logging.getLogger(__name__)


class DavDoor:
    """Listens for WebDAV. Life: see `doors.common.door.Door`."""

    name = "webdav"

    def __init__(self, options: DavOptions, services: DoorServices) -> None:
        self._options = options
        self._clients = Clients(services, options)
        self._application = DavApplication(self._clients)
        self._http = HttpDoor(
            self.name, "webdavd", self._application, _bindings(options), services.ledger, family="WebDAV"
        )

    async def start(self) -> None:
        """Load certificates and listen.

        Raises:
            ConfigError: a certificate cannot be used, or an address is taken.
        """
        await self._http.start()
        for binding in self._options.bindings:
            if binding.plain_login and binding.tls is None:
                log.warning(
                    "%s: logins in the clear are allowed: anybody on the way can read passwords",
                    binding.label,
                )

    async def reload(self, options: DavOptions) -> Apply:
        """Get ready for other options, and read changed certificates; see `Door.reload`."""
        apply_http = await self._http.reload(_bindings(options))

        def apply() -> None:
            apply_http()
            self._options = self._clients.options = options

        return apply

    async def drain(self, grace_seconds: float) -> None:
        """Begin no transfer any more; requests under way end when they are done or time is up."""
        self._application.draining = True
        deadline = time.monotonic() + grace_seconds
        while self._clients.busy and time.monotonic() < deadline:  # noqa: ASYNC110  bounded
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        await self._clients.close("shutdown")

    async def stop(self) -> None:
        """Stop listening and end everybody. Safe to call twice."""
        self._application.draining = True
        await self._clients.close("shutdown")
        await self._http.stop()
        await self._clients.close("shutdown")  # who came in the meantime

    def usernames(self) -> set[str]:
        """Accounts that are logged in."""
        return self._clients.usernames()

    def close_user(self, username: str, *, by: str) -> int:
        """End every client of an account; returns how many there were."""
        return self._clients.close_user(username, by)

    def status(self) -> DoorStatus:
        """The door as it is now."""
        return self._http.status()


def _bindings(options: DavOptions) -> tuple[HttpBinding, ...]:
    return tuple(_binding(one, options) for one in options.bindings)


def _binding(binding: DavBinding, options: DavOptions) -> HttpBinding:
    return HttpBinding(
        label=binding.label,
        address=binding.address,
        port=binding.port,
        tls=binding.tls,
        edge=EdgeOptions(
            proxies=binding.proxies,
            header=binding.header,
            depth=binding.depth,
            max_body=0,
            sender="webdavd",
            protocol="DAV",
            binding=binding,
            cache_control=b"private, no-cache",
            cross_origin=options.cross_origin,
        ),
        limits=HttpLimits(
            options.admission,
            head_seconds=HEAD_SECONDS,
            body_seconds=BODY_SECONDS,
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
            requests=MAX_REQUESTS,
            rules=RULES,
            proxied=binding.proxied,
        ),
    )
