# SPDX-License-Identifier: Apache-2.0
"""Watches the server's own TLS certificates: rules are told that one was renewed, or is about to end."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tidegate.actions.active import ActiveRules
from tidegate.errors import ProviderError
from tidegate.model.rule import Trigger
from tidegate.rules.book import Rule
from tidegate.rules.facts import EXPIRES, FAILED, OK, RENEWED, Facts
from tidegate.store.contract import Provider

LOOK_SECONDS: Final = 600.0
"""Time between looks at the files; the first one is soon after the start."""
FIRST_LOOK_SECONDS: Final = 5.0
MARKS: Final = (21, 14, 7, 3, 1, 0)
"""Days before the end at which rules are told, once each for a certificate and server; 0 is the end."""
MAX_BYTES: Final = 1024 * 1024
"""Bytes of a file that are read."""
CLAIM_MS: Final = 180 * 86_400_000
"""Time for which it is remembered that a rule was told."""

Starts = Callable[[Rule, Facts], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A certificate as it was read.

    Attributes:
        name: its first DNS name, or else its subject.
        mark: hexadecimal digest (SHA-256) that tells it from others.
        ends: seconds since the epoch.
    """

    name: str
    mark: str
    ends: float


class CertificateWatch:
    """Life: constructed, `run` (until it is cancelled).

    Args:
        active: the rules as they are now.
        provider: remembers what was told, over restarts.
        start: starts a rule.
        files: PEM files; the first certificate of each is the server's.
        server: this server's name; each server has files of its own.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        active: ActiveRules,
        provider: Provider,
        start: Starts,
        files: Sequence[Path],
        *,
        server: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._active = active
        self._provider = provider
        self._start = start
        self._files = tuple(files)
        self._server = server
        self._clock = clock
        self._seen: dict[Path, Seen] = {}
        self._unreadable: set[Path] = set()

    async def run(self) -> None:
        """Look at the files now and then."""
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        while self._files:
            try:
                await self.look()
            except ProviderError as error:
                log.warning("event rules about certificates: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Tell the rules of what has changed, and of what ends soon."""
        rules = self._active.book.of_certificates()
        for file in self._files:
            try:
                seen = await asyncio.to_thread(read, file)
            except (OSError, ValueError) as problem:
                if file not in self._unreadable:
                    log.warning("certificate %s: %s", file, problem)
                self._unreadable.add(file)
                continue
            self._unreadable.discard(file)
            before, self._seen[file] = self._seen.get(file), seen
            now = self._clock()
            if before is not None and before.mark != seen.mark:
                await self._tell(rules, file, seen, RENEWED, OK, "", f"renewed:{seen.mark[:40]}")
            days = (seen.ends - now) / 86_400
            reached = [mark for mark in MARKS if days <= mark]
            if reached:
                ended = reached[-1] == 0
                error = "it has ended" if ended else f"it ends in {max(int(days), 0)} days"
                what = f"{reached[-1]}:{seen.mark[:40]}"
                await self._tell(rules, file, seen, EXPIRES, FAILED if ended else OK, error, what)

    async def _tell(  # noqa: PLR0917  the parts of an event
        self, rules: Sequence[Rule], file: Path, seen: Seen, event: str, status: int, error: str, what: str
    ) -> None:
        for rule in rules:
            at = int(seen.ends * 1000)
            told = hashlib.sha256(f"{rule.name}\0{self._server}\0{what}".encode()).hexdigest()
            subject = f"certificate:{told}"
            if await self._provider.claim(subject, at_ms=at, expires_ms=int(self._clock() * 1000) + CLAIM_MS):
                facts = Facts(
                    trigger=Trigger.CERTIFICATE,
                    event=event,
                    status=status,
                    error=error,
                    object_type="certificate",
                    object_name=seen.name,
                    fs_path=str(file),
                    at=int(self._clock() * 1_000_000_000),
                )
                await self._start(rule, facts)


def read(file: Path) -> Seen:
    """The first certificate of a PEM file. Blocking.

    Raises:
        OSError, ValueError: there is none.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    with file.open("rb") as stream:
        certificate = x509.load_pem_x509_certificate(stream.read(MAX_BYTES))
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        found = []
    name = found[0] if found else certificate.subject.rfc4514_string()
    ends = certificate.not_valid_after_utc.timestamp()
    return Seen(name, certificate.fingerprint(hashes.SHA256()).hex(), ends)
