# SPDX-License-Identifier: Apache-2.0
"""Makes the listener for monitoring from the configuration."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from tidegate.config.load import Loaded
from tidegate.doors.common.admission import AdmissionLimits, AdmissionRules
from tidegate.doors.common.door import Apply
from tidegate.doors.http.door import CertificateFiles, HttpBinding, HttpDoor
from tidegate.doors.http.edge import EdgeOptions
from tidegate.doors.http.listener import HttpLimits
from tidegate.errors import ConfigError, LoginRefused
from tidegate.identity.htpasswd import HtpasswdFile
from tidegate.resources.entrance import OpenEntrance
from tidegate.server.doors import Composition, InstalledDoor
from tidegate.web.telemetry.application import Telemetry

if TYPE_CHECKING:
    from tidegate.identity.throttle import LoginThrottle

MAX_CONNECTIONS: Final = 64
"""Connections to the listener; the one that has waited longest for a request makes room for another."""
MAX_BODY: Final = 1024
"""Bytes of a request's body, which nothing here reads."""

RULES: Final = AdmissionRules(
    connections="telemetry.connections",
    per_source="telemetry.connections_per_source",
    unit="telemetry connections",
    common=False,
    startups_apart=True,
)

_log = logging.getLogger(__name__)


class FileReaders:
    """Users of `telemetry.auth_user_file`.

    Args:
        file: the file, loaded.
        throttle: of guesses, at all doors.
    """

    def __init__(self, file: HtpasswdFile, throttle: LoginThrottle) -> None:
        self._file = file
        self._throttle = throttle

    async def admit(self, ip: str, name: str, password: str) -> float:
        """See `Readers`."""
        wait = self._throttle.admit(f"telemetry:{name}", ip, time.monotonic())
        if wait:
            return wait
        if not await self._file.verify(ip, name, password):
            raise LoginRefused("bad_credential", username=name)
        self._throttle.succeeded(f"telemetry:{name}", ip, time.monotonic())
        return 0.0


async def create(composition: Composition, loaded: Loaded) -> InstalledDoor:
    """The listener, not started yet. It asks no list of bans: monitoring that was banned would be blind.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
    """
    monitor = composition.monitor()
    await monitor.start()
    application = Telemetry(monitor.render, monitor.ready, await _readers(composition, loaded))
    door = HttpDoor(
        "telemetry",
        "telemetry",
        application,
        (binding(loaded),),
        composition.ledger,
        family="monitoring",
        entrance=OpenEntrance(),
    )

    async def reload(fresh: Loaded) -> Apply:
        readers = application.readers
        try:
            readers = await _readers(composition, fresh)
        except ConfigError as error:
            _log.error("not reloaded: %s", error)
        apply_door = await door.reload((binding(fresh),))

        def apply() -> None:
            application.readers = readers
            apply_door()

        return apply

    return InstalledDoor(door, reload)


def binding(loaded: Loaded) -> HttpBinding:
    """The address of the listener."""
    section = loaded.settings.telemetry
    tls = None
    if section.certificate_file:
        tls = CertificateFiles(
            loaded.resolve(section.certificate_file),
            loaded.resolve(section.certificate_key_file),
            section.min_tls_version,
        )
    return HttpBinding(
        label="telemetry",
        address=section.bind_address,
        port=section.bind_port,
        tls=tls,
        edge=EdgeOptions(max_body=MAX_BODY, sender="telemetry"),
        limits=HttpLimits(
            AdmissionLimits(connections=MAX_CONNECTIONS, per_source=MAX_CONNECTIONS // 2, make_room=True),
            rules=RULES,
        ),
    )


async def _readers(composition: Composition, loaded: Loaded) -> FileReaders | None:
    name = loaded.settings.telemetry.auth_user_file
    if not name:
        return None
    file = HtpasswdFile(loaded.resolve(name), composition.identity.passwords)
    await asyncio.to_thread(file.load)
    return FileReaders(file, composition.identity.throttle)
