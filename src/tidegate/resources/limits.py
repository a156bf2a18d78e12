# SPDX-License-Identifier: Apache-2.0
"""The numbers of the ledger: as configured, and as they result on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from tidegate.resources.descriptors import descriptor_limit

MIN_RESERVE: Final = 32
MAX_RESERVE: Final = 512
"""Bounds of the descriptors in reserve when they are derived: an eighth of the limit between these."""

HANDLE_DESCRIPTORS: Final = 2
"""Descriptors that an open file may need: itself, and the directory of an unfinished upload."""

MAX_HANDLES: Final = 200_000
"""Handles of the process when the number is derived: each costs memory too."""

MIN_BUFFER_BYTES: Final = 64 * 1024 * 1024
MAX_BUFFER_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Bounds of the memory for buffered bytes when it is derived: a quarter of the machine's between these."""

UPLOAD_PARTS: Final = 200_000
ACCOUNT_UPLOAD_PARTS: Final = 50_000
"""Parts of uploads that are remembered until these are complete, some 250 bytes each."""

UNKNOWN_MEMORY: Final = 1024 * 1024 * 1024
"""Assumed where the system does not tell its memory, bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Configured limits; 0 is "derive it", and "no limit" for key exchanges, programs and parts.

    Attributes:
        reserved_descriptors: kept free for accepting, the data provider and the log.
        handles: files and listings open in the process.
        handles_per_account: those of one account.
        channels: SSH channels of the process.
        buffer_bytes: bytes that all connections together may make the server hold.
        key_exchanges_per_connection: in a minute.
        key_exchanges_per_source: in a minute.
        programs: system programs that run for clients at a time; programs_per_account those of one account.
        upload_parts: parts of uploads that are not complete; upload_parts_per_account those of one account.
    """

    reserved_descriptors: int = 0
    handles: int = 0
    handles_per_account: int = 0
    channels: int = 0
    buffer_bytes: int = 0
    key_exchanges_per_connection: int = 100
    key_exchanges_per_source: int = 1200
    programs: int = 32
    programs_per_account: int = 8
    upload_parts: int = UPLOAD_PARTS
    upload_parts_per_account: int = ACCOUNT_UPLOAD_PARTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers in force; see `LimitSettings`.

    Attributes:
        descriptors: limit of the process.
    """

    descriptors: int
    reserved_descriptors: int
    handles: int
    handles_per_account: int
    channels: int
    buffer_bytes: int
    key_exchanges_per_connection: int
    key_exchanges_per_source: int
    programs: int = 32
    programs_per_account: int = 8
    upload_parts: int = UPLOAD_PARTS
    upload_parts_per_account: int = ACCOUNT_UPLOAD_PARTS

    @classmethod
    def derive(
        cls,
        settings: LimitSettings | None = None,
        *,
        descriptors: int | None = None,
        memory: int | None = None,
    ) -> Limits:
        """The limits that follow from settings and machine.

        Args:
            settings: what is configured.
            descriptors: the process's limit; None asks the system.
            memory: bytes of the machine or its control group; None asks the system.
        """
        settings = settings or LimitSettings()
        descriptors = descriptor_limit() if descriptors is None else descriptors
        memory = machine_memory() if memory is None else memory
        reserve = settings.reserved_descriptors or _between(descriptors // 8, MIN_RESERVE, MAX_RESERVE)
        free = max(descriptors - 2 * reserve, reserve)
        # Three quarters of what is free for handles; the rest is for connections and storage roots.
        handles = settings.handles or _between(free * 3 // 4 // HANDLE_DESCRIPTORS, 16, MAX_HANDLES)
        each = settings.handles_per_account or max(handles // 4, min(64, handles // 2))
        return cls(
            descriptors=descriptors,
            reserved_descriptors=reserve,
            handles=handles,
            handles_per_account=min(each, handles),
            channels=settings.channels or _between(descriptors, 256, 20_000),
            buffer_bytes=settings.buffer_bytes or _between(memory // 4, MIN_BUFFER_BYTES, MAX_BUFFER_BYTES),
            key_exchanges_per_connection=settings.key_exchanges_per_connection,
            key_exchanges_per_source=settings.key_exchanges_per_source,
            programs=settings.programs,
            programs_per_account=settings.programs_per_account,
            upload_parts=settings.upload_parts,
            upload_parts_per_account=settings.upload_parts_per_account,
        )


def machine_memory() -> int:
    """Bytes of memory that this process may use: of its control group if that has less than the machine."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        size = UNKNOWN_MEMORY
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                text = file.read(64).strip()
        except OSError:
            continue
        if text.isdigit():
            size = min(size, int(text))
    return size


def _between(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))
