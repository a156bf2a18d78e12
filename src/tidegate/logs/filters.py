# SPDX-License-Identifier: Apache-2.0
"""The lines that somebody looks for, told from others quickly: by bytes first, then by what the line says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from tidegate.logs import backwards
from tidegate.logs.backwards import time_of
from tidegate.logs.lines import to_json
from tidegate.nesting import deeper_than

ADDRESS_NAMES: Final = ("ip", "client_ip", "remote_ip")
"""Fields that hold the address of a client."""
PATH_NAMES: Final = ("virtual_path", "virtual_target_path", "file_path", "full_path", "target_path", "uri")
"""Fields that hold paths."""
LEVELS: Final = ("debug", "info", "warn", "error")
MAX_DEPTH: Final = 32
"""levels of nested values of a line"""
MAX_NUMBER: Final = 2**63 - 1
MAX_RAW: Final = 2_000
"""characters of a line that is no JSON"""

TRACE: Final = "trace"
"""Sender of the lines of that level (`doors.common.trace`), which have names of their own for some fields."""

NOBODY: Final = "-"
"""The account of such a line where nobody has logged in."""

_CHANNEL: Final = re.compile(r"_\d{1,6}\Z")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log.

    Attributes:
        place: offset in its file or stream.
        fields: of it. A line that is no JSON object has its beginning as `message`, and no sender.
        raw: as it stands in the log, bytes that are not UTF-8 as escapes.
    """

    place: int
    fields: Mapping[str, Any] = field(hash=False)
    raw: str

    @property
    def time(self) -> str:
        """The time, as in 2026-01-31T12:00:00.000Z; empty if the line does not say."""
        return self.text("time")

    def text(self, name: str) -> str:
        """A field as text; empty if it is absent."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else "" if value is None else to_json(value)

    def number(self, name: str, absent: int = -1) -> int:
        """A field as a whole number of 64 bits; `absent` for anything else."""
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_NUMBER:
            return absent
        return value

    @property
    def address(self) -> str:
        """The address of the client, without port; empty if the line has none."""
        for name in ADDRESS_NAMES:
            if found := self.text(name):
                return found
        host = self.text("remote_addr")
        bare = re.sub(r":\d{1,5}\Z", "", host) if host.count(":") == 1 or host.startswith("[") else host
        return bare.strip("[]")

    @property
    def account(self) -> str:
        """The account; empty if the line names none. Lines of level ``trace`` call it `remote_user`."""
        if self.text("sender") == TRACE:
            name = self.text("remote_user")
            return "" if name == NOBODY else name
        return self.text("username")

    @property
    def protocol(self) -> str:
        """The protocol in capitals; lines of level ``trace`` write it in small letters."""
        return self.text("protocol").upper()

    @property
    def connection(self) -> str:
        """The id of the connection, without the number of a channel."""
        return connection_of(self.text("connection_id"))


def connection_of(identifier: str) -> str:
    """The id of a connection, given its own or that of one of its channels."""
    return _CHANNEL.sub("", identifier)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFilter:
    """The lines that are wanted; empty parts want all.

    Attributes:
        text: anywhere in a line, without regard to case.
        username: of the account, also in the lines of level ``trace`` that name it.
        address: of the client, or a network.
        connection: id of a connection, or of one of its channels.
        protocol: of the door.
        level: least level.
        senders: one of these; `others` turns that round.
        others: only senders that are not in `senders`.
        path: part of a path, without regard to case.
        since: first time, as lines write it.
        until: last time, likewise.
        begins: sender of the line before which there is no other.
        own: accounts whose lines may be seen; lines without an account are not seen then. None is no limit.
    """

    text: str = ""
    username: str = ""
    address: str = ""
    connection: str = ""
    protocol: str = ""
    level: str = ""
    senders: Collection[str] = ()
    others: bool = False
    path: str = ""
    since: str = ""
    until: str = ""
    begins: str = ""
    own: frozenset[str] | None = None


class Matcher:
    """Tells the lines that a filter wants.

    Args:
        wanted: what is looked for.

    Raises:
        ValueError: the address is neither an address nor a network.
    """

    def __init__(self, wanted: LineFilter) -> None:
        self.wanted = wanted
        given = wanted.address
        self._network = ip_network(given, strict=False) if "/" in given else None
        self._address = str(ip_address(given)) if given and self._network is None else ""
        self._needles = tuple(_needles(wanted, self._address))
        self._folded = _folded(wanted.text), _folded(wanted.path)
        self._text, self._path = wanted.text.casefold(), wanted.path.casefold()
        self._levels = LEVELS[LEVELS.index(wanted.level) :] if wanted.level in LEVELS[1:] else ()
        self._connection = connection_of(wanted.connection)
        self._tests = tuple(self._made())

    def may_hold(self, block: bytes) -> bool:
        """False if no line of a block can be wanted; found by its bytes alone."""
        if any(all(needle not in block for needle in either) for either in self._needles):
            return False
        if any(self._folded):
            lower = block.lower()
            return all(needle in lower for needle in self._folded)
        return True

    def parsed(self, place: int, line: bytes) -> LogLine | None:
        """A line if it is wanted."""
        if not line or not self.may_hold(line):
            return None
        found = parse(place, line)
        return found if self.wants(found) else None

    def wants(self, line: LogLine) -> bool:
        """True if a line is wanted."""
        return all(test(line) for test in self._tests)

    def _made(self) -> list[Callable[[LogLine], bool]]:
        wanted = self.wanted
        tests: list[Callable[[LogLine], bool]] = []
        own, levels, network = wanted.own, self._levels, self._network
        senders = frozenset(wanted.senders)
        if own is not None:
            tests.append(lambda line: belongs(line, own))
        if wanted.since or wanted.until:
            until = wanted.until or "~"
            tests.append(lambda line: wanted.since <= line.time <= until)
        if wanted.username:
            tests.append(lambda line: line.account == wanted.username)
        if self._connection:
            tests.append(lambda line: line.connection == self._connection)
        if wanted.protocol:
            tests.append(lambda line: line.protocol == wanted.protocol)
        if levels:
            tests.append(lambda line: line.fields.get("level") in levels)
        if senders:
            tests.append(lambda line: (line.text("sender") in senders) is not wanted.others)
        if network is not None:
            tests.append(lambda line: _inside(line.address, network))
        elif self._address:
            tests.append(lambda line: line.address == self._address)
        if self._path:
            tests.append(lambda line: any(self._path in line.text(name).casefold() for name in PATH_NAMES))
        if self._text:
            tests.append(lambda line: self._text in _shown(line))
        return tests


def parse(place: int, line: bytes) -> LogLine:
    """A line of the log, whatever it is."""
    text = line[: backwards.MAX_LINE].decode("utf-8", "backslashreplace").rstrip("\r\n")
    try:
        deep = text.count("{") + text.count("[") > MAX_DEPTH and deeper_than(text, MAX_DEPTH)
        found = None if deep else json.loads(text, parse_float=_finite, parse_constant=_finite)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return LogLine(place, found, text)
    return LogLine(place, {"time": time_of(line), "message": text[:MAX_RAW]}, text)


def _finite(text: str) -> float:
    """A number.

    Raises:
        ValueError: JSON could not hold it.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def belongs(line: LogLine, own: Collection[str]) -> bool:
    """True if a line is about one of the accounts.

    A traced HTTP request may be one of an administrator of the same name, and is nobody's.
    """
    if line.text("sender") == TRACE:
        return bool(line.account) and line.account in own and line.protocol != "HTTP"
    # What is no text, as in a line of another program, is nobody's.
    return isinstance(name := line.fields.get("username"), str) and name in own


def _needles(wanted: LineFilter, address: str) -> list[tuple[bytes, ...]]:
    """Bytes that every wanted line has: of each group one."""
    user, protocol = wanted.username, wanted.protocol
    groups = [[("username", user), ("remote_user", user)]] if user else []
    groups += [[("protocol", protocol), ("protocol", protocol.lower())]] if protocol else []
    if len(wanted.senders) == 1 and not wanted.others:
        groups.append([("sender", next(iter(wanted.senders)))])
    needles = [
        tuple(_bytes(f"{to_json(name)}:{to_json(value)}") for name, value in group) for group in groups
    ]
    texts = [connection_of(wanted.connection), address]
    return [*needles, *((_bytes(to_json(text)[1:-1]),) for text in texts if text)]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _folded(text: str) -> bytes:
    """Lower-case bytes that every line with this text has; empty if that cannot be told by bytes."""
    # The case of other letters is not folded by bytes, and quotes are escaped in a line.
    plain = text.isascii() and text.isprintable() and not any(mark in text for mark in '"\\')
    return text.lower().encode() if plain else b""


def _shown(line: LogLine) -> str:
    """The texts of a line, for the search."""
    return "\n".join(line.text(name) for name in line.fields).casefold()


def _inside(address: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:
        return False
