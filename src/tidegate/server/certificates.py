# SPDX-License-Identifier: Apache-2.0
"""Makes the judge of certificates of users from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.config.load import Loaded
from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.identity.certificates.trust import UserCertificates


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
