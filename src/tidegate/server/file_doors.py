# SPDX-License-Identifier: Apache-2.0
"""Options that the doors of FTP and WebDAV take from the configuration in one way."""

from __future__ import annotations

from typing import Final, Literal

from tidegate.config.load import Loaded
from tidegate.doors.common.admission import AdmissionLimits
from tidegate.doors.common.client_certificates import ClientCertificates
from tidegate.resources import StartupLimits

_NO_LIMIT: Final = 1 << 30


def admission(loaded: Loaded, *, make_room: bool = False) -> AdmissionLimits:
    """Limits on connections; `make_room` as in `AdmissionLimits`."""
    common, sftpd = loaded.settings.common, loaded.settings.sftpd
    return AdmissionLimits(
        connections=common.max_total_connections or _NO_LIMIT,
        per_source=common.max_per_host_connections or _NO_LIMIT,
        startups=StartupLimits.parse(sftpd.max_startups, sftpd.max_startups_per_source),
        make_room=make_room,
    )


def client_certificates(
    loaded: Loaded, name: Literal["ftpd", "webdavd"], auth_type: int
) -> ClientCertificates | None:
    """The certificates that a binding asks its clients for; None if it asks for none.

    Args:
        loaded: the configuration.
        name: the section of the binding, which names the authorities.
        auth_type: ``client_auth_type`` of the binding: 0 asks for none, 1 requires one, 2 takes one.
    """
    if not auth_type:
        return None
    section = loaded.settings.ftpd if name == "ftpd" else loaded.settings.webdavd
    return ClientCertificates(
        name,
        tuple(loaded.resolve(file) for file in section.ca_certificates),
        tuple(loaded.resolve(file) for file in section.ca_revocation_lists),
        required=auth_type == 1,
    )
