# SPDX-License-Identifier: Apache-2.0
"""Options of the WebDAV door."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tidegate.doors.common.admission import AdmissionLimits
from tidegate.doors.http.cross_origin import CrossOrigin
from tidegate.doors.http.door import CertificateFiles
from tidegate.model.address_list import AddressList

IDLE_SECONDS: Final = 900.0
"""Seconds after which somebody who does nothing is logged out where nothing else is configured."""


class AppleFiles(enum.StrEnum):
    """The fate of the files that macOS writes beside others: ``.DS_Store``, ``._*`` and the like."""

    STORE = "store"
    HIDE = "hide"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class DavBinding:
    """One address to listen on.

    Attributes:
        label: key of the binding, for errors.
        address: host name or address; empty for every interface.
        port: TCP port; 0 takes a free one.
        tls: for HTTPS, None for HTTP.
        prefix: of all paths, such as ``/dav``; empty for none.
        plain_login: logins in the clear are taken.
        challenge: answers of 401 name Basic, so that clients ask for a password.
        apple_files: see `AppleFiles`.
        infinite_depth: PROPFIND may ask for whole trees.
        nextcloud: addresses of Nextcloud's are served too, with uploads in parts.
        pages: GET of a directory shows a page for people.
        proxies: whose headers are believed.
        header: lower case name of the header with the client's address; empty for none.
        depth: which address of it counts, from the right.
        proxied: connections begin with a PROXY header.
    """

    label: str
    address: str = ""
    port: int = 0
    tls: CertificateFiles | None = None
    prefix: str = ""
    plain_login: bool = False
    challenge: bool = True
    apple_files: AppleFiles = AppleFiles.STORE
    infinite_depth: bool = False
    nextcloud: bool = False
    pages: bool = True
    proxies: AddressList = field(default_factory=lambda: AddressList(()))
    header: str = ""
    depth: int = 0
    proxied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DavOptions:
    """Options of the door.

    Attributes:
        bindings: where to listen.
        admission: who may connect.
        idle_seconds: time that somebody who sends nothing stays logged in.
        remember_seconds: after which credentials are judged anew; 0 as long as nothing changes.
        max_clients: who are logged in at a time; 0 no limit.
        types: content types by lower case extension with its dot, before those that are known.
        cross_origin: other sites whose pages may send requests; None for none.
    """

    bindings: tuple[DavBinding, ...]
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    idle_seconds: float = IDLE_SECONDS
    remember_seconds: float = 0.0
    max_clients: int = 0
    types: Mapping[str, str] = field(default_factory=dict)
    cross_origin: CrossOrigin | None = None
