# SPDX-License-Identifier: Apache-2.0
"""Section ``telemetry``: metrics and health, for monitoring."""

from __future__ import annotations

from pydantic import field_validator, model_validator

from tidegate.config.schema.base import Section, key
from tidegate.config.schema.defence import networks


class Telemetry(Section):
    """The listener for monitoring: ``/metrics``, ``/healthz`` and ``/readyz``."""

    bind_port: int = key(0, "TCP port; 0 switches the listener off.", ge=0, le=65_535)
    bind_address: str = key("127.0.0.1", "Address to listen on; empty listens on every address.")
    auth_user_file: str = key(
        "",
        "File in htpasswd form (bcrypt, apr1, SHA-crypt, argon2id) of those who may read `/metrics` and what "
        "`/readyz` found, relative to the configuration directory; empty lets everybody who can connect.",
    )
    certificate_file: str = key(
        "", "Certificate for HTTPS, relative to the configuration directory; empty serves HTTP."
    )
    certificate_key_file: str = key("", "Key of the certificate.")
    min_tls_version: int = key(12, "Least TLS version: 12 or 13.", ge=12, le=13)
    monitors: list[str] = key(
        [],
        "Addresses and networks of monitors: a connection from there that ends without a login costs neither "
        "a score nor a penalty.",
    )
    disk_warn: int = key(10, "Health warns below so much free space of a disk.", unit="percent", ge=0, le=100)
    disk_fail: int = key(2, "Health fails below so much free space of a disk.", unit="percent", ge=0, le=100)
    certificate_warn: int = key(
        14, "Health warns so long before a certificate ends.", unit="days", ge=0, le=365
    )
    sftpgo_metrics: bool = key(
        False, "Export the series of SFTPGo under their own names too, beginning with `sftpgo_`."
    )

    @field_validator("monitors")
    @classmethod
    def _networks(cls, texts: list[str]) -> list[str]:
        return networks(texts)

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Telemetry:
        if bool(self.certificate_file) != bool(self.certificate_key_file):
            raise ValueError("certificate_file and certificate_key_file need each other")
        return self

    # -- accepted, not acted on ----------------------------------------------------------------------------
    enable_profiler: bool = key(False, "Profiles of the process, at `/debug/pprof`.", available=False)
    tls_cipher_suites: list[str] = key([], "TLS 1.2 ciphers.", available=False)
    tls_protocols: list[str] = key([], "HTTP versions.", available=False)
