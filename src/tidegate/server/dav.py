# SPDX-License-Identifier: Apache-2.0
"""Makes the WebDAV door from the configuration."""

from __future__ import annotations

from tidegate.config.load import Loaded
from tidegate.config.schema.cors import Cors
from tidegate.config.schema.webdavd import DavBinding as BindingSection
from tidegate.doors.common.door import Apply
from tidegate.doors.dav.client import DoorServices
from tidegate.doors.dav.door import DavDoor
from tidegate.doors.dav.options import IDLE_SECONDS, AppleFiles, DavBinding, DavOptions
from tidegate.doors.http.cross_origin import CrossOrigin
from tidegate.doors.http.door import CertificateFiles
from tidegate.model.address_list import AddressList
from tidegate.server.doors import Composition, DoorPlan, InstalledDoor
from tidegate.server.file_doors import admission, client_certificates


async def create(
    composition: Composition, loaded: Loaded, binding: DavBinding | None = None
) -> InstalledDoor:
    """The WebDAV door, not started yet.

    Args:
        composition: what it works with.
        loaded: the configuration.
        binding: where to listen, whatever the configuration says; port 0 takes a free one.
    """
    own = () if binding is None else (binding,)
    services = DoorServices(
        login=composition.identity,
        accounts=composition.identity,
        sessions=composition.sessions,
        events=composition.bus,
        registry=composition.registry,
        ledger=composition.ledger,
    )
    door = DavDoor(options(loaded, own), services)

    async def reload(fresh: Loaded) -> Apply:
        return await door.reload(options(fresh, own))

    return InstalledDoor(door, reload)


def dav_plan(binding: DavBinding) -> DoorPlan:
    """The WebDAV door at one address."""

    async def made(composition: Composition, loaded: Loaded) -> InstalledDoor:
        return await create(composition, loaded, binding)

    return DoorPlan("webdav", lambda _: True, made)


def options(loaded: Loaded, own: tuple[DavBinding, ...] = ()) -> DavOptions:
    """Options of the WebDAV door from `webdavd` and `common`; `own` bindings stand instead of those there."""
    webdavd, common = loaded.settings.webdavd, loaded.settings.common
    users, types = webdavd.cache.users, webdavd.cache.mime_types
    return DavOptions(
        bindings=own
        or tuple(
            _binding(loaded, f"webdavd.bindings[{index}]", binding)
            for index, binding in enumerate(webdavd.bindings)
            if binding.port
        ),
        admission=admission(loaded, make_room=True),
        idle_seconds=common.idle_timeout * 60.0 or IDLE_SECONDS,
        remember_seconds=users.expiration_time * 60.0,
        max_clients=users.max_size,
        types={one.ext.lower(): one.mime for one in types.custom_mappings} if types.enabled else {},
        cross_origin=_cross_origin(webdavd.cors) if webdavd.cors.enabled else None,
    )


def _cross_origin(section: Cors) -> CrossOrigin:
    """Empty lists mean what they mean in SFTPGo: every origin, simple methods, usual headers."""
    return CrossOrigin(
        origins=tuple(one.lower() for one in section.allowed_origins) or ("*",),
        methods=frozenset(section.allowed_methods or ("GET", "HEAD", "POST")),
        names=frozenset(one.lower() for one in section.allowed_headers or ("X-Requested-With",)),
        exposed=tuple(section.exposed_headers),
        credentials=section.allow_credentials,
        max_age_seconds=section.max_age,
        passes=section.options_passthrough,
        status=section.options_success_status or 204,
        private_network=section.allow_private_network,
    )


def _binding(loaded: Loaded, label: str, section: BindingSection) -> DavBinding:
    tls = None
    if section.enable_https:
        tls = CertificateFiles(
            loaded.resolve(section.certificate_file),
            loaded.resolve(section.certificate_key_file),
            section.min_tls_version,
            client_certificates(loaded, "webdavd", section.client_auth_type),
            tuple(section.tls_cipher_suites),
        )
    return DavBinding(
        label=label,
        address=section.address,
        port=section.port,
        tls=tls,
        prefix=section.prefix,
        plain_login=section.plain_login,
        challenge=not section.disable_www_auth_header,
        apple_files=AppleFiles(section.apple_files),
        infinite_depth=section.infinite_depth,
        nextcloud=section.nextcloud,
        pages=section.pages,
        proxies=AddressList(section.proxy_allowed),
        header=section.client_ip_proxy_header.lower(),
        depth=section.client_ip_header_depth,
        proxied=section.proxy_mode == 1,
    )
