# SPDX-License-Identifier: Apache-2.0
"""The gateway's tables in ``tidegate check`` and ``tidegate explain``: asked as a server asks them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tidegate.errors import ConfigError, OperatorError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.model import Account
    from tidegate.openbridge.options import OpenbridgeOptions

WHERE: Final = "identity.openbridge"
_WORDS: Final = {"count": "count and accessed", "tally": "tallies", "log": "transfers"}


async def check_tables(loaded: Loaded, problems: list[Problem], notes: list[str]) -> list[str]:
    """Facts about the tables; what is wrong goes to `problems`, what the operator should know to `notes`."""
    from tidegate.openbridge.source import OpenbridgeAccounts
    from tidegate.server.openbridge import openbridge_options

    keys = loaded.settings.identity.openbridge
    if not keys.host:
        return []
    try:
        options = openbridge_options(loaded)
        source = OpenbridgeAccounts(options)
    except ConfigError as error:
        problems += error.problems
        return []
    except OperatorError as error:
        problems.append(Problem(WHERE, str(error)))
        return []
    if keys.mount_point and options.homes is None:
        problems.append(
            Problem(f"{WHERE}.mount_point", "has no effect: storage.homes.bucket names no bucket")
        )
    label = source.tables.label
    try:
        source.tables.start()
        shape = await source.tables.shape()
        notes += [f"{WHERE}: there is no table {name} that may be read" for name in shape.missing]
        notes += [
            f"{WHERE}: {_WORDS[what]} are not written back: {why}"
            for what, why in shape.denied.items()
            if (options.log if what == "log" else options.write)
        ]
        await source.check_addresses()
    except OperatorError as error:
        problems.append(Problem(WHERE, str(error)))
        return [f"users of {label}: not usable"]
    finally:
        await source.close()
    written = [_WORDS[what] for what in ("count", "tally", "log") if what in shape.may]
    told = f"; written back: {', '.join(written)}" if written else ""
    facts = [f"users of {label}: table {shape.names['user']}, before the data provider{told}"]
    if keys.read_host:
        facts.append(await _replica(options, notes))
    return facts


async def _replica(options: OpenbridgeOptions, notes: list[str]) -> str:
    from tidegate.openbridge.tables import Tables
    from tidegate.server.openbridge import address

    host, port = address(options.database.read_host, f"{WHERE}.read_host", options.database.port)
    tables = Tables(replace(options.database, host=host, port=port, read_host="", pool_size=1))
    tables.start()
    try:
        await tables.shape()
    except OperatorError as error:
        notes.append(f"{WHERE}.read_host: the replica cannot be asked, so logins ask the writer: {error}")
        return f"  replica: {tables.label}, not usable"
    finally:
        await tables.stop()
    return f"  replica: {tables.label}"


async def account_of(loaded: Loaded, name: str) -> tuple[Account | None, str]:
    """The account that the tables have for a name now, None if none, and where it comes from.

    Raises:
        OperatorError: the tables cannot be asked, or the row cannot be used.
    """
    from tidegate.server.openbridge import create_source

    source = create_source(loaded)
    source.tables.start()
    try:
        found = await source.look(name)
    finally:
        await source.close()
    if found is None:
        return None, ""
    trouble = "".join(f"; {problem}" for problem in found.problems)
    return found.account, f"identity.openbridge, tables of {source.tables.label}{trouble}"
