# SPDX-License-Identifier: Apache-2.0
"""Loads and imports through the administration, as the operator at a shell, on a provider of a test."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from tidegate.accounts.actor import Channel, operator
from tidegate.accounts.administration import Administration
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.rules import Rules
from tidegate.store import dump_reading
from tidegate.store.contract import LoadReport, Provider
from tidegate.store.imports import plan
from tidegate.store.imports.common import Harvest

ROOT = operator("root", Channel.CLI)


class NoHashes:
    """Loads bring hashes: one that is asked for is a mistake."""

    async def hash(self, password: str, *, source: str = "") -> str:
        raise AssertionError


def service(provider: Provider, **needs: Any) -> Administration:
    """The administration of a provider; `needs` as of `Needs`."""
    return Administration(
        provider,
        AdministrationOptions(rules=Rules(server_dir="/etc/tidegate")),
        Needs(**{"hashes": NoHashes(), **needs}),
    )


async def load_file(provider: Provider, source: Path | BinaryIO, *, mode: int = 0, **more: Any) -> LoadReport:
    """Load a dump; `more` as of `store.dump_reading.load_file`."""
    store = partial(service(provider).loads.store, by=ROOT, mode=mode)
    return await dump_reading.load_file(store, source, **more)


async def apply_import(
    provider: Provider, harvest: Harvest, mode: int = 0, **more: Any
) -> tuple[list[plan.PlanRow], LoadReport]:
    """Import a harvest; `more` as of `store.imports.plan.apply_import`."""
    loads = service(provider).loads
    return await plan.apply_import(provider, loads, harvest, mode, by=ROOT, **more)
