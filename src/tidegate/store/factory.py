# SPDX-License-Identifier: Apache-2.0
"""Makes the provider that the configuration names, and takes its schema up and down."""

from __future__ import annotations

from tidegate.errors import ProviderError
from tidegate.store.contract import Provider
from tidegate.store.options import ProviderOptions
from tidegate.store.sql import schema
from tidegate.store.sql.provider import SqlProvider

__all__ = ["DRIVERS", "ProviderOptions", "create_provider", "initialise", "revert"]

DRIVERS = ("sqlite", "postgresql", "mysql", "bolt", "memory")


def create_provider(options: ProviderOptions) -> Provider:
    """A provider that is not open yet.

    Raises:
        ProviderError: an option is unusable, or the driver does not exist.
    """
    options.check()
    if options.driver in ("sqlite", "postgresql", "mysql"):
        return SqlProvider(options)
    if options.driver == "memory":
        from tidegate.store.memory import MemoryProvider

        return MemoryProvider(options)
    if options.driver == "bolt":
        from tidegate.store.kv import LmdbProvider

        return LmdbProvider(options)
    raise ProviderError(f"data_provider.driver: {options.driver!r} is not one of {', '.join(DRIVERS)}")


async def initialise(options: ProviderOptions) -> str:
    """Make or bring up to date what the provider needs; for `initprovider`.

    Returns:
        one line that says what was done; "already up to date" is not an error.

    Raises:
        ProviderUnavailable: the database does not answer.
        ProviderError: the schema is newer than this version.
    """
    provider = create_provider(options)
    if isinstance(provider, SqlProvider):
        before = await provider.schema_version()
        await provider.open()
        await provider.close()
        if before == schema.latest():
            return f"{options.driver}: schema version {before} is already up to date"
        return f"{options.driver}: schema brought from version {before} to {schema.latest()}"
    await provider.open()
    await provider.close()
    if options.driver == "memory":
        return "memory: nothing to initialise"
    return f"{options.driver}: ready"


async def revert(options: ProviderOptions, to: str) -> str:
    """Take the schema back to an older version; for `revertprovider`. ``0`` removes all data.

    Returns:
        one line that says what was done.

    Raises:
        ProviderError: the driver or the version does not allow it.
    """
    provider = create_provider(options)
    if isinstance(provider, SqlProvider):
        if await provider.revert(to):
            return f"{options.driver}: schema taken back to version {to}"
        return f"{options.driver}: schema version {to} is already there"
    if options.driver == "memory":
        raise ProviderError("memory: there is no schema to revert")
    from tidegate.store.kv import LmdbProvider

    assert isinstance(provider, LmdbProvider)
    if await provider.revert(to):
        return f"{options.driver}: schema taken back to version {to}"
    return f"{options.driver}: schema version {to} is already there"
