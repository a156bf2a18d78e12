# SPDX-License-Identifier: Apache-2.0
"""The part of ``tidegate check`` about logins, hooks, storage, events, scans and limits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tidegate.cli.check_places import origin_of
from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded


def identity(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Authenticators, made as a server makes them and not opened."""
    from tidegate.identity.factory import create_authenticators
    from tidegate.server.wiring import authenticator_uses

    uses = authenticator_uses(loaded)
    if not uses:
        return
    try:
        create_authenticators(uses)
    except ConfigError as error:
        where = origin_of(loaded, "identity", "authenticators")
        problems += [Problem(where, str(problem)) for problem in error.problems]
    yield f"authenticators: {', '.join(name for name, _ in uses)}, then the data provider"


def hooks(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Hooks of logins and connections; nothing is called."""
    if not loaded.settings.has_hooks:
        return
    from tidegate.server.hooks import hook_problems, hook_settings

    problems += hook_problems(loaded)[0]
    settings = hook_settings(loaded)
    for hook in settings.all:
        yield f"hook {hook.name}: {hook.shown}"
    yield f"hooks: at most {settings.at_once} of a kind at once, {settings.waiting} more wait"


def hook_notes(loaded: Loaded) -> list[str]:
    """Remarks on hooks that are no problems."""
    if not loaded.settings.has_hooks:
        return []
    from tidegate.server.hooks import hook_problems

    return hook_problems(loaded)[1]


def storages(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Kinds of storage: every one that a server would have is loaded."""
    from tidegate.model import LOCAL, StorageConfig
    from tidegate.server.wiring import storage_kinds

    kinds = storage_kinds(loaded)
    where = origin_of(loaded, "storage", "kinds")
    problems += [Problem(where, str(problem)) for problem in kinds.configured()]
    others = [name for name in kinds.names() if name != LOCAL]
    named = loaded.settings.storage.kinds
    for name in others:
        if name not in named and (problem := kinds.problem(StorageConfig(name))) is not None:
            problems.append(Problem(f"storage {name}", problem))
    if others:
        yield f"storage: {LOCAL}, {', '.join(others)}"


def secrets(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Master keys, read as a server reads them."""
    from tidegate.server.secrets import read_keys

    try:
        yield read_keys(loaded)
    except ConfigError as error:
        problems += error.problems


def events(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Sinks, made as a server makes them and not opened."""
    from tidegate.events.factory import create_sinks
    from tidegate.server.wiring import sink_uses

    uses = sink_uses(loaded)
    if not uses:
        return
    try:
        create_sinks(uses)
    except ConfigError as error:
        where = origin_of(loaded, "events", "sinks")
        problems += [Problem(where, str(problem)) for problem in error.problems]
    yield f"sinks: {', '.join(one.name or one.use for one in uses)}"


def inspection(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
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
            where = origin_of(loaded, "inspection", "clamd", "address")
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
            problems.append(Problem(origin_of(loaded, "inspection", "icap", "url"), f"{icap.url}: {error}"))
            yield f"scan: {icap.url} does not answer"
        else:
            yield f"scan: {icap.url} answers"
    wanted = inspector_keys(loaded)
    if not wanted:
        return
    try:
        create_inspectors(wanted)
    except ConfigError as error:
        where = origin_of(loaded, "inspection", "inspectors")
        problems += [Problem(where, str(problem)) for problem in error.problems]
    yield f"inspectors: {', '.join(one.name or one.use for one in wanted)}"


def list_and_location_files(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Databases of locations, blocklists, files of lists."""
    from tidegate.cli.check_addresses import addresses

    common = loaded.settings.common
    defender = common.defender
    files = (common.list_files, common.whitelist_file, defender.safelist_file, defender.blocklist_file)
    if common.geoip.databases or common.dnsbl.zones or any(files):
        yield from addresses(loaded, problems, partial(origin_of, loaded))


def cluster(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """The driver of what servers share, made as a server makes it and not opened."""
    from tidegate.server.wiring import live_state

    try:
        live = live_state(loaded)
    except ConfigError as error:
        problems += [
            Problem(origin_of(loaded, "cluster", "driver"), problem.what) for problem in error.problems
        ]
        return
    if live.shared:
        yield f"cluster: {loaded.settings.cluster.driver}, as node {live.node}"


def syslog(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
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
        problems += [Problem(origin_of(loaded, *one.where.split(".")), one.what) for one in error.problems]


def limits(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:  # noqa: ARG001  as its neighbours
    """Limits of this host and configuration, one a line."""
    from tidegate.resources import Limits
    from tidegate.resources.descriptors import raise_descriptor_limit
    from tidegate.server import wiring
    from tidegate.server.limit_table import limit_rows

    raise_descriptor_limit()  # as `serve` does
    yield "limits:"
    for row in limit_rows(loaded.settings, Limits.derive(wiring.limit_settings(loaded))):
        yield f"  {row.line()}"
