# SPDX-License-Identifier: Apache-2.0
"""Options of the FTP door."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.doors.common.admission import AdmissionLimits
from tidegate.doors.common.client_certificates import ClientCertificates
from tidegate.model.address_list import AddressList


class TlsMode(enum.IntEnum):
    """The way a binding speaks TLS; the numbers are those of the configuration."""

    POSSIBLE = 0
    """in the clear, until the client asks for TLS"""
    REQUIRED = 1
    """nobody logs in, and nothing is transferred, before the client has asked for TLS"""
    IMPLICIT = 2
    """from the first byte on"""


class Reuse(enum.StrEnum):
    """A rule on whether data connections have to take up the TLS session of their control connection."""

    OFF = "off"
    PREFER = "prefer"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class FtpCertificate:
    """A server certificate.

    Attributes:
        certificate: PEM file, the chain included.
        key: PEM file without a passphrase.
        min_version: least TLS version, 12 or 13.
        clients: certificates that clients are asked for; None asks for none.
        suites: of TLS 1.2, names of `tidegate.model.tls_suites`; empty for the usual ones.
    """

    certificate: Path
    key: Path
    min_version: int = 12
    clients: ClientCertificates | None = None
    suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PassiveAddress:
    """The address that PASV names to clients of some networks."""

    networks: AddressList
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FtpBinding:
    """One address to listen on.

    Attributes:
        label: key of the binding, for errors.
        address: host name or address; empty for every interface.
        port: TCP port; 0 takes a free one.
        tls: certificate; None speaks no TLS.
        tls_mode: see `TlsMode`; without `tls` it is POSSIBLE.
        plain_login: without TLS clients may log in.
        session_reuse: see `Reuse`.
        clear_command: CCC is obeyed.
        passive_address: that PASV names; empty for that of the control connection, ``auto`` to be found.
        passive_host: whose address it names, without `passive_address`; empty for none.
        passive_overrides: before that, by network of the client.
        passive_same_peer: data connections are taken from the address of the control connection alone.
        active: PORT and EPRT are obeyed.
        ascii: TYPE A converts ends of lines; otherwise it is taken for TYPE I.
        rename_onto: what the binding says of renames onto a name that exists.
    """

    label: str = ""
    address: str = ""
    port: int = 0
    tls: FtpCertificate | None = None
    tls_mode: TlsMode = TlsMode.POSSIBLE
    plain_login: bool = True
    session_reuse: Reuse = Reuse.PREFER
    clear_command: bool = False
    passive_address: str = ""
    passive_host: str = ""
    passive_overrides: Sequence[PassiveAddress] = ()
    passive_same_peer: bool = True
    active: bool = True
    ascii: bool = True
    rename_onto: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FtpOptions:
    """Options of the door; times in seconds.

    Attributes:
        bindings: where to listen.
        admission: limits on connections.
        banner: lines of the greeting.
        banner_file: holds them in place of `banner`; None for no file.
        passive_ports: first and last port of passive data connections; (0, 0) takes any free one.
        login_seconds: after which a connection without a login ends.
        idle_seconds: after which one that does nothing ends; 0 is never.
        data_seconds: in which a data connection has to come.
        stall_seconds: in which a data connection has to move.
        login_tries: wrong passwords after which the connection ends.
        site: SITE commands that change something are obeyed.
        hashes: HASH, XCRC, XMD5 and the like are obeyed.
        combine: COMB is obeyed.
        backlog: of listening sockets.
    """

    bindings: tuple[FtpBinding, ...] = ()
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    banner: tuple[str, ...] = ("Tidegate ready",)
    banner_file: Path | None = None
    passive_ports: tuple[int, int] = (50000, 50100)
    login_seconds: float = 120.0
    idle_seconds: float = 900.0
    data_seconds: float = 20.0
    stall_seconds: float = 60.0
    login_tries: int = 3
    site: bool = True
    hashes: bool = True
    combine: bool = True
    backlog: int = 256
