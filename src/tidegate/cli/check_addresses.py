# SPDX-License-Identifier: Apache-2.0
"""The part of ``tidegate check`` about databases of locations, blocklists and files of lists."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded


def addresses(loaded: Loaded, problems: list[Problem], where: Callable[..., str]) -> Iterator[str]:
    """Read the files as a server does, and ask each blocklist for its test entries.

    Args:
        loaded: the configuration.
        problems: takes what cannot be used.
        where: makes the place of a key.
    """
    for part in (_locations, _lists, _blocklists):
        try:
            yield from asyncio.run(part(loaded, problems, where))
        except ConfigError as error:
            problems += [Problem(where(*one.where.split(".")), one.what) for one in error.problems]


async def _locations(loaded: Loaded, problems: list[Problem], where: Callable[..., str]) -> list[str]:
    from tidegate.server.address_checks import geo_check

    check = await geo_check(loaded)
    if check is None:
        return []
    key = where("common", "geoip", "databases")
    problems += [Problem(key, text) for text in check.databases.problems()]
    return [
        f"locations: {file.path} ({file.value.kind} of {_date(file.value.built)})"
        for file in check.databases.files
        if file.value is not None
    ]


async def _lists(loaded: Loaded, problems: list[Problem], where: Callable[..., str]) -> list[str]:
    from tidegate.server.address_checks import list_files

    files = await list_files(loaded)
    if files is None:
        return []
    key = where("common", "list_files")
    problems += [Problem(key, f"{path}: {error}") for path, error in files.problems().items()]
    return [
        f"list file: {path}: {len(lines.networks)} entries"
        + (f", {lines.left_out} wrong lines" if lines.left_out else "")
        for path, lines in files.contents().items()
    ]


async def _blocklists(loaded: Loaded, problems: list[Problem], where: Callable[..., str]) -> list[str]:
    from tidegate.server.address_checks import blocklist_check

    check = await blocklist_check(loaded)
    if check is None:
        return []
    from tidegate.addresses.dnsbl import zone_problem

    found = await asyncio.gather(*(zone_problem(zone, check.ask) for zone in check.zones))
    key = where("common", "dnsbl", "zones")
    problems += [
        Problem(key, f"{zone.name}: {text}") for zone, text in zip(check.zones, found, strict=True) if text
    ]
    return [
        f"blocklist: {zone.name} answers" for zone, text in zip(check.zones, found, strict=True) if not text
    ]


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
