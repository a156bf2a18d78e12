# SPDX-License-Identifier: Apache-2.0
"""Certificates of TLS clients: asked for and verified in the handshake, then a first step of a login.

A door that takes them gives `ClientCertificates` to `tls.Certificate`, and calls `login_by_certificate` once
a user name and the certificate of the connection are known.
"""

from __future__ import annotations

import enum
import logging
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidegate.abc import Credential
from tidegate.errors import ConfigError, LoginRefused, Problem

if TYPE_CHECKING:
    from cryptography import x509

    from tidegate.doors.common.record import ConnectionRecord
    from tidegate.identity.api import LoginService, PartialLogin
    from tidegate.model import Peer, Principal

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Longest file of authorities or revocations that is read."""

KIND: Final = "TLSCertificate"
"""The kind of such a credential, and the name of the login method."""

_UNUSED: Final = frozenset(("certificate_unused", "unknown_user", "method"))
"""Reasons that leave the login to a password: the certificate says nothing about the user."""

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClientCertificates:
    """The certificates that clients are asked for.

    Attributes:
        where: key of the configuration that names the files, without the last word, for errors.
        authorities: PEM files of those whose certificates are taken; at least one.
        revoked: PEM files of revocation lists (RFC 5280). With any, a certificate is taken only if its
            authority has a list that is still valid, and no list names it. Where every root has a list,
            certificates of authorities between are looked up as well.
        required: connections without one are refused.
    """

    where: str
    authorities: tuple[Path, ...]
    revoked: tuple[Path, ...] = ()
    required: bool = False

    def ask(self, context: ssl.SSLContext) -> None:
        """Have a server's context ask for certificates. Blocks.

        Raises:
            ConfigError: a file cannot be read or holds something else; names each.
        """
        problems: list[Problem] = []
        roots: set[bytes] = set()
        for index, path in enumerate(self.authorities):
            try:
                roots |= self._authorities(path, context)
            except ValueError as error:
                problems.append(Problem(f"{self.where}.ca_certificates[{index}]", f"{path}: {error}"))
        listed: set[bytes] = set()
        for index, path in enumerate(self.revoked):
            try:
                listed |= self._revocations(path, context)
            except ValueError as error:
                problems.append(Problem(f"{self.where}.ca_revocation_lists[{index}]", f"{path}: {error}"))
        if problems:
            raise ConfigError(problems)
        context.verify_mode = ssl.CERT_REQUIRED if self.required else ssl.CERT_OPTIONAL
        if self.revoked:
            whole = bool(roots) and roots <= listed
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN if whole else ssl.VERIFY_CRL_CHECK_LEAF

    def _authorities(self, path: Path, context: ssl.SSLContext) -> set[bytes]:
        """Trust the authorities of a file; returns the names of those that signed themselves."""
        blocks = pem_blocks(path, "CERTIFICATE")
        try:
            context.load_verify_locations(cadata=b"\n".join(blocks).decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise ValueError("holds a certificate that cannot be read") from None
        found = map(read_certificate, blocks)
        return {one.subject.public_bytes() for one in found if one.subject == one.issuer}

    def _revocations(self, path: Path, context: ssl.SSLContext) -> set[bytes]:
        """Use the lists of a file; returns the names of their authorities."""
        from cryptography import x509

        names: set[bytes] = set()
        for block in pem_blocks(path, "X509 CRL"):
            try:
                one = x509.load_pem_x509_crl(block)
            except ValueError:
                raise ValueError("holds a revocation list that cannot be read") from None
            if (until := one.next_update_utc) is not None and until < datetime.now(UTC):
                _log.warning("%s: a revocation list ended %s: its certificates are refused", path, until)
            names.add(one.issuer.public_bytes())
        try:
            context.load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError):
            raise ValueError("holds a revocation list that cannot be read") from None
        return names


def read_certificate(data: bytes) -> x509.Certificate:
    """A certificate in PEM or DER.

    Raises:
        ValueError: it is none.
    """
    from cryptography import x509

    try:
        if data.lstrip().startswith(b"-----"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError:
        raise ValueError("is no certificate in PEM or DER") from None


def pem_blocks(path: Path, kind: str) -> list[bytes]:
    """The PEM blocks of a file, which are all of one kind: a list of revocations must not add an authority.

    Raises:
        ValueError: it cannot be read, or holds none, or others.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"is longer than {MAX_FILE_BYTES} bytes")
    found = [(match[1].decode("ascii"), match[0]) for match in _PEM.finditer(data)]
    if not found:
        raise ValueError(f"holds no {kind} in PEM")
    if others := {name for name, _ in found} - {kind}:
        raise ValueError(f"holds a {min(others)}; expected nothing but {kind} in PEM")
    return [block for _, block in found]


class Certified(enum.Enum):
    """Outcomes of a certificate that let nobody in."""

    UNUSED = enum.auto()
    """it says nothing about the user: the login goes on as if there were none"""
    REFUSED = enum.auto()
    """it is on record that the login was refused; no password makes up for it"""


async def login_by_certificate(
    service: LoginService,
    record: ConnectionRecord,
    peer: Peer,
    username: str,
    certificate: bytes | None,
    *,
    client_version: str = "",
) -> Principal | PartialLogin | Certified:
    """Judge a login by the certificate of the connection; see `record.authenticate`.

    A refusal must look to the client as if a password were wrong: whether there is such a user is not told.

    Args:
        certificate: DER, verified in the handshake; None if the client has sent none.

    Returns:
        the user; or a login that a password has to follow; or why neither.
    """
    if certificate is None:
        return Certified.UNUSED
    from tidegate.doors.common.record import authenticate

    credential = Credential(KIND, certificate=certificate)
    try:
        outcome = await authenticate(
            service, record, peer, username, credential, client_version=client_version, leaves=_UNUSED
        )
    except LoginRefused:
        return Certified.UNUSED
    return Certified.REFUSED if outcome is None else outcome
