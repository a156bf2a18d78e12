# SPDX-License-Identifier: Apache-2.0
"""Keys about TLS that the sections of several doors have."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, model_validator

from tidegate.config.schema.base import Section, key

_KEYS: Final = ("certificate_file", "certificate_key_file")


def _given_to_bindings(section: Any) -> Any:
    """A section as it was written, with its certificate in each binding that names neither file.

    What is no section, or no binding, is left to the checks that follow.
    """
    if not isinstance(section, dict) or not all(section.get(name) for name in _KEYS):
        return section
    bindings = section.get("bindings")
    if not isinstance(bindings, list):
        return section
    own = {name: section[name] for name in _KEYS}
    return {
        **section,
        "bindings": [
            {**binding, **own}
            if isinstance(binding, dict) and not any(binding.get(name) for name in _KEYS)
            else binding
            for binding in bindings
        ],
    }


def _checked_suites(names: list[str]) -> list[str]:
    """The names of cipher suites, if each is one of `tidegate.model.tls_suites`.

    Raises:
        ValueError: one is not.
    """
    if names:
        from tidegate.model.tls_suites import SUITES  # few name any

        for name in names:
            if name not in SUITES:
                raise ValueError(
                    f"expected names such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, got {name!r}"
                )
    return names


CipherSuites = Annotated[list[str], AfterValidator(_checked_suites)]
"""Cipher suites of TLS 1.2 by their IANA names."""


def cipher_suites() -> Any:
    """Declare the key `tls_cipher_suites` of a binding."""
    return key(
        [],
        "Cipher suites of TLS 1.2 by their IANA names, the preferred one first; empty takes the usual ones. "
        "TLS 1.3 has its own.",
    )


class TlsSection(Section):
    """A section whose bindings share a certificate, and the authorities of client certificates.

    A subclass has `bindings`, each with `port` and `client_auth_type`.
    """

    certificate_file: str = key(
        "", "Certificate of bindings that name none, relative to the configuration directory."
    )
    certificate_key_file: str = key("", "Key of `certificate_file`; the two are needed together.")
    ca_certificates: list[str] = key(
        [],
        "Files (PEM) with the authorities of client certificates, relative to the configuration directory; "
        "read again when they change.",
    )
    ca_revocation_lists: list[str] = key(
        [],
        "Files (PEM) with their revocation lists. With any, a certificate is taken only if its authority has "
        "a list that is still valid and does not name it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _certificate_of_bindings(cls, section: Any) -> Any:
        return _given_to_bindings(section)

    @model_validator(mode="after")
    def _both_files(self) -> Self:
        if bool(self.certificate_file) != bool(self.certificate_key_file):
            raise ValueError("certificate_file and certificate_key_file are needed together")
        return self

    @model_validator(mode="after")
    def _authorities_of_clients(self) -> Self:
        bindings: list[Any] = getattr(self, "bindings")  # noqa: B009 - subclasses declare it
        for index, binding in enumerate(bindings):
            if binding.port and binding.client_auth_type and not self.ca_certificates:
                raise ValueError(
                    f"bindings[{index}].client_auth_type {binding.client_auth_type} needs ca_certificates"
                )
        return self
