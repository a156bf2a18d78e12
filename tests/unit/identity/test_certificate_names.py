# SPDX-License-Identifier: Apache-2.0
"""Names in client certificates, compared with what clients type."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tidegate.identity.client_certificates import names_user


def certificate(*names: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name) for name in names])
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(1))
    )  # fmt: skip
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("names", "typed", "same"),
    [
        (("j\u00f6rg",), "j\u00f6rg", True),
        (("j\u00f6rg",), "j\udcf6rg", False),  # Latin-1 of a client that sends no UTF-8
        (("j\u00f6rg",), "jo\u0308rg", False),
        (("joe",), "Joe", False),
        (("joe",), "", False),
        (("joe", "root"), "joe", False),
        ((), "joe", False),
    ],
)
def test_a_certificate_names_nobody_else(names: tuple[str, ...], typed: str, same: bool) -> None:
    assert names_user(certificate(*names), typed) is same
