# SPDX-License-Identifier: Apache-2.0
"""Certificates of the host keys: a client that trusts their authority need not know the keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncssh

from tidegate.errors import BadRecord, ConfigError, Problem
from tidegate.model.certificate import HOST_CERTIFICATE, SshCertificate

MAX_FILE_BYTES: Final = 64 * 1024
"""Longest certificate file that is read."""

log = logging.getLogger(__name__)


def load_host_certificates(
    directory: Path, names: Sequence[str], keys: Sequence[asyncssh.SSHKey]
) -> list[asyncssh.SSHCertificate]:
    """Load the certificates. Blocking. One that has expired is named in the log and used; clients refuse it.

    Args:
        directory: what relative names are relative to.
        names: paths.
        keys: host keys; each certificate has to belong to one of them, and no two to the same.

    Raises:
        ConfigError: one cannot be read, is none of a host, has no principals, or belongs to no key.
    """
    found: list[asyncssh.SSHCertificate] = []
    problems: list[Problem] = []
    for index, name in enumerate(names):
        path = directory / name
        try:
            loaded, certificate = _load(path)
            _require_host(certificate)
            if all(key.public_data != certificate.key for key in keys):
                raise BadRecord("certificate", "it belongs to none of the host keys")
            if any(one.key.public_data == certificate.key for one in found):
                raise BadRecord("certificate", "another one in the list belongs to the same host key")
        except OSError as error:
            problems.append(Problem(f"sftpd.host_certificates[{index}]", f"{path}: {error.strerror}"))
        except BadRecord as error:
            problems.append(Problem(f"sftpd.host_certificates[{index}]", f"{path}: {error.what}"))
        else:
            found.append(loaded)
            if note := _time_note(certificate):
                log.warning("host certificate %s %s: clients that rely on it refuse the server", path, note)
    if problems:
        raise ConfigError(problems)
    return found


def _load(path: Path) -> tuple[asyncssh.SSHCertificate, SshCertificate]:
    from tidegate.identity.certificates.wire import read_certificate

    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise BadRecord("certificate", f"it is longer than {MAX_FILE_BYTES} bytes")
    try:
        loaded = asyncssh.import_certificate(content)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise BadRecord("certificate", f"it is no OpenSSH certificate: {error}") from None
    return loaded, read_certificate(loaded.public_data)


def _require_host(certificate: SshCertificate) -> None:
    if certificate.kind != HOST_CERTIFICATE:
        raise BadRecord("certificate", "it is a user's certificate, not a host's (ssh-keygen -h)")
    if not certificate.principals:
        raise BadRecord("certificate", "it names no hosts, and clients refuse such (ssh-keygen -n)")


def _time_note(certificate: SshCertificate) -> str:
    now = time.time()
    if now < certificate.valid_after:
        return "is not valid yet"
    return "has expired" if now >= certificate.valid_before else ""
