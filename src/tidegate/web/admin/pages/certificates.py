# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates: what clients see of this server, what it trusts, when it ends, and its secrets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.accounts.secrets import count_secrets
from tidegate.errors import BadRecord, ConfigError
from tidegate.health.certificates import DAY, Dated
from tidegate.identity.certificates.wire import read_certificate
from tidegate.model import host_keys
from tidegate.model.certificate import SshCertificate
from tidegate.model.door import DoorStatus
from tidegate.model.sealing import PLAIN_KEY
from tidegate.packages import load_beside
from tidegate.web.admin.pages.backups import KINDS
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.upkeep import Work
from tidegate.web.admin.visit import HEADERS, Visit

NEEDS: Final = "view_status"
MAX_HOST: Final = 253
NO_END: Final = 2**63
"""Unix seconds from which on a certificate of OpenSSH has no end."""
LABELS: Final = {
    "server": "Shown to clients",
    "client": "Shown to other servers",
    "authority": "Trusted authorities",
    "revocations": "Revocation lists",
}
_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:")


async def show(visit: Visit) -> Response:
    """The page."""
    services, now = visit.services, time.time()
    loaded = services.loaded
    warn = float(loaded.settings.telemetry.certificate_warn)
    await load_beside("cryptography.x509")
    found = await (await services.facts()).certificates(loaded)
    ssh = [door for door in services.connections.status() if door.public_keys]
    host = _host(visit)
    hosts = [_certified(one, now, warn) for door in ssh for one in door.certificates]
    groups = [
        {
            "label": label,
            "rows": [
                {"one": one, "level": one.level(now, warn), "told": one.told(now)}
                for one in found
                if one.file.kind == kind
            ],
        }
        for kind, label in LABELS.items()
    ]
    owner = visit.may(EVERYTHING)
    context: dict[str, Any] = {
        "groups": [group for group in groups if group["rows"]],
        "hosts": hosts,
        "host": host,
        "keys": [key for door in ssh for key in _keys(door, host)],
        "levels": _levels(found, hosts, now, warn),
        "warn": warn,
        "paths": owner,
        "owner": owner,
    }
    if owner:
        context |= await _sealing(visit)
    return visit.html("certificates.html", context)


def _levels(
    found: Sequence[Dated], hosts: Sequence[dict[str, Any]], now: float, warn: float
) -> dict[str, int]:
    levels = [one.level(now, warn) for one in found] + [one["level"] for one in hosts]
    return {level: levels.count(level) for level in ("ok", "soon", "now")}


def _host(visit: Visit) -> str:
    """The name by which partners reach the server; what is no name is replaced by that of the request."""
    given = visit.query("host", longest=MAX_HOST).strip("[] ")
    if not given or given.startswith("-") or not _HOST.issuperset(given):
        given = visit.request.url.hostname or "localhost"
    return given if _HOST.issuperset(given) else "localhost"


def _keys(door: DoorStatus, host: str) -> list[dict[str, Any]]:
    """The keys of a door in every form that partners ask for."""
    ports = list(dict.fromkeys(endpoint.port for endpoint in door.endpoints)) or [host_keys.SSH_PORT]
    return [
        {
            "algorithm": host_keys.algorithm_of(blob),
            "sha256": host_keys.sha256_fingerprint(blob),
            "md5": host_keys.md5_fingerprint(blob),
            "known_hosts": [host_keys.known_hosts_line(host, port, blob) for port in ports],
            "sshfp": host_keys.sshfp_records(host, blob),
            "public": host_keys.public_line(blob),
        }
        for blob in door.public_keys
    ]


def _certified(blob: bytes, now: float, warn: float) -> dict[str, Any]:
    """One OpenSSH certificate of a host key."""
    try:
        one = read_certificate(blob)
    except BadRecord as error:
        return {"level": "now", "told": error.what, "id": "", "principals": (), "ends": 0, "authority": ""}
    level, told = _time(one, now, warn)
    return {
        "level": level,
        "told": told,
        "id": one.key_id,
        "principals": one.principals,
        "ends": 0 if one.valid_before >= NO_END else one.valid_before,
        "authority": host_keys.sha256_fingerprint(one.authority),
    }


def _time(one: SshCertificate, now: float, warn: float) -> tuple[str, str]:
    if now < one.valid_after:
        return "now", "is not valid yet"
    if one.valid_before >= NO_END:
        return "ok", "has no end"
    left = (one.valid_before - now) / DAY
    if left <= 0:
        return "now", "has ended"
    told = f"ends in {left:.0f} days" if left >= 2 else f"ends in {left * 24:.0f} h"
    return ("soon" if left < warn else "ok"), told


async def _sealing(visit: Visit) -> dict[str, Any]:
    """The state of the secrets in records, and the last count of them."""
    try:
        facts = await visit.services.facts()
        key, text = await facts.sealing(visit.services.loaded)
    except ConfigError as error:
        key, text = "", "; ".join(str(problem) for problem in error.problems)
    counted = visit.upkeep.secrets
    running = visit.upkeep.running
    found = counted.secrets if counted is not None and counted.secrets is not None else {}
    rows = [
        (kind, field, "plain text" if one == PLAIN_KEY else one, number, "ok" if one == key else "soon")
        for (kind, field, one), number in sorted(found.items())
    ]
    return {
        "seals": bool(key),
        "sealing": text,
        "counted": counted,
        "rows": rows,
        "work": running if running is not None and running.kind == "secrets" else None,
        "kinds": KINDS,
        "again": url("certificates", "progress"),
    }


async def count(visit: Visit) -> Response:
    """Begin to count the secrets in records by the key that they are encrypted under."""
    services = visit.services

    async def do(work: Work) -> None:
        work.secrets = await count_secrets(services.provider)

    visit.upkeep.start(services.jobs, Work(kind="secrets", by=visit.who.username, name=""), do)
    return visit.go("certificates")


async def progress(visit: Visit) -> Response:
    """The part about a count that runs; the page is loaded anew when it is over."""
    work = visit.upkeep.running
    if work is None or work.kind != "secrets":
        return Response(headers={**HEADERS, "HX-Refresh": "true"})
    return visit.html("work.html", {"work": work, "kinds": KINDS, "again": url("certificates", "progress")})


PAGES: Final = (
    Page(
        path="/certificates",
        show=show,
        needs=NEEDS,
        nav=Nav(group="This server", label="Keys and certificates", icon="fingerprint", order=50),
    ),
    Page(path="/certificates/secrets", act=count, needs=EVERYTHING),
    Page(path="/certificates/progress", show=progress, needs=EVERYTHING, streams=True),
)
