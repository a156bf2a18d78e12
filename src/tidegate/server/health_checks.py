# SPDX-License-Identifier: Apache-2.0
"""The checks of a server's health: data provider, storages, disks, certificates, doors."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tidegate.abc import Backend
from tidegate.config.load import Loaded
from tidegate.errors import ProviderUnavailable, TidegateError
from tidegate.health.checks import Check, Finding, State, worst
from tidegate.packages import load_beside
from tidegate.server.doors import Composition
from tidegate.vfs.usage.lease import server_name

WRITE_SECONDS: Final = 30.0
"""Seconds between two times that the data provider is asked to store something."""
MAX_STORAGES: Final = 16
"""Storages on other hosts that one round looks at."""


class HealthChecks:
    """Makes the checks.

    Args:
        composition: the parts of the server.
        loaded: the configuration as of the moment.

    Attributes:
        certificates: ends of certificates that were found last, by key of the configuration; Unix seconds.
    """

    def __init__(self, composition: Composition, loaded: Callable[[], Loaded]) -> None:
        self._root = composition
        self._loaded = loaded
        self._written = float("-inf")
        self._mark = f"health:{server_name(str(loaded().config_dir))}"
        self.certificates: dict[str, float] = {}

    def all(self) -> Mapping[str, Check]:
        """Every check by its name."""
        return {
            "data_provider": self._provider,
            "storages": self._storages,
            "disks": self._disks,
            "certificates": self._ends,
            "doors": self._doors,
        }

    async def _provider(self) -> Finding:
        """Reading each time, writing every `WRITE_SECONDS`."""
        provider = self._root.provider
        data = {"driver": self._loaded().settings.data_provider.driver}
        if not self._root.provider_ready():
            return Finding(State.FAIL, ProviderUnavailable.default_text, data)
        await provider.check()
        if time.monotonic() - self._written >= WRITE_SECONDS:
            written = str(int(time.time()))
            await provider.set_setting(self._mark, written)
            if await provider.setting(self._mark) != written:
                return Finding(State.FAIL, "what is written is not there", data)
            self._written = time.monotonic()
        cipher = getattr(provider, "cipher", None)
        if cipher is not None:
            data["tls_cipher"] = await cipher()
        return Finding(data=data)

    async def _storages(self) -> Finding:
        """Storages on other hosts that sessions use now, one root of each bucket or host."""
        found: dict[str, Backend] = {}
        for spec, backend in self._root.sessions.open_roots():
            if not spec.config.is_local and len(found) < MAX_STORAGES:
                place = urlsplit(backend.location(""))
                found.setdefault(f"{place.scheme}://{place.netloc}", backend)
        findings = await asyncio.gather(*(_stat(place, backend) for place, backend in found.items()))
        finding = worst(findings)
        return Finding(finding.state, finding.text, {"storages": len(found)})

    async def _disks(self) -> Finding:
        """Free space where homes, configuration and database are."""
        loaded = self._loaded()
        telemetry, provider = loaded.settings.telemetry, loaded.settings.data_provider
        places = [str(loaded.config_dir.absolute()), provider.users_base_dir]
        places += [spec.directory for spec, _ in self._root.sessions.open_roots() if spec.config.is_local]
        least = await asyncio.to_thread(_least_free, [place for place in places if place])
        if least is None:
            return Finding()
        place, free, whole = least
        percent = 100 * free / whole if whole else 100.0
        data = {"free_percent": round(percent, 1), "free_bytes": free}
        state = State.OK
        if percent < telemetry.disk_fail:
            state = State.FAIL
        elif percent < telemetry.disk_warn:
            state = State.WARN
        return Finding(state, f"{place} has {percent:.1f} % left" if state else "", data)

    async def _ends(self) -> Finding:
        """Ends of the certificates of doors."""
        loaded = self._loaded()
        await load_beside("tidegate.server.certificate_files")
        from tidegate.health.certificates import DAY, read_all
        from tidegate.server.certificate_files import door_certificates

        rows = await asyncio.to_thread(read_all, list(door_certificates(loaded)))
        now, warn = time.time(), loaded.settings.telemetry.certificate_warn * DAY
        findings, ends = [Finding()], dict[str, float]()
        for one in rows:
            # Most clients refuse a chain as soon as one certificate of it has ended.
            name = f"the chain of {one.file.key}" if one.place else one.file.key
            if one.ends is not None:
                ends[one.file.key] = min(one.ends, ends.get(one.file.key, one.ends))
            if one.problem:
                findings.append(Finding(State.FAIL, f"{name} cannot be read"))
            elif one.ends is not None and one.ends <= now:
                findings.append(Finding(State.WARN if one.place else State.FAIL, f"{name} has ended"))
            elif one.ends is not None and one.ends - now < warn:
                findings.append(Finding(State.WARN, f"{name} ends in {(one.ends - now) / DAY:.1f} days"))
        self.certificates = ends
        finding = worst(findings)
        least = min(self.certificates.values(), default=None)
        days = {} if least is None else {"days_left": round((least - now) / DAY, 1)}
        return Finding(finding.state, finding.text, days)

    async def _doors(self) -> Finding:
        shut = [door.name for door in self._root.doors.status() if not door.active]
        if shut:
            return Finding(State.FAIL, f"{', '.join(shut)} accepts no connections")
        return Finding(data={"doors": [door.name for door in self._root.doors.status()]})


async def _stat(place: str, backend: Backend) -> Finding:
    try:
        await backend.stat("")
    except TidegateError as error:
        return Finding(State.FAIL, f"{place}: {error}")
    return Finding()


def _least_free(places: list[str]) -> tuple[str, int, int] | None:
    """The place with the smallest share of free space, each disk once. Blocks."""
    found: dict[int, tuple[str, int, int]] = {}
    for place in dict.fromkeys(places):
        try:
            device = Path(place).stat().st_dev
            if device not in found:
                usage = shutil.disk_usage(place)
                found[device] = place, usage.free, usage.used + usage.free
        except OSError:
            continue  # a home that is not there yet, or went
    return min(found.values(), key=lambda one: one[1] / (one[2] or 1), default=None)
