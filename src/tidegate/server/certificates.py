# SPDX-License-Identifier: Apache-2.0
"""Makes the judge of certificates of users from the configuration, and asks the rules about those of TLS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tidegate.config.load import Loaded
from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.identity.certificates.trust import UserCertificates
    from tidegate.model import Account
    from tidegate.policy.decision import Step


def user_certificates(loaded: Loaded) -> UserCertificates | None:
    """The judge of certificates of users, with its files read; None if no authority is trusted. Blocks.

    Raises:
        ConfigError: a file cannot be used, or revocations are named and no authority is.
    """
    sftpd = loaded.settings.sftpd
    if not sftpd.trusted_user_ca_keys:
        if sftpd.revoked_user_certs_file:
            what = "revokes nothing while sftpd.trusted_user_ca_keys names no authority"
            raise ConfigError([Problem("sftpd.revoked_user_certs_file", what)])
        return None
    from tidegate.identity.certificates.trust import UserCertificates

    made = UserCertificates(
        [loaded.resolve(name) for name in sftpd.trusted_user_ca_keys],
        loaded.resolve(sftpd.revoked_user_certs_file) if sftpd.revoked_user_certs_file else None,
        naming_rules=loaded.settings.data_provider.naming_rules,
    )
    made.load()
    return made


def client_certificate_steps(data: bytes, account: Account, loaded: Loaded) -> list[Step]:
    """The rules that a TLS client certificate meets before those of the account. Blocks.

    Doors verify whole chains; this looks for an authority that signed the certificate itself.

    Args:
        data: PEM or DER.
        account: whom it is to log in.
        loaded: the configuration, with the authorities.

    Raises:
        ValueError: `data` is no certificate, or a file cannot be read.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import Encoding

    from tidegate.doors.common.client_certificates import pem_blocks, read_certificate
    from tidegate.identity.client_certificates import common_name
    from tidegate.policy.client_certificates import ClientCertificateFindings, check_client_certificate

    one, ftpd, now = read_certificate(data), loaded.settings.ftpd, time.time()

    def signed(issuer: x509.Certificate) -> bool:
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    trusted = any(
        signed(read_certificate(block))
        for name in ftpd.ca_certificates
        for block in pem_blocks(loaded.resolve(name), "CERTIFICATE")
    )
    lists = [
        found
        for name in ftpd.ca_revocation_lists
        for block in pem_blocks(loaded.resolve(name), "X509 CRL")
        if (found := x509.load_pem_x509_crl(block)).issuer == one.issuer
    ]
    valid = [found for found in lists if (end := found.next_update_utc) is None or end.timestamp() > now]
    serial = one.serial_number
    findings = ClientCertificateFindings(
        name=common_name(one.public_bytes(Encoding.DER)),
        trusted=trusted,
        revoked=any(found.get_revoked_certificate_by_serial_number(serial) is not None for found in lists),
        listed=bool(valid) or not ftpd.ca_revocation_lists,
        begins=one.not_valid_before_utc.timestamp(),
        ends=one.not_valid_after_utc.timestamp(),
    )
    return check_client_certificate(account, findings, now)
