# SPDX-License-Identifier: Apache-2.0
"""Makes the FTP door from the configuration."""

from __future__ import annotations

from tidegate.config.load import Loaded
from tidegate.config.schema.ftpd import FtpBinding as BindingSection
from tidegate.doors.common.door import Apply
from tidegate.doors.ftp.door import FtpDoor
from tidegate.doors.ftp.options import (
    FtpBinding,
    FtpCertificate,
    FtpOptions,
    PassiveAddress,
    Reuse,
    TlsMode,
)
from tidegate.model.address_list import AddressList
from tidegate.server.doors import Composition, DoorPlan, InstalledDoor
from tidegate.server.file_doors import admission, client_certificates


async def create(
    composition: Composition, loaded: Loaded, binding: FtpBinding | None = None
) -> InstalledDoor:
    """The FTP door, not started yet.

    Args:
        composition: what it works with.
        loaded: the configuration.
        binding: where to listen, whatever the configuration says; port 0 takes a free one.
    """
    own = () if binding is None else (binding,)
    door = FtpDoor(
        options(loaded, own),
        composition.identity,
        composition.sessions,
        events=composition.bus,
        registry=composition.registry,
        ledger=composition.ledger,
    )

    async def reload(fresh: Loaded) -> Apply:
        return await door.reload(options(fresh, own))

    return InstalledDoor(door, reload)


def ftp_plan(binding: FtpBinding) -> DoorPlan:
    """The FTP door at one address."""

    async def made(composition: Composition, loaded: Loaded) -> InstalledDoor:
        return await create(composition, loaded, binding)

    return DoorPlan("ftp", lambda _: True, made)


def options(loaded: Loaded, own: tuple[FtpBinding, ...] = ()) -> FtpOptions:
    """Options of the FTP door from `ftpd` and `common`; `own` bindings stand instead of those there."""
    ftpd, common = loaded.settings.ftpd, loaded.settings.common
    ports = ftpd.passive_port_range
    return FtpOptions(
        bindings=own
        or tuple(
            _binding(loaded, f"ftpd.bindings[{index}]", binding, active=not ftpd.disable_active_mode)
            for index, binding in enumerate(ftpd.bindings)
            if binding.port
        ),
        admission=admission(loaded),
        banner=(ftpd.banner,),
        banner_file=loaded.resolve(ftpd.banner_file) if ftpd.banner_file else None,
        passive_ports=(ports.start, ports.end if ports.start else 0),
        login_seconds=float(ftpd.login_timeout),
        idle_seconds=common.idle_timeout * 60.0,
        data_seconds=float(ftpd.data_timeout),
        stall_seconds=float(ftpd.stall_timeout),
        login_tries=ftpd.max_login_tries,
        site=ftpd.enable_site,
        hashes=bool(ftpd.hash_support),
        combine=bool(ftpd.combine_support),
    )


def _binding(loaded: Loaded, label: str, section: BindingSection, *, active: bool) -> FtpBinding:
    tls = None
    if section.certificate_file:
        tls = FtpCertificate(
            loaded.resolve(section.certificate_file),
            loaded.resolve(section.certificate_key_file),
            section.min_tls_version,
            client_certificates(loaded, "ftpd", section.client_auth_type),
            tuple(section.tls_cipher_suites),
        )
    return FtpBinding(
        label=label,
        address=section.address,
        port=section.port,
        tls=tls,
        tls_mode=TlsMode(section.tls_mode),
        plain_login=section.plain_login and section.tls_mode == 0,
        session_reuse=Reuse(section.tls_session_reuse),
        clear_command=section.clear_command_channel,
        passive_address=section.force_passive_ip,
        passive_host="" if section.force_passive_ip else section.passive_host,
        passive_overrides=tuple(
            PassiveAddress(AddressList(override.networks), override.ip)
            for override in section.passive_ip_overrides
        ),
        passive_same_peer=section.passive_connections_security == 0,
        active=active,
        ascii=not section.ignore_ascii_transfer_type,
        rename_onto=section.rename_onto,
    )
