# SPDX-License-Identifier: Apache-2.0
"""The part of ``tidegate check`` about doors: what would listen where, with which keys and certificates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tidegate.cli.check_places import listening, origin_of
from tidegate.cli.provider import run
from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.doors.common.client_certificates import ClientCertificates


def ssh(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """SSH: banner, algorithms, addresses, host keys, certificates."""
    from tidegate.doors.ssh.algorithms import resolve
    from tidegate.doors.ssh.hostkeys import default_host_keys, host_key_problem
    from tidegate.doors.ssh.setup import checked_version, read_banner
    from tidegate.server import wiring

    section = loaded.settings.sftpd
    options = wiring.ssh_options(loaded)
    for name, read in (("login_banner_file", read_banner), ("banner", checked_version)):
        try:
            read(options)
        except ConfigError as error:
            what = error.problems[0].what.removeprefix(f"sftpd.{name}: ").removeprefix(f"sftpd.{name} ")
            problems.append(Problem(origin_of(loaded, "sftpd", name), what))
    try:
        resolve(options.algorithms)
    except ConfigError as error:
        for problem in error.problems:
            key, _, place = problem.where.removeprefix("sftpd.").rstrip("]").partition("[")
            problems.append(replace(problem, where=origin_of(loaded, "sftpd", key, int(place))))
    for index, binding in enumerate(section.bindings):
        if binding.port:
            where = origin_of(loaded, "sftpd", "bindings", index, "port")
            yield f"SSH (SFTP): {listening(binding.address, binding.port, where, problems)}"
    if not any(binding.port for binding in section.bindings):
        yield "SSH (SFTP): off"
    named = section.host_keys
    used = any(binding.port for binding in section.bindings)
    for index, name in enumerate(named or (default_host_keys(loaded.config_dir) if used else ())):
        why = host_key_problem(loaded.resolve(name))
        if why is not None:
            where = origin_of(loaded, "sftpd", "host_keys", index) if named else "sftpd.host_keys"
            problems.append(Problem(where, why))
    if used:
        yield from _ssh_certificates(loaded, problems)


def _ssh_certificates(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    from tidegate.doors.ssh.hostkeys import default_host_keys, load_host_keys
    from tidegate.server.certificates import user_certificates

    section = loaded.settings.sftpd
    names = section.host_keys or [
        name for name in default_host_keys(loaded.config_dir) if (loaded.config_dir / name).exists()
    ]
    if section.host_certificates and all(loaded.resolve(name).exists() for name in names):
        from tidegate.doors.ssh.hostcertificates import load_host_certificates

        try:
            keys = load_host_keys(loaded.config_dir, names) if names else []
            load_host_certificates(loaded.config_dir, section.host_certificates, keys)
            yield f"  host certificates: {len(section.host_certificates)}"
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem.where != "configuration"]
    try:
        judge = user_certificates(loaded)
    except ConfigError as error:
        problems += error.problems
        return
    if judge is not None:
        authorities, revocations = judge.describe()
        yield f"  user certificates: {authorities} trusted authorities, {revocations} revocations"


def ftp(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """FTP and FTPS: addresses, certificates and the banner."""
    from tidegate.doors.ftp.banner import with_banner
    from tidegate.server.file_doors import client_certificates
    from tidegate.server.ftp import options

    if any(binding.port for binding in loaded.settings.ftpd.bindings):
        try:
            with_banner(options(loaded))
        except ConfigError as error:
            where = origin_of(loaded, "ftpd", "banner_file")
            problems += (
                Problem(where, one.what.removeprefix("ftpd.banner_file: ")) for one in error.problems
            )
    for index, binding in enumerate(loaded.settings.ftpd.bindings):
        if not binding.port:
            continue
        kind = {0: "FTP, TLS if asked for", 1: "FTP, TLS required", 2: "FTPS"}[binding.tls_mode]
        where = origin_of(loaded, "ftpd", "bindings", index, "port")
        yield f"{kind}: {listening(binding.address, binding.port, where, problems)}"
        if binding.plain_login and binding.tls_mode == 0:
            yield "  logins in the clear are taken here: anybody on the way can read passwords"
        if binding.certificate_file:
            clients = client_certificates(loaded, "ftpd", binding.client_auth_type)
            _try_certificate(loaded, "ftpd", index, binding, problems, clients=clients)


def webdav(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """WebDAV: addresses and certificates."""
    from tidegate.server.file_doors import client_certificates

    for index, binding in enumerate(loaded.settings.webdavd.bindings):
        if not binding.port:
            continue
        kind = "WebDAV over HTTPS" if binding.enable_https else "WebDAV"
        where = origin_of(loaded, "webdavd", "bindings", index, "port")
        yield f"{kind}: {listening(binding.address, binding.port, where, problems)}"
        if binding.plain_login and not binding.enable_https:
            yield "  logins in the clear are taken here: anybody on the way can read passwords"
        if binding.enable_https:
            clients = client_certificates(loaded, "webdavd", binding.client_auth_type)
            _try_certificate(loaded, "webdavd", index, binding, problems, clients=clients)


def http(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """REST API and web admin: addresses, certificates, the file of passwords."""
    from tidegate.identity.htpasswd import read_htpasswd

    section = loaded.settings.httpd
    for index, binding in enumerate(section.bindings):
        _unused_certificate(loaded, index, problems)
        if not binding.port:
            continue
        kind = "HTTPS" if binding.enable_https else "HTTP"
        where = origin_of(loaded, "httpd", "bindings", index, "port")
        yield f"{kind} (REST API): {listening(binding.address, binding.port, where, problems)}"
        if not binding.enable_https and binding.address not in ("127.0.0.1", "::1", "localhost"):
            yield "  passwords and tokens travel unencrypted here: set enable_https, or listen on 127.0.0.1"
        if binding.enable_https:
            _try_certificate(loaded, "httpd", index, binding, problems)
    if section.auth_user_file and any(binding.port for binding in section.bindings):
        path = loaded.resolve(section.auth_user_file)
        try:
            read_htpasswd(path)
        except ConfigError as error:
            problems += error.problems
    if section.templates_path or section.static_files_path:
        from tidegate.server.http import own_brand

        try:
            _, brand = own_brand(loaded)
        except ConfigError as error:
            problems += error.problems
        else:
            yield f"pages: {len(brand.templates)} templates and {len(brand.files)} files of your own"
            yield from (f"  {note}" for note in brand.notes)
    if not any(binding.port for binding in section.bindings):
        yield "HTTP (REST API): off"


def _unused_certificate(loaded: Loaded, index: int, problems: list[Problem]) -> None:
    binding = loaded.settings.httpd.bindings[index]
    named = next((n for n in ("certificate_file", "certificate_key_file") if getattr(binding, n)), "")
    if not named or (binding.port and binding.enable_https):
        return
    why = "enable_https is off, so this is plain HTTP" if binding.port else "the binding is off (port 0)"
    where = origin_of(loaded, "httpd", "bindings", index, named)
    problems.append(Problem(where, f"nothing uses this certificate: {why}"))


def other_doors(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Doors of other packages, found and checked as a server does, and not made."""
    if not loaded.settings.doors.others:
        return
    from tidegate.server.other_doors import check_doors

    try:
        yield f"doors of other packages: {', '.join(check_doors(loaded)) or 'none is on'}"
    except ConfigError as error:
        problems += error.problems


def _try_certificate(
    loaded: Loaded,
    door: str,
    index: int,
    binding: Any,
    problems: list[Problem],
    *,
    clients: ClientCertificates | None = None,
) -> None:
    """Load the certificate of a binding as its door does."""
    from tidegate.doors.common.tls import Certificate

    label = f"{door}.bindings[{index}]"
    certificate = Certificate(
        loaded.resolve(binding.certificate_file),
        loaded.resolve(binding.certificate_key_file),
        min_version=binding.min_tls_version,
        label=label,
        clients=clients,
        suites=binding.tls_cipher_suites,
    )
    try:
        run(certificate.load())
    except ConfigError as error:
        where = origin_of(loaded, door, "bindings", index, "certificate_file")
        problems += (
            one if one.where else Problem(where, one.what.removeprefix(f"{label}: "))
            for one in error.problems
        )
