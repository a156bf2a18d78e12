# SPDX-License-Identifier: Apache-2.0
"""Files with one address or network a line, as blocklists are published and other programs write them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from tidegate.addresses.watched import WatchedFile
from tidegate.model.address_list import parse_network
from tidegate.model.listed import ListEntry, ListKind, ListMode

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_ENTRIES: Final = 500_000
"""Entries of one file; the rest is left out."""
MAX_TOLD: Final = 10
"""Wrong lines of one file that are named in the log; the others are counted."""
MAX_LINE: Final = 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFile:
    """A file and what it is for.

    Attributes:
        path: of the file.
        kind: list that its entries are of.
        mode: meaning of its entries.
        protocols: sum of bits of `model.listed.PROTOCOLS`; 0 for all.
    """

    path: str
    kind: ListKind
    mode: ListMode = ListMode.ALLOW
    protocols: int = 0


@dataclass(frozen=True, slots=True)
class Lines:
    """The content of a file.

    Attributes:
        networks: in CIDR notation, each with the number of its line.
        wrong: lines that cannot be used, each with its number and the reason; at most `MAX_TOLD` of them.
        left_out: number of lines that cannot be used.
    """

    networks: tuple[tuple[str, int], ...]
    wrong: tuple[tuple[int, str], ...]
    left_out: int


def read_lines(lines: Iterable[str]) -> Lines:
    """Networks of a text; ``#`` and ``;`` begin a comment, bits of a host are an error."""
    networks: list[tuple[str, int]] = []
    wrong: list[tuple[int, str]] = []
    left_out = 0
    for number, line in enumerate(lines, 1):
        text = line[:MAX_LINE].partition("#")[0].partition(";")[0].strip()
        if not text:
            continue
        network = parse_network(text)
        why = ""
        if network is None:
            why = f"{text[:64]!r} is no address and no network"
        elif len(networks) >= MAX_ENTRIES:
            why = f"there are more than {MAX_ENTRIES} entries"
        elif "/" in text and not _exact(text):
            why = f"{text!r} has bits of a host; the network is {network}"
        if network is None or why:
            left_out += 1
            if len(wrong) < MAX_TOLD:
                wrong.append((number, why))
        else:
            networks.append((str(network), number))
    return Lines(tuple(networks), tuple(wrong), left_out)


def _exact(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def read_file(path: str) -> Lines:
    """Networks of a file; wrong lines are logged with their numbers, and left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or no text.
    """
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes")
    found = read_lines(content.decode("utf-8-sig").splitlines())
    for number, why in found.wrong:
        log.warning("%s:%d: %s", path, number, why)
    if found.left_out > len(found.wrong):
        log.warning("%s: %d more lines are left out", path, found.left_out - len(found.wrong))
    return found


class ListFiles:
    """Several files, and the entries of all of them.

    Args:
        files: of two that have the same network in the same list, the first one's mode counts.
    """

    def __init__(self, files: Sequence[ListFile]) -> None:
        self.files = tuple(files)
        self._watched = [WatchedFile(file.path, read_file, (ValueError,)) for file in files]

    def look(self) -> bool:
        """Read files that changed; blocks. True if any was read."""
        return sum(file.look() for file in self._watched) > 0

    def problems(self) -> dict[str, str]:
        """Files that cannot be used, each with the reason."""
        return {file.path: file.error for file in self._watched if file.error}

    def contents(self) -> dict[str, Lines]:
        """The content of each file that was read, by its path."""
        return {file.path: file.value for file in self._watched if file.value is not None}

    def entries(self) -> list[ListEntry]:
        """The entries of all files; their names are places, ``/path:line``."""
        found: dict[tuple[int, str], ListEntry] = {}
        for file, watched in zip(self.files, self._watched, strict=True):
            for network, line in () if watched.value is None else watched.value.networks:
                key = (int(file.kind), network)
                known = found.get(key)
                if known is None:
                    found[key] = ListEntry(
                        name=f"{file.path}:{line}",
                        description=f"{file.path}:{line}",
                        type=file.kind,
                        ipornet=network,
                        mode=file.mode,
                        protocols=file.protocols,
                    )
                elif known.mode == file.mode and known.protocols != file.protocols:
                    both = known.protocols and file.protocols and known.protocols | file.protocols
                    found[key] = replace(known, protocols=both)
        return list(found.values())
