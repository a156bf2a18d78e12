# SPDX-License-Identifier: Apache-2.0
"""Makes the source of accounts in the gateway's tables from the configuration, if it names a database."""

from __future__ import annotations

from typing import Final

from tidegate.config.load import Loaded
from tidegate.config.secret_files import read_secret
from tidegate.errors import ConfigError, Problem
from tidegate.openbridge.options import RULE, OpenbridgeOptions
from tidegate.openbridge.record import Record
from tidegate.openbridge.source import OpenbridgeAccounts
from tidegate.server.wiring import homes, record_rules
from tidegate.store.options import SYSTEM_AUTHORITIES, ProviderOptions

_SSLMODE: Final = {"false": 0, "true": 1, "skip-verify": 2, "preferred": 3}


def openbridge_options(loaded: Loaded) -> OpenbridgeOptions:
    """Options of the source.

    Raises:
        ConfigError: an address or the password file cannot be used.
    """
    keys = loaded.settings.identity.openbridge
    host, port = address(keys.host, f"{RULE}.host")
    if keys.read_host:
        address(keys.read_host, f"{RULE}.read_host")
    if not keys.username:
        raise ConfigError([Problem(f"{RULE}.username", "is empty: name the database user")])
    password = keys.password
    if not password and keys.password_file:
        password = read_secret(loaded.resolve(keys.password_file), f"{RULE}.password_file")

    def file(name: str) -> str:
        return str(loaded.resolve(name)) if name and name != SYSTEM_AUTHORITIES else name

    found = homes(loaded)
    return OpenbridgeOptions(
        database=ProviderOptions(
            driver="mysql",
            name=keys.database,
            host=host,
            port=port,
            read_host=keys.read_host,
            username=keys.username,
            password=password,
            sslmode=_SSLMODE[keys.tls],
            root_cert=file(keys.root_cert),
            client_cert=file(keys.client_cert),
            client_key=file(keys.client_key),
            pool_size=keys.pool_size,
        ),
        cache_seconds=keys.cache_seconds,
        closed_by_default=keys.closed_by_default,
        write=keys.write,
        log=keys.log,
        mount_point=keys.mount_point,
        homes=None if found is None else found.config,
        section="" if found is None else found.section,
        rules=record_rules(loaded),
    )


def create_source(loaded: Loaded) -> OpenbridgeAccounts:
    """The authenticator, not open yet.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    return OpenbridgeAccounts(openbridge_options(loaded))


def record_of(source: OpenbridgeAccounts) -> Record:
    """The sink that writes back to the tables of a source."""
    options = source.options
    return Record(
        source.tables,
        source.served,
        bucket=options.bucket,
        mount_point=options.mount_point,
        count=options.write,
        log=options.log,
    )


def address(text: str, where: str, usual: int = 3306) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port``, ``[v6]:port`` or a v6 address.

    Raises:
        ConfigError: it is none of them.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)):
        raise ConfigError([Problem(where, f"expected host or host:port, got {text[:80]!r}")])
    return host, int(port or usual)
