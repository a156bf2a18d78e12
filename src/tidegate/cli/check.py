# SPDX-License-Identifier: Apache-2.0
"""``tidegate check``: is this configuration going to work, and what would listen where?

Long, because each part of the configuration has its check here, a few lines each.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.check_sandbox import homes_outside, sandbox
from tidegate.cli.provider import load_settings, run
from tidegate.cli.serve import DEFAULT_LOG
from tidegate.cli.terminal import say
from tidegate.errors import BadRecords, ConfigError, OperatorError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.doors.common.tls import Certificate


def check(
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
    storage: Annotated[
        bool,
        typer.Option(
            "--storage",
            help="Also ask the buckets and services that accounts and folders name. An object of some bytes "
            "is written to each, read and removed.",
        ),
    ] = False,
) -> None:
    """Check configuration and environment; changes nothing.

    Names the key and the file of every problem, and says what would listen where.
    """
    from tidegate.cli.terminal import note, say_json

    try:
        loaded = load_settings(config_dir, config_file, quiet=as_json)
    except ConfigError as error:
        if as_json:
            say_json(_verdict(error.problems))
        raise
    problems: list[Problem] = []
    facts: list[str] = [f"configuration: {loaded.file or 'none, defaults and environment'}"]
    for inspect in (
        _ssh,
        _ftp,
        _webdav,
        _http,
        _other_doors,
        _files,
        _limits,
        _identity,
        _hooks,
        _events,
        _inspection,
        _addresses,
        _storage,
        _secrets,
        _cluster,
        _syslog,
        sandbox,
    ):
        facts += inspect(loaded, problems)
    notes = _hook_notes(loaded)
    if loaded.settings.identity.openbridge.host:
        from tidegate.cli.openbridge import check_tables

        facts += run(check_tables(loaded, problems, notes))
    facts += run(_provider(loaded, problems, notes))
    if loaded.settings.sandbox.mode != "off":
        run(homes_outside(loaded, notes))
    if storage and not problems:
        from tidegate.cli.storage_trial import try_storages

        facts += run(try_storages(config_dir, config_file, problems))
    if as_json:
        say_json(_verdict(problems, facts, [*loaded.notes, *notes]))
    else:
        for fact in facts:
            say(fact)
        for text in notes:
            note(text)
    if problems:
        raise ConfigError(problems)
    if not as_json:
        if count := len(loaded.notes) + len(notes):
            note(f"{count} remarks above")
        say("no problems found")


def _verdict(
    problems: Sequence[Problem], facts: Sequence[str] = (), notes: Sequence[str] = ()
) -> dict[str, object]:
    """The document of ``--json``."""
    return {
        "ok": not problems,
        "facts": list(facts),
        "notes": list(notes),
        "problems": [{"where": problem.where, "what": problem.what} for problem in problems],
    }


def _where(loaded: Loaded, *path: str | int) -> str:
    from tidegate.config.schema.walk import dotted

    origin = loaded.origin(path)
    return dotted(path) if origin.kind == "default" else str(origin)


def _ssh(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
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
            problems.append(Problem(_where(loaded, "sftpd", name), what))
    try:
        resolve(options.algorithms)
    except ConfigError as error:
        for problem in error.problems:
            key, _, place = problem.where.removeprefix("sftpd.").rstrip("]").partition("[")
            problems.append(replace(problem, where=_where(loaded, "sftpd", key, int(place))))
    for index, binding in enumerate(section.bindings):
        if binding.port:
            where = _where(loaded, "sftpd", "bindings", index, "port")
            yield f"SSH (SFTP): {_listening(binding.address, binding.port, where, problems)}"
    if not any(binding.port for binding in section.bindings):
        yield "SSH (SFTP): off"
    named = section.host_keys
    used = any(binding.port for binding in section.bindings)
    for index, name in enumerate(named or (default_host_keys(loaded.config_dir) if used else ())):
        why = host_key_problem(loaded.resolve(name))
        if why is not None:
            where = _where(loaded, "sftpd", "host_keys", index) if named else "sftpd.host_keys"
            problems.append(Problem(where, why))
    if used:
        yield from _ssh_certificates(loaded, problems)


def _ssh_certificates(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    from tidegate.doors.ssh.hostkeys import DEFAULT_HOST_KEYS, load_host_keys
    from tidegate.server.certificates import user_certificates

    section = loaded.settings.sftpd
    names = section.host_keys or [name for name in DEFAULT_HOST_KEYS if (loaded.config_dir / name).exists()]
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


def _ftp(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    from tidegate.doors.common.tls import Certificate
    from tidegate.server.file_doors import client_certificates

    for index, binding in enumerate(loaded.settings.ftpd.bindings):
        if not binding.port:
            continue
        kind = {0: "FTP, TLS if asked for", 1: "FTP, TLS required", 2: "FTPS"}[binding.tls_mode]
        where = _where(loaded, "ftpd", "bindings", index, "port")
        yield f"{kind}: {_listening(binding.address, binding.port, where, problems)}"
        if binding.plain_login and binding.tls_mode == 0:
            yield "  logins in the clear are taken here: anybody on the way can read passwords"
        if binding.certificate_file:
            label = f"ftpd.bindings[{index}]"
            certificate = Certificate(
                loaded.resolve(binding.certificate_file),
                loaded.resolve(binding.certificate_key_file),
                min_version=binding.min_tls_version,
                label=label,
                clients=client_certificates(loaded, "ftpd", binding.client_auth_type),
            )
            place = _where(loaded, "ftpd", "bindings", index, "certificate_file")
            _load(certificate, label, place, problems)


def _webdav(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    from tidegate.doors.common.tls import Certificate
    from tidegate.server.file_doors import client_certificates

    for index, binding in enumerate(loaded.settings.webdavd.bindings):
        if not binding.port:
            continue
        kind = "WebDAV over HTTPS" if binding.enable_https else "WebDAV"
        where = _where(loaded, "webdavd", "bindings", index, "port")
        yield f"{kind}: {_listening(binding.address, binding.port, where, problems)}"
        if binding.plain_login and not binding.enable_https:
            yield "  logins in the clear are taken here: anybody on the way can read passwords"
        if binding.enable_https:
            label = f"webdavd.bindings[{index}]"
            certificate = Certificate(
                loaded.resolve(binding.certificate_file),
                loaded.resolve(binding.certificate_key_file),
                min_version=binding.min_tls_version,
                label=label,
                clients=client_certificates(loaded, "webdavd", binding.client_auth_type),
            )
            place = _where(loaded, "webdavd", "bindings", index, "certificate_file")
            _load(certificate, label, place, problems)


def _load(certificate: Certificate, label: str, where: str, problems: list[Problem]) -> None:
    try:
        run(certificate.load())
    except ConfigError as error:
        problems += (
            one if one.where else Problem(where, one.what.removeprefix(f"{label}: "))
            for one in error.problems
        )


def _http(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    from tidegate.doors.common.tls import Certificate
    from tidegate.identity.htpasswd import read_htpasswd

    section = loaded.settings.httpd
    for index, binding in enumerate(section.bindings):
        _unused_certificate(loaded, index, problems)
        if not binding.port:
            continue
        kind = "HTTPS" if binding.enable_https else "HTTP"
        where = _where(loaded, "httpd", "bindings", index, "port")
        yield f"{kind} (REST API): {_listening(binding.address, binding.port, where, problems)}"
        if not binding.enable_https and binding.address not in ("127.0.0.1", "::1", "localhost"):
            yield "  passwords and tokens travel unencrypted here: set enable_https, or listen on 127.0.0.1"
        if binding.enable_https:
            certificate = Certificate(
                loaded.resolve(binding.certificate_file),
                loaded.resolve(binding.certificate_key_file),
                min_version=binding.min_tls_version,
                label=f"httpd.bindings[{index}]",
            )
            label = f"httpd.bindings[{index}]"
            _load(
                certificate, label, _where(loaded, "httpd", "bindings", index, "certificate_file"), problems
            )
    if section.auth_user_file and any(binding.port for binding in section.bindings):
        path = loaded.resolve(section.auth_user_file)
        try:
            read_htpasswd(path)
        except ConfigError as error:
            problems += error.problems
    if not any(binding.port for binding in section.bindings):
        yield "HTTP (REST API): off"


def _unused_certificate(loaded: Loaded, index: int, problems: list[Problem]) -> None:
    binding = loaded.settings.httpd.bindings[index]
    named = next((n for n in ("certificate_file", "certificate_key_file") if getattr(binding, n)), "")
    if not named or (binding.port and binding.enable_https):
        return
    why = "enable_https is off, so this is plain HTTP" if binding.port else "the binding is off (port 0)"
    where = _where(loaded, "httpd", "bindings", index, named)
    problems.append(Problem(where, f"nothing uses this certificate: {why}"))


def _files(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    from tidegate.config.secret_files import read_secret
    from tidegate.store.options import SYSTEM_AUTHORITIES

    settings = loaded.settings
    for path in (
        ("data_provider", "root_cert"),
        ("data_provider", "client_cert"),
        ("data_provider", "client_key"),
    ):
        name = getattr(getattr(settings, path[0]), path[1])
        if name and (path, name) != (("data_provider", "root_cert"), SYSTEM_AUTHORITIES):
            _readable(loaded.resolve(name), _where(loaded, *path), problems)
    for path in (("data_provider", "password_file"), ("httpd", "signing_passphrase_file")):
        section = getattr(settings, path[0])
        name = getattr(section, path[1])
        if name and not getattr(section, path[1].removesuffix("_file")):  # else nobody reads it
            try:
                read_secret(loaded.resolve(name), _where(loaded, *path))
            except ConfigError as error:
                problems += error.problems
    base = settings.data_provider.users_base_dir
    if base and (why := _unmakeable(Path(base))):
        problems.append(Problem(_where(loaded, "data_provider", "users_base_dir"), why))
    log = next(
        (value for name in flags.envs("LOG_FILE_PATH") if (value := os.environ.get(name))), DEFAULT_LOG
    )
    if log != "-" and (why := _unwritable(loaded.config_dir / log)):
        problems.append(Problem("--log-file-path", why))
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        yield "user: root; new files get the owner that an account names"


def _identity(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Authenticators, made as a server makes them and not opened."""
    from tidegate.identity.factory import create_authenticators
    from tidegate.server.wiring import authenticator_uses

    uses = authenticator_uses(loaded)
    if not uses:
        return
    try:
        create_authenticators(uses)
    except ConfigError as error:
        where = _where(loaded, "identity", "authenticators")
        problems += [Problem(where, str(problem)) for problem in error.problems]
    yield f"authenticators: {', '.join(name for name, _ in uses)}, then the data provider"


