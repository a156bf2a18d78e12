# SPDX-License-Identifier: Apache-2.0
"""Files with addresses and networks, one a line, or JSON as SFTPGo has it.

Lines are as blocklists are published and other programs write them; the JSON is
``{"addresses": [...], "networks": [...]}``.
"""

from __future__ import annotations

import json
import logging
import re
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
KEYS: Final = ("addresses", "networks")
"""Keys of a JSON document."""

_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
"""A text of a JSON document (RFC 8259 section 7)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFile:
    """A file and what it is for.

    Attributes:
        path: of the file.
        kind: list that its entries are of.
        mode: meaning of its entries.
        protocols: sum of bits of `model.listed.PROTOCOLS`; 0 for all.
        strict: a file with a mistake is refused as a whole, and may be JSON.
    """

    path: str
    kind: ListKind
    mode: ListMode = ListMode.ALLOW
    protocols: int = 0
    strict: bool = False


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
    found = read_lines(_text(path).splitlines())
    for number, why in found.wrong:
        log.warning("%s:%d: %s", path, number, why)
    if found.left_out > len(found.wrong):
        log.warning("%s: %d more lines are left out", path, found.left_out - len(found.wrong))
    return found


def _text(path: str) -> str:
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes")
    return content.decode("utf-8-sig")


def read_strict(path: str) -> Lines:
    """Networks of a file, of lines or of JSON.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, no text, or has a mistake; names the line of the first one.
    """
    text = _text(path)
    found = read_json(text) if text.lstrip().startswith("{") else read_lines(text.splitlines())
    for number, why in found.wrong:
        raise ValueError(f"line {number}: {why}")
    return found


def read_json(text: str) -> Lines:
    """Networks of a document in SFTPGo's shape.

    Raises:
        ValueError: it is no such document; names the line.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("line 1: is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    places = _Places(text)
    networks: list[tuple[str, int]] = []
    for name, values in document.items():
        if name not in KEYS:
            raise ValueError(f"line {places.of(name)}: {name[:64]!r} is not one of {', '.join(KEYS)}")
        if values is None:
            continue
        if not isinstance(values, list):
            raise ValueError(f"line {places.of(name)}: {name} should be a list of texts")
        places.of(name)
        for value in values:
            if not isinstance(value, str):
                raise ValueError(f"line {places.line}: {name} should be a list of texts, not {value!r:.64}")
            line = places.of(value)
            found = read_lines([value])
            if not found.networks or ("/" in value) != (name == "networks"):
                kind = "network such as 192.0.2.0/24" if name == "networks" else "address"
                why = found.wrong[0][1] if found.wrong else f"{value[:64]!r} is no {kind}"
                raise ValueError(f"line {line}: {why}")
            networks.append((found.networks[0][0], line))
            if len(networks) > MAX_ENTRIES:
                raise ValueError(f"line {line}: there are more than {MAX_ENTRIES} entries")
    return Lines(tuple(networks), (), 0)


class _Places:
    """Lines of the texts of a JSON document, asked in their order; each is passed once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = _STRING.finditer(text)
        self._at = 0
        self.line = 1

    def of(self, value: str) -> int:
        """The line of the next place of a text; the last one if there is none."""
        for found in self._found:
            written = found[0]
            if (json.loads(written) if "\\" in written else written[1:-1]) == value:
                self.line += self._text.count("\n", self._at, found.start())
                self._at = found.start()
                break
        return self.line


class ListFiles:
    """Several files, and the entries of all of them.

    Args:
        files: of two that have the same network in the same list, the first one's mode counts.
    """

    def __init__(self, files: Sequence[ListFile]) -> None:
        self.files = tuple(files)
        self._watched = [
            WatchedFile(file.path, read_strict if file.strict else read_file, (ValueError,)) for file in files
        ]

    def look(self, *, at_once: bool = False) -> bool:
        """Read files that changed; blocks. True if any was read.

        Args:
            at_once: those too that were written just now: somebody said that they are whole.
        """
        now = 0.0 if at_once else None
        return sum(file.look(now) for file in self._watched) > 0

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
