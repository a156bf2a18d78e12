# SPDX-License-Identifier: Apache-2.0
"""X.509 certificates and revocation lists (RFC 5280) in files: whom they name, and when they end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from cryptography import x509

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Longest file that is read."""
MAX_OF_FILE: Final = 200
"""Certificates of one file that are told of; authorities of a whole system are about 150."""
MAX_NAMES: Final = 50
"""Names of one certificate that are told."""
DAY: Final = 86_400.0

Kind = Literal["server", "client", "authority", "revocations"]
"""Shown by this server; shown by it to others; trusted by it; a list of certificates that are not."""

_PEM: Final = re.compile(
    rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE|X509 CRL)-----.*?-----END \1-----", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFile:
    """A file that the configuration names.

    Attributes:
        key: of the configuration.
        kind: of its content.
        path: of the file.
    """

    key: str
    kind: Kind
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """One certificate or list of a file, or the reason why there is none.

    Attributes:
        file: that has it.
        place: 0 for the first of the file, which is the one that a server or client shows.
        subject: whom it names; of a list the authority. As RFC 4514 writes names.
        issuer: who signed it.
        names: alternative names, such as ``DNS:example.org``.
        serial: in hexadecimal digits; of a list its number, if it has one.
        key: kind of the public key, such as ``EC secp256r1``; of a list the number of revoked certificates.
        sha256: fingerprint, in upper case with colons.
        begins: Unix seconds.
        ends: Unix seconds; None for a list without an end, and if it cannot be read.
        problem: the reason why it cannot be read; empty if it can.
    """

    file: CertificateFile
    place: int = 0
    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    serial: str = ""
    key: str = ""
    sha256: str = ""
    begins: float = 0.0
    ends: float | None = None
    problem: str = ""

    def level(self, now: float, warn_days: float) -> Literal["ok", "soon", "now"]:
        """The urgency: ``now`` if it cannot be used, ``soon`` if it ends within that many days.

        Revocation lists are made anew every few days, so one that has not ended is well.
        """
        if self.problem or now < self.begins or (self.ends is not None and self.ends <= now):
            return "now"
        near = self.ends is not None and self.ends - now < warn_days * DAY
        return "soon" if near and self.file.kind != "revocations" else "ok"

    def told(self, now: float) -> str:
        """The urgency in words: ``ends in 9 days``, ``has ended``."""
        if self.problem:
            return self.problem
        if now < self.begins:
            return "is not valid yet"
        if self.ends is None:
            return "has no end"
        if self.ends <= now:
            return "has ended"
        days = (self.ends - now) / DAY
        return f"ends in {days:.0f} days" if days >= 2 else f"ends in {days * 24:.0f} h"


def read_all(files: Iterable[CertificateFile]) -> list[Dated]:
    """Everything that files hold; one row with a problem for a file that cannot be used. Blocks."""
    return [one for file in files for one in _read(file)]


def _read(file: CertificateFile) -> list[Dated]:
    try:
        with file.path.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return [Dated(file=file, problem=f"cannot be read: {error.strerror}")]
    if len(data) > MAX_FILE_BYTES:
        return [Dated(file=file, problem=f"is longer than {MAX_FILE_BYTES} bytes")]
    try:
        found = list(_of_file(file, data))
    except ValueError:
        return [Dated(file=file, problem="holds something that cannot be read")]
    wanted = "revocation list" if file.kind == "revocations" else "certificate"
    return found or [Dated(file=file, problem=f"holds no {wanted} in PEM")]


def _of_file(file: CertificateFile, data: bytes) -> Iterator[Dated]:
    from cryptography import x509

    place = 0
    for block in _PEM.finditer(data):
        if (block[1] == b"X509 CRL") != (file.kind == "revocations") or place >= MAX_OF_FILE:
            continue
        if file.kind == "revocations":
            yield _list(file, place, x509.load_pem_x509_crl(block[0]))
        else:
            plain = block[0].replace(b"X509 CERTIFICATE", b"CERTIFICATE")
            yield _certificate(file, place, x509.load_pem_x509_certificate(plain))
        place += 1


def _certificate(file: CertificateFile, place: int, one: x509.Certificate) -> Dated:
    from cryptography.hazmat.primitives.hashes import SHA256

    return Dated(
        file=file,
        place=place,
        subject=one.subject.rfc4514_string(),
        issuer=one.issuer.rfc4514_string(),
        names=_names(one),
        serial=f"{one.serial_number:x}",
        key=_key(one),
        sha256=one.fingerprint(SHA256()).hex(":").upper(),
        begins=one.not_valid_before_utc.timestamp(),
        ends=one.not_valid_after_utc.timestamp(),
    )


def _list(file: CertificateFile, place: int, one: x509.CertificateRevocationList) -> Dated:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import CRLNumber, ExtensionNotFound

    try:
        number = f"{one.extensions.get_extension_for_class(CRLNumber).value.crl_number:x}"
    except ExtensionNotFound:
        number = ""
    until = one.next_update_utc
    return Dated(
        file=file,
        place=place,
        subject=one.issuer.rfc4514_string(),
        issuer=one.issuer.rfc4514_string(),
        serial=number,
        key=f"{len(one)} revoked",
        sha256=one.fingerprint(SHA256()).hex(":").upper(),
        begins=one.last_update_utc.timestamp(),
        ends=until.timestamp() if until is not None else None,
    )


def _names(one: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        value = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    kinds: dict[type[x509.GeneralName], str] = {
        x509.DNSName: "DNS",
        x509.IPAddress: "IP",
        x509.RFC822Name: "email",
        x509.UniformResourceIdentifier: "URI",
    }
    return tuple(f"{kinds.get(type(name), 'other')}:{name.value}" for name in value)[:MAX_NAMES]


def _key(one: x509.Certificate) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        key = one.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return "of an unknown kind"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.strip("_").removesuffix("PublicKey")
