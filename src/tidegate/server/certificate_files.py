# SPDX-License-Identifier: Apache-2.0
"""The certificates, authorities and revocation lists that a configuration uses, by its keys."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.config.load import Loaded
from tidegate.health.certificates import CertificateFile, Kind
from tidegate.store.options import SYSTEM_AUTHORITIES


def certificate_files(loaded: Loaded) -> Iterator[CertificateFile]:
    """Every file of X.509 that is in use, those that doors show first."""
    yield from door_certificates(loaded)
    for key, kind, name in _others(loaded):
        if name and name != SYSTEM_AUTHORITIES:
            yield CertificateFile(key=key, kind=kind, path=loaded.resolve(name))


def door_certificates(loaded: Loaded) -> Iterator[CertificateFile]:
    """The certificates that this server shows to clients."""
    settings = loaded.settings
    if settings.telemetry.bind_port and settings.telemetry.certificate_file:
        path = loaded.resolve(settings.telemetry.certificate_file)
        yield CertificateFile(key="telemetry", kind="server", path=path)
    for section in ("httpd", "webdavd", "ftpd"):
        for index, binding in enumerate(getattr(settings, section).bindings):
            uses = getattr(binding, "enable_https", True)
            if binding.port and uses and binding.certificate_file:
                path = loaded.resolve(binding.certificate_file)
                yield CertificateFile(key=f"{section}.bindings[{index}]", kind="server", path=path)


def _others(loaded: Loaded) -> Iterator[tuple[str, Kind, str]]:
    """Key, kind and file of what is shown to other servers, trusted, or revoked."""
    settings = loaded.settings
    for name in ("ftpd", "webdavd"):
        section = getattr(settings, name)
        if any(binding.port and binding.client_auth_type for binding in section.bindings):
            for index, file in enumerate(section.ca_certificates):
                yield f"{name}.ca_certificates[{index}]", "authority", file
            for index, file in enumerate(section.ca_revocation_lists):
                yield f"{name}.ca_revocation_lists[{index}]", "revocations", file
    for index, one in enumerate(settings.http.certificates):
        yield f"http.certificates[{index}]", "client", one.cert
    for index, file in enumerate(settings.http.ca_certificates):
        yield f"http.ca_certificates[{index}]", "authority", file
    if settings.data_provider.driver in ("postgresql", "mysql"):
        yield "data_provider.client_cert", "client", settings.data_provider.client_cert
        yield "data_provider.root_cert", "authority", settings.data_provider.root_cert
    if settings.inspection.icap.url.startswith("icaps://"):
        yield "inspection.icap.ca_file", "authority", settings.inspection.icap.ca_file
    if settings.syslog.address:
        yield "syslog.certificate_file", "client", settings.syslog.certificate_file
        yield "syslog.ca_file", "authority", settings.syslog.ca_file