def _hooks(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Hooks of logins and connections; nothing is called."""
    if not loaded.settings.has_hooks:
        return
    from tidegate.server.hooks import hook_problems, hook_settings

    problems += hook_problems(loaded)[0]
    settings = hook_settings(loaded)
    for hook in settings.all:
        yield f"hook {hook.name}: {hook.shown}"
    yield f"hooks: at most {settings.at_once} of a kind at once, {settings.waiting} more wait"


def _hook_notes(loaded: Loaded) -> list[str]:
    if not loaded.settings.has_hooks:
        return []
    from tidegate.server.hooks import hook_problems

    return hook_problems(loaded)[1]


def _storage(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Kinds of storage: every one that a server would have is loaded."""
    from tidegate.model import LOCAL, StorageConfig
    from tidegate.server.wiring import storage_kinds

    kinds = storage_kinds(loaded)
    where = _where(loaded, "storage", "kinds")
    problems += [Problem(where, str(problem)) for problem in kinds.configured()]
    others = [name for name in kinds.names() if name != LOCAL]
    named = loaded.settings.storage.kinds
    for name in others:
        if name not in named and (problem := kinds.problem(StorageConfig(name))) is not None:
            problems.append(Problem(f"storage {name}", problem))
    if others:
        yield f"storage: {LOCAL}, {', '.join(others)}"


def _secrets(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Master keys, read as a server reads them."""
    from tidegate.server.secrets import read_keys

    try:
        yield read_keys(loaded)
    except ConfigError as error:
        problems += error.problems


def _events(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Sinks, made as a server makes them and not opened."""
    from tidegate.events.factory import create_sinks
    from tidegate.server.wiring import sink_uses

    uses = sink_uses(loaded)
    if not uses:
        return
    try:
        create_sinks(uses)
    except ConfigError as error:
        where = _where(loaded, "events", "sinks")
        problems += [Problem(where, str(problem)) for problem in error.problems]
    yield f"sinks: {', '.join(one.name or one.use for one in uses)}"


def _other_doors(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Doors of other packages, found and checked as a server does, and not made."""
    if not loaded.settings.doors.others:
        return
    from tidegate.server.other_doors import check_doors

    try:
        yield f"doors of other packages: {', '.join(check_doors(loaded)) or 'none is on'}"
    except ConfigError as error:
        problems += error.problems


def _inspection(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Inspectors, made as a server makes them and not opened; clamd is asked to answer."""
    from tidegate.inspection.factory import create_inspectors
    from tidegate.server.inspectors import clamd_options, icap_options, inspector_keys

    clamd = clamd_options(loaded)
    if clamd is not None:
        import asyncio

        from tidegate.inspection.clamd import ClamdFailed, ping

        try:
            asyncio.run(ping(clamd))
        except ClamdFailed as error:
            where = _where(loaded, "inspection", "clamd", "address")
            problems.append(Problem(where, f"clamd at {clamd.address}: {error}"))
            yield f"virus scan: clamd at {clamd.address} does not answer"
        else:
            yield f"virus scan: clamd at {clamd.address} answers"
    icap = icap_options(loaded)
    if icap is not None:
        import asyncio

        from tidegate.inspection.icap import IcapClient, IcapFailed

        try:
            asyncio.run(IcapClient(icap).abilities())
        except IcapFailed as error:
            problems.append(Problem(_where(loaded, "inspection", "icap", "url"), f"{icap.url}: {error}"))
            yield f"scan: {icap.url} does not answer"
        else:
            yield f"scan: {icap.url} answers"
    wanted = inspector_keys(loaded)
    if not wanted:
        return
    try:
        create_inspectors(wanted)
    except ConfigError as error:
        where = _where(loaded, "inspection", "inspectors")
        problems += [Problem(where, str(problem)) for problem in error.problems]
    yield f"inspectors: {', '.join(one.name or one.use for one in wanted)}"


def _addresses(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Databases of locations, blocklists, files of lists."""
    from tidegate.cli.check_addresses import addresses

    common = loaded.settings.common
    if common.geoip.databases or common.dnsbl.zones or common.list_files:
        yield from addresses(loaded, problems, partial(_where, loaded))


def _cluster(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """The driver of what servers share, made as a server makes it and not opened."""
    from tidegate.server.wiring import live_state

    try:
        live = live_state(loaded)
    except ConfigError as error:
        problems += [Problem(_where(loaded, "cluster", "driver"), problem.what) for problem in error.problems]
        return
    if live.shared:
        yield f"cluster: {loaded.settings.cluster.driver}, as node {live.node}"


def _syslog(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """The target of the log besides its file; a server starts without it too, so silence is no problem."""
    if not loaded.settings.syslog.address:
        return
    from tidegate.logs.syslog import SyslogSender
    from tidegate.server.syslog import syslog_options

    try:
        options = syslog_options(loaded)
        if options is not None:
            why = SyslogSender(options, lambda _text: None).try_to_connect()
            yield f"syslog: {options.label}{f', which does not answer now: {why}' if why else ''}"
    except ConfigError as error:
        problems += [Problem(_where(loaded, *one.where.split(".")), one.what) for one in error.problems]


def _limits(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:  # noqa: ARG001  as its neighbours
    from tidegate.resources import Limits
    from tidegate.resources.descriptors import raise_descriptor_limit
    from tidegate.server import wiring
    from tidegate.server.limit_table import limit_rows

    raise_descriptor_limit()  # as `serve` does
    yield "limits:"
    for row in limit_rows(loaded.settings, Limits.derive(wiring.limit_settings(loaded))):
        yield f"  {row.line()}"


async def _provider(loaded: Loaded, problems: list[Problem], notes: list[str]) -> list[str]:
    from tidegate.model import Account
    from tidegate.server import wiring
    from tidegate.store.dump_reading import file_batches
    from tidegate.store.factory import rehearse
    from tidegate.store.options import DEFAULT_NAME

    section = loaded.settings.data_provider
    where = _where(loaded, "data_provider", "driver")
    try:
        options = wiring.provider_options(loaded)
    except ConfigError:
        return [f"data provider: {section.driver}, not asked"]  # `_files` says why
    place = str(options.file) if section.driver in ("sqlite", "bolt") else section.host or "localhost"
    if section.driver == "memory" and section.name not in ("", DEFAULT_NAME):
        users = 0
        try:
            async with contextlib.aclosing(file_batches(options.file, options, notes)) as batches:
                async for batch in batches:
                    users += sum(isinstance(record, Account) for record in batch)
        except BadRecords as error:
            problems += [Problem(str(options.file), mistake) for mistake in error.mistakes]
        except OperatorError as error:
            problems.append(Problem(str(options.file), str(error)))
        return [f"data provider: memory, {users} users of {options.file}; changes are gone when it ends"]
    if section.driver == "memory":
        return ["data provider: memory, accounts are gone when the server ends"]
    if section.driver in ("sqlite", "bolt") and not options.file.exists():
        if why := _unwritable(options.file):
            problems.append(Problem(_where(loaded, "data_provider", "name"), why))
        return [f"data provider: {section.driver} {place}, made at the first start"]
    try:
        found = await rehearse(options, migrate=section.update_mode == 0)
    except OperatorError as error:
        problems.append(Problem(where, str(error)))
        return [f"data provider: {section.driver} {place}, not usable"]
    told = [] if found.users is None else [f"{found.users} users"]
    if found.pending:
        told.append("brought up to date at the next start")
    facts = [f"data provider: {section.driver} {place}, {', '.join(told)}"]
    if section.driver in ("postgresql", "mysql"):
        facts.append(
            "  several servers on this database: limits on sessions, bandwidth and quota hold for each "
            "server by itself"
        )
    if section.read_host and section.driver in ("postgresql", "mysql"):
        facts.append(f"  listings and dumps are read from {section.read_host}, which may be behind")
    return facts


def _listening(address: str, port: int, where: str, problems: list[Problem]) -> str:
    """The bindings that would listen, after trying whether it can."""
    shown = f"[{address}]" if ":" in address else address or "*"
    text = f"{shown}:{port}"
    try:
        found = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        problems.append(Problem(where, f"{address} is no address of this host"))
        return text
    for family, kind, protocol, _, target in found:
        try:
            trial = socket.socket(family, kind, protocol)
        except OSError:
            continue  # no IPv6 in this kernel
        with trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                trial.bind(target)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return f"{text} (in use now: is the server running?)"
                if error.errno == errno.EADDRNOTAVAIL and not address:
                    continue  # an address family without an address
                problems.append(Problem(where, f"{text}: {error.strerror}"))
                return text
    return text


def _may(path: Path, rights: int) -> bool:
    return os.access(path, rights, effective_ids=os.access in os.supports_effective_ids)


def _unwritable(path: Path) -> str | None:
    """The reason why a file cannot be written or made, None if it can."""
    if path.exists():
        return None if _may(path, os.W_OK) else f"{path} cannot be written"
    if not path.parent.is_dir():
        return f"{path.parent} is not a directory"
    return (
        None
        if _may(path.parent, os.W_OK | os.X_OK)
        else f"{path.parent} is not writable: no {path.name} there"
    )


def _unmakeable(path: Path) -> str | None:
    """The reason why homes cannot be made below a directory, which may be missing yet; None if they can."""
    there = next(above for above in (path, *path.parents) if above.exists())
    if not there.is_dir():
        return f"{there} is not a directory"
    return None if _may(there, os.W_OK | os.X_OK) else f"{there} is not writable: no homes can be made"


def _readable(path: Path, where: str, problems: list[Problem]) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        problems.append(Problem(where, f"{path}: {error.strerror}"))
