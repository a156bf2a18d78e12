# SPDX-License-Identifier: Apache-2.0
"""The part of ``tidegate check`` about the data provider."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tidegate.cli.check_places import origin_of, unwritable
from tidegate.errors import BadRecords, ConfigError, OperatorError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded


async def provider(loaded: Loaded, problems: list[Problem], notes: list[str]) -> list[str]:
    """Ask the data provider as a server does at its start, and change nothing."""
    from tidegate.model import Account
    from tidegate.server import wiring
    from tidegate.store.dump_reading import file_batches
    from tidegate.store.factory import rehearse
    from tidegate.store.options import DEFAULT_NAME

    section = loaded.settings.data_provider
    where = origin_of(loaded, "data_provider", "driver")
    try:
        options = wiring.provider_options(loaded)
    except ConfigError:
        return [f"data provider: {section.driver}, not asked"]  # `files` says why
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
        if why := unwritable(options.file):
            problems.append(Problem(origin_of(loaded, "data_provider", "name"), why))
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
