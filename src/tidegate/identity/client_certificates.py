# SPDX-License-Identifier: Apache-2.0
"""Names in TLS client certificates, which a door has verified before."""

from __future__ import annotations

import hmac


def common_name(certificate: bytes) -> str:
    """The one common name of the subject (RFC 5280 section 4.1.2.6); empty if there is none, or several.

    Args:
        certificate: DER.
    """
    from cryptography import x509

    try:
        subject = x509.load_der_x509_certificate(certificate).subject
        found = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except (ValueError, x509.UnsupportedGeneralNameType):
        return ""
    # With two names whoever signed it and whoever reads it may each mean another one.
    value = found[0].value if len(found) == 1 else ""
    return value if isinstance(value, str) else ""


def names_user(certificate: bytes, username: str) -> bool:
    """True if the certificate's common name is the user name, letter by letter."""
    name = common_name(certificate)
    typed = username.encode("utf-8", "surrogateescape")  # of a client that sends no UTF-8
    return bool(name) and hmac.compare_digest(name.encode(), typed)
