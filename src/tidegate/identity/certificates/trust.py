# SPDX-License-Identifier: Apache-2.0
"""Trusted authorities and revocations from their files, and the judgement of a certificate by them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tidegate.accounts.keys import MAX_TEXT_CHARS, PublicKey, blob_fingerprint, parse_public_keys
from tidegate.accounts.names import DEFAULT_NAMING_RULES, login_name
from tidegate.errors import BadRecord, ConfigError, LoginRefused, Problem
from tidegate.identity.certificates.revoked import MAX_FILE_BYTES, Revoked, parse_revoked
from tidegate.identity.certificates.wire import is_signed, read_certificate
from tidegate.model.certificate import SshCertificate
from tidegate.policy.certificates import Findings, check_certificate
from tidegate.policy.decision import Step
from tidegate.policy.login import refusal

AUTHORITIES: Final = "sftpd.trusted_user_ca_keys"
REVOCATIONS: Final = "sftpd.revoked_user_certs_file"

_log = logging.getLogger(__name__)


class UserCertificates:
    """Judges certificates of users.

    Life: constructed, `load` (blocking; a reload of the configuration makes another one), used. The file of
    revocations is looked at whenever a certificate is judged; while it cannot be read, certificates are
    refused: whoever revokes one has to be able to rely on it.

    Args:
        authorities: files with public keys of authorities, in OpenSSH or another form, several in each.
        revoked: the file of revocations, None for none; see `identity.certificates.revoked`.
        naming_rules: what makes a principal and a user name one, as for logins.
        clock: Unix seconds.
    """

    def __init__(
        self,
        authorities: Sequence[Path],
        revoked: Path | None,
        *,
        naming_rules: int = DEFAULT_NAMING_RULES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authorities = tuple(authorities)
        self._revoked_file = revoked
        self._naming_rules = naming_rules
        self._clock = clock
        self._trusted: frozenset[bytes] = frozenset()
        self._revoked = Revoked()
        self._seen: tuple[int, int, int] | None = None
        self._problem = ""

    def load(self) -> None:
        """Read every file. Blocks.

        Raises:
            ConfigError: a file cannot be read or holds a mistake; names each.
        """
        trusted: set[bytes] = set()
        problems: list[Problem] = []
        for index, path in enumerate(self._authorities):
            try:
                trusted.update(key.blob for key in _authority_keys(path))
            except OSError as error:
                problems.append(Problem(f"{AUTHORITIES}[{index}]", f"{path}: {error.strerror}"))
            except (BadRecord, ValueError) as error:
                what = error.what if isinstance(error, BadRecord) else "is not UTF-8 text"
                problems.append(Problem(f"{AUTHORITIES}[{index}]", f"{path}: {what}"))
        if self._revoked_file is not None:
            try:
                self._revoked, self._seen = _read_revoked(self._revoked_file)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        self._trusted = frozenset(trusted)

    def describe(self) -> tuple[int, int]:
        """The number of authorities, and of revocations."""
        return len(self._trusted), len(self._revoked)

    async def check(self, blob: bytes, username: str, ip: str) -> SshCertificate:
        """The certificate, if it may stand for a user who comes from an address. Does not ask for accounts.

        Raises:
            LoginRefused: it may not (reason ``certificate``, rule ``certificate[...]``); the log says why.
        """
        if self._revoked_file is not None:
            await asyncio.to_thread(self._refresh)
        try:
            certificate = read_certificate(blob)
        except BadRecord as error:
            _log.info("certificate of user %r from %s refused: %s", username, ip, error.what)
            raise LoginRefused("certificate", rule="certificate[form]", username=username) from None
        if self._problem:
            raise LoginRefused("certificate", rule="certificate[revocations]", username=username)
        steps = self.steps(certificate, username, ip, stop=True)
        refused = refusal(steps, username)
        if refused is None:
            return certificate
        _log.info(
            "certificate of user %r from %s refused: %s; key id %r, serial %d, key %s, authority %s",
            username,
            ip,
            steps[-1].why,
            certificate.key_id[:100],
            certificate.serial,
            blob_fingerprint(certificate.key),
            blob_fingerprint(certificate.authority),
        )
        raise refused

    def steps(self, certificate: SshCertificate, username: str, ip: str, *, stop: bool = False) -> list[Step]:
        """The rules that are asked about a certificate, and their answers."""
        trusted = certificate.authority in self._trusted
        findings = Findings(
            trusted=trusted,
            signed=trusted and is_signed(certificate),
            revoked=self._revoked.why(certificate) if trusted or not stop else "",
            security_key=certificate.algorithm.startswith("sk-"),
        )
        return check_certificate(
            certificate,
            findings,
            username=username,
            ip=ip,
            now=self._clock(),
            fold=lambda name: login_name(name, self._naming_rules),
            stop=stop,
        )

    def _refresh(self) -> None:
        """Read the file of revocations again if it has changed. Blocks."""
        assert self._revoked_file is not None
        try:
            if _mark(self._revoked_file.stat()) == self._seen:
                return
            revoked, seen = _read_revoked(self._revoked_file)
        except (OSError, ConfigError) as error:
            text = str(error) if isinstance(error, ConfigError) else f"{self._revoked_file}: {error.strerror}"
            if text != self._problem:
                _log.error("certificates are refused: %s: %s", REVOCATIONS, text)
            self._problem, self._seen = text, None
            return
        self._revoked, self._seen, self._problem = revoked, seen, ""
        _log.info("%s read again: %d revocations", self._revoked_file, len(revoked))


def _authority_keys(path: Path) -> list[PublicKey]:
    with path.open("rb") as file:
        text = file.read(MAX_TEXT_CHARS + 1).decode("utf-8")
    return parse_public_keys(text)


def _read_revoked(path: Path) -> tuple[Revoked, tuple[int, int, int]]:
    try:
        with path.open("rb") as file:
            seen = _mark(os.fstat(file.fileno()))
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(REVOCATIONS, f"{path}: {error.strerror}")]) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([Problem(REVOCATIONS, f"{path} is longer than {MAX_FILE_BYTES} bytes")])
    return parse_revoked(data, str(path)), seen


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino
