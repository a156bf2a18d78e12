# SPDX-License-Identifier: Apache-2.0
"""Section ``ftpd``: the FTP and FTPS server."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Literal

from pydantic import field_validator, model_validator

from tidegate.config.schema.base import Section, key
from tidegate.config.schema.defence import networks
from tidegate.config.schema.tls import CipherSuites, TlsSection, cipher_suites

_RANGE: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)


AUTO: Final = "auto"
"""The value of `force_passive_ip` that has the address found."""


class PassiveOverride(Section):
    """An address that PASV names to clients of some networks."""

    networks: list[str] = key([], "Networks of clients.")
    ip: str = key("", "IPv4 address that PASV names to them; empty names that of the control connection.")

    @field_validator("networks")
    @classmethod
    def _networks(cls, texts: list[str]) -> list[str]:
        return networks(texts)

    @field_validator("ip")
    @classmethod
    def _address(cls, text: str) -> str:
        return _ipv4(text)


class FtpBinding(Section):
    """One address that the FTP server listens on."""

    port: int = key(0, "TCP port; 0 switches the binding off.", ge=0, le=65_535)
    address: str = key("", "Address or host name to listen on; empty listens on every address.")
    tls_mode: int = key(
        0,
        "0: in the clear until the client asks for TLS; 1: TLS has to be asked for before a login and for "
        "data; 2: TLS from the first byte on. 1 and 2 need a certificate.",
        ge=0,
        le=2,
    )
    plain_login: bool = key(
        False, "With `tls_mode` 0: take logins in the clear, which anybody on the way can read."
    )
    certificate_file: str = key(
        "", "Certificate, relative to the configuration directory; read again on SIGHUP."
    )
    certificate_key_file: str = key("", "Key of the certificate.")
    min_tls_version: int = key(12, "Least TLS version: 12 or 13.", ge=12, le=13)
    tls_cipher_suites: CipherSuites = cipher_suites()
    tls_session_reuse: Literal["off", "prefer", "require"] = key(
        "prefer",
        "Whether a data connection takes up the TLS session of its control connection: `require` refuses "
        "others, which proves who opened it and shuts out clients that cannot (Python's ftplib).",
    )
    client_auth_type: int = key(
        0,
        "Certificates of clients: 0 asks for none, 1 refuses connections without one, 2 takes those that are "
        "offered. 1 and 2 need `ftpd.ca_certificates`. Accounts with `filters.tls_username` log in by them.",
        ge=0,
        le=2,
    )
    clear_command_channel: bool = key(
        False, "Obey CCC: the control connection goes back to the clear after the login."
    )
    force_passive_ip: str = key(
        "",
        "IPv4 address that PASV names; empty names that of the control connection; `auto` asks the metadata "
        "service of an Amazon instance at the start, and takes the address of the host's route elsewhere.",
    )
    passive_host: str = key(
        "",
        "Host name whose IPv4 address PASV names, looked up anew every 30 seconds while it is asked for; "
        "`force_passive_ip` counts before it.",
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?)?$",
        like="a host name",
    )
    passive_ip_overrides: list[PassiveOverride] = key([], "Before that, addresses by network of the client.")
    passive_connections_security: int = key(
        0, "0: data connections come from the address of the control connection; 1: from any.", ge=0, le=1
    )
    ignore_ascii_transfer_type: int = key(
        0, "1: take TYPE A for TYPE I; 0: convert the ends of lines.", ge=0, le=1
    )
    rename_onto: Literal["", "refuse", "replace"] = key(
        "", "As `sftpd.rename_onto`, for those who come by this address; empty replaces, as FTP servers do."
    )

    @field_validator("force_passive_ip")
    @classmethod
    def _address(cls, text: str) -> str:
        return text if text == AUTO else _ipv4(text)

    @model_validator(mode="after")
    def _can_be_used(self) -> FtpBinding:
        if not self.port:
            return self
        if bool(self.certificate_file) != bool(self.certificate_key_file):
            raise ValueError("certificate_file and certificate_key_file are needed together")
        if self.tls_mode and not self.certificate_file:
            raise ValueError(f"tls_mode {self.tls_mode} needs certificate_file and certificate_key_file")
        if self.client_auth_type and not self.certificate_file:
            raise ValueError(f"client_auth_type {self.client_auth_type} needs certificate_file")
        if not self.certificate_file and not self.plain_login:
            raise ValueError(
                "nobody could log in: set certificate_file and certificate_key_file, or plain_login, which "
                "takes passwords that anybody on the way can read"
            )
        return self

    # -- accepted, not acted on ----------------------------------------------------------------------------
    apply_proxy_config: bool = key(True, "Whether `common.proxy_protocol` applies here.", available=False)
    active_connections_security: int = key(
        0, "1 would send data to addresses of others than the client.", available=False
    )
    debug: bool = key(False, "Lines of the control connection in the log.", available=False)


class PassivePortRange(Section):
    """Ports of passive data connections."""

    start: int = key(50_000, "First port; 0 takes any free one.", ge=0, le=65_535)
    end: int = key(50_100, "Last port.", ge=0, le=65_535)

    @model_validator(mode="after")
    def _in_order(self) -> PassivePortRange:
        if self.end < self.start or (self.start and self.start < 1024):
            raise ValueError("expected a range of ports from 1024 on")
        return self


class Ftpd(TlsSection):
    """The FTP and FTPS server."""

    bindings: list[FtpBinding] = key([FtpBinding()], "Addresses to listen on.")
    banner: str = key(
        "Tidegate ready", "The line that clients get first.", pattern=r"^[^\r\n]{1,500}$", like="one line"
    )
    banner_file: str = key(
        "",
        "File with the lines that clients get first, in place of `banner`; UTF-8, 16 KiB at most, relative "
        "to the configuration directory; read again on SIGHUP.",
    )
    passive_port_range: PassivePortRange = key(PassivePortRange(), "Ports of passive data connections.")
    disable_active_mode: bool = key(False, "Refuse PORT and EPRT.")
    enable_site: bool = key(True, "Obey SITE commands that change something: CHMOD, SYMLINK, UTIME, CPFR...")
    hash_support: int = key(1, "1: obey HASH, XCRC, XMD5, XSHA and the like; 0: refuse them.", ge=0, le=1)
    combine_support: int = key(1, "1: obey COMB, which joins uploaded parts; 0: refuse it.", ge=0, le=1)
    login_timeout: int = key(
        120, "Time after which a connection without a login ends.", unit="seconds", ge=1, le=3600
    )
    data_timeout: int = key(
        20, "Time in which a data connection has to come about.", unit="seconds", ge=1, le=600
    )
    stall_timeout: int = key(
        60, "Time in which a data connection has to move something.", unit="seconds", ge=1, le=3600
    )
    max_login_tries: int = key(3, "Refused passwords after which a connection ends.", ge=1, le=20)

    # -- accepted, not acted on ----------------------------------------------------------------------------
    active_transfers_port_non_20: bool = key(
        True, "Data connections of PORT never come from port 20.", available=False
    )


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text)) if text else text
    except ValueError:
        raise ValueError(f"expected an IPv4 address, got {text!r}") from None
