# SPDX-License-Identifier: Apache-2.0
"""Series that SFTPGo has, with the same names after the prefix and the same meaning.

Some of its counters do not end in ``_total``. OpenMetrics asks that of counters, so their type is given as
unknown; queries do not see a difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tidegate.metrics.counts import EventCounts
from tidegate.metrics.gauges import Gauges
from tidegate.metrics.timings import Timings

METHODS: Final = {
    "password": "password",
    "public_key": "publickey",
    "keyboard_interactive": "keyboard-interactive",
    "key_and_password": "publickey+password",
    "key_and_keyboard_int": "publickey+keyboard-interactive",
    "tls_cert": "TLSCertificate",
    "tls_cert_and_pwd": "TLSCertificate+password",
    "idp": "IDP",
}
"""Login methods: the part of the name, and our word."""

BUCKETS: Final = {"s3": "s3", "gcs": "gcs", "az": "azblob"}
STORAGES: Final = {**BUCKETS, "sftpfs": "sftp", "httpfs": "http"}
"""Kinds of storage: the part of the name, and our word."""
REQUESTS: Final = ("list_objects", "copy_object", "delete_object", "head_object", "head_bucket")


@dataclass(frozen=True, slots=True)
class Known:
    """One series.

    Attributes:
        name: without prefix.
        text: what it counts.
        value: of it.
        gauge: True if it may fall.
    """

    name: str
    text: str
    value: float
    gauge: bool = False


def known_series(counts: EventCounts, requests: Timings, gauges: Gauges) -> Iterator[Known]:
    """All of them, in a fixed order; those without an event are 0."""
    yield Known("dataprovider_availability", "1 while the data provider works.", gauges.provider, gauge=True)
    sessions = sum(gauges.sessions.values())
    yield Known("active_connections", "Sessions that are logged in.", sessions, gauge=True)
    yield from _transfers(counts, "", "", "")
    for part, kind in STORAGES.items():
        yield from _transfers(counts, f"{part}_", kind, f" on storage {kind}")
    for part, kind in BUCKETS.items():
        for request in REQUESTS:
            if part == "az" and request == "head_bucket":
                continue  # SFTPGo has none
            name = f"{part}_{request}"
            text = f"{request.replace('_', ' ')} requests to {kind}"
            yield Known(name, f"{text}.", requests.count(kind, request))
            yield Known(f"{name}_errors", f"{text} that failed.", requests.failed.get((kind, request), 0))
    yield Known("ssh_commands_total", "SSH commands that ran.", counts.commands[0])
    yield Known("ssh_command_errors_total", "SSH commands that failed.", counts.commands[1])
    yield from _logins(counts)
    yield Known("no_auth_total", "Connections that ended without a login.", counts.no_login)
    yield from _requests(gauges)


def _transfers(counts: EventCounts, part: str, kind: str, where: str) -> Iterator[Known]:
    for action in ("upload", "download"):
        good = bad = size = 0
        for (name, status, storage, _), count in counts.transfers.items():
            if name == action and (not kind or storage == kind):
                good += count.number if status == "ok" else 0
                bad += count.number if status != "ok" else 0
                size += count.size
        yield Known(f"{part}{action}s_total", f"{action.capitalize()}s that succeeded{where}.", good)
        yield Known(f"{part}{action}_errors_total", f"{action.capitalize()}s that failed{where}.", bad)
        yield Known(f"{part}{action}_size", f"Bytes of {action}s that ended{where}.", size)


def _logins(counts: EventCounts) -> Iterator[Known]:
    yield from _login("", "", counts.logins.total(), counts.refused_logins.total())
    for part, method in METHODS.items():
        accepted, refused = counts.logins[method], counts.refused_logins[method]
        yield from _login(f"{part}_", f" by {method}", accepted, refused)


def _login(part: str, by: str, accepted: int, refused: int) -> Iterator[Known]:
    yield Known(f"{part}login_attempts_total", f"Logins that were tried{by}.", accepted + refused)
    yield Known(f"{part}login_ok_total", f"Logins that were accepted{by}.", accepted)
    yield Known(f"{part}login_ko_total", f"Logins that were refused{by}.", refused)


def _requests(gauges: Gauges) -> Iterator[Known]:
    answers = next((door.answers for door in gauges.doors if door.name == "http"), ()) or (0,) * 6
    good = answers[1] + answers[2] + answers[3]
    yield Known("http_req_total", "HTTP requests.", sum(answers))
    yield Known("http_req_ok_total", "HTTP requests with a status below 400.", good)
    yield Known("http_client_errors_total", "HTTP requests with a status of 400 to 499.", answers[4])
    yield Known("http_server_errors_total", "HTTP requests with a status of 500 and above.", answers[5])
