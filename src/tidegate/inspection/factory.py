# SPDX-License-Identifier: Apache-2.0
"""Inspectors by name; see `tidegate.plugins`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.contracts.inspection import Inspected
from tidegate.inspection.inspections import InspectorUse
from tidegate.inspection.policies import FolderPolicies, Policies
from tidegate.plugins import create_parts

GROUP: Final = "tidegate.inspectors"
"""The entry point group."""


@dataclass(frozen=True, slots=True)
class InspectorKey:
    """An inspector as it is configured."""

    use: str
    name: str
    acts: tuple[str, ...]
    seconds: float
    allow_on_error: bool
    early: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


CLAMD: Final = "clamd"
"""Name of the inspector that asks clamd."""
ICAP: Final = "icap"
"""Name of the inspector that asks an ICAP server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """Options of every kind of scanner.

    Attributes:
        seconds: most that a scan may take, with the wait for its turn.
        max_size: bytes of the largest file that is sent; 0 is any.
        at_once: scans that run at once.
        streams: uploads that are sent at once while they arrive, and as many where storage cannot give back
            what was written; 0 sends them when they are complete.
        when: what becomes of files that are not clean.
        folders: where that differs.
    """

    seconds: float = 60
    max_size: int = 0
    at_once: int = 10
    streams: int = 32
    when: Policies = field(default_factory=dict)
    folders: tuple[FolderPolicies, ...] = ()


@dataclass(frozen=True, slots=True)
class ClamdOptions(ScanOptions):
    """Options of the virus scan by clamd.

    Attributes:
        address: host, ``host:port``, ``[address]:port``, or the absolute path of a Unix socket.
    """

    address: str


@dataclass(frozen=True, slots=True)
class IcapOptions(ScanOptions):
    """Options of the scan by an ICAP server.

    Attributes:
        url: ``icap://host[:port]/service``, or ``icaps``.
        method: ``reqmod`` or ``respmod``.
        ca_file: file of the authorities that are trusted; empty is the system's.
    """

    url: str
    method: str = "reqmod"
    ca_file: str = ""


def create_inspectors(
    wanted: Sequence[InspectorKey], clamd: ClamdOptions | None = None, icap: IcapOptions | None = None
) -> list[InspectorUse]:
    """Make inspectors, clamd first, then ICAP; importing may take a while, so call it off the loop.

    Raises:
        ConfigError: one cannot be found or made; every problem is named.
    """
    parts = create_parts(
        [(one.use, one.options) for one in wanted],
        where="inspection.inspectors",
        word="inspector",
        group=GROUP,
        methods=("open", "inspect", "close"),
    )
    uses: list[InspectorUse] = []
    if clamd is not None:
        from tidegate.inspection.scanner import ClamdInspector

        uses.append(ClamdInspector(clamd).use())
    if icap is not None:
        from tidegate.inspection.scanner import IcapInspector

        uses.append(IcapInspector(icap).use())
    return uses + [
        InspectorUse(
            one.name or one.use,
            part,
            frozenset(map(Inspected, one.acts)),
            one.seconds,
            one.allow_on_error,
            early=one.early,
        )
        for one, part in zip(wanted, parts, strict=True)
    ]
