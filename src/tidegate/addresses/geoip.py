# SPDX-License-Identifier: Apache-2.0
"""Databases of countries, cities and autonomous systems in the MaxMind DB format, version 2.

They are read by `maxminddb`, which is an extra (``tidegate[geoip]``). The library maps the file into memory,
and a file that is overwritten in place under a map ends the process (SIGBUS); so it gets a copy in memory.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidegate.addresses.watched import WatchedFile
from tidegate.model.address import Address, parse_address
from tidegate.model.geography import (
    CONTINENT_OF,
    CONTINENTS,
    MAX_ASN,
    NO_LOCATION,
    GeoRules,
    GeoVerdict,
    Location,
    check_location,
)
from tidegate.model.refusal import Refusal

if TYPE_CHECKING:
    import maxminddb

MAX_BYTES: Final = 1 << 30
"""Largest database; the largest that is sold has some 400 MB."""
MAX_REMEMBERED: Final = 4096
"""Addresses whose location is remembered."""
MAX_ORGANIZATION: Final = 64
"""Characters of an organization that are kept."""


class GeoDatabases:
    """Several databases; the first that knows a thing of an address is believed. Life: `open`, `locate`...

    Args:
        paths: files of databases.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.files = [WatchedFile(path, read_database, (ValueError,)) for path in paths]
        self._known: OrderedDict[str, Location] = OrderedDict()

    def look(self) -> bool:
        """Read files that changed; blocks. True if any was read."""
        return sum(file.look() for file in self.files) > 0

    def forget(self) -> None:
        """Forget remembered locations; called on the loop after `look` has read a file."""
        self._known.clear()

    def problems(self) -> list[str]:
        """Files that cannot be used, each with the reason."""
        return [f"{file.path}: {file.error}" for file in self.files if file.error]

    def locate(self, address: str) -> Location:
        """The location of an address; takes some microseconds."""
        known = self._known.get(address)
        if known is not None:
            return known
        parsed = parse_address(address)
        found = NO_LOCATION if parsed is None else self._look_up(parsed)
        self._known[address] = found
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _look_up(self, address: Address) -> Location:
        country = continent = organization = ""
        asn = 0
        for file in self.files:
            database = file.value
            if database is None or (address.version == 6 and not database.six):
                continue
            try:
                record = database.reader.get(address)
            except ValueError:  # InvalidDatabaseError is one: the file is damaged at this place
                continue
            if isinstance(record, Mapping):
                found = location_of(record)
                country, continent = country or found.country, continent or found.continent
                if not asn and found.asn:
                    asn, organization = found.asn, found.organization
        if not (country or continent or asn):
            return NO_LOCATION
        return Location(country, continent or CONTINENT_OF.get(country, ""), asn, organization)

    def close(self) -> None:
        """Release the files."""
        for file in self.files:
            if file.value is not None:
                file.value.reader.close()
                file.value = None


@dataclass(frozen=True, slots=True)
class Database:
    """An open database.

    Attributes:
        reader: looks addresses up.
        six: True if it may be asked for IPv6 addresses.
        kind: as its publisher calls it.
        built: Unix seconds.
    """

    reader: maxminddb.Reader
    six: bool
    kind: str = ""
    built: int = 0


def read_database(path: str) -> Database:
    """A reader of a copy of a database.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no database.
    """
    import maxminddb

    if Path(path).stat().st_size > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes")
    held = os.memfd_create("tidegate-geoip", os.MFD_CLOEXEC)
    try:
        with Path(path).open("rb") as file:
            _copy(file.fileno(), held)
        reader = maxminddb.open_database(f"/proc/self/fd/{held}")
        about = reader.metadata()
        reader.get("192.0.2.1")
    except maxminddb.InvalidDatabaseError as error:
        raise ValueError(str(error).replace(f"/proc/self/fd/{held}", path)) from None
    finally:
        os.close(held)
    return Database(reader, about.ip_version != 4, about.database_type[:64], about.build_epoch)


def _copy(source: int, target: int) -> None:
    left = MAX_BYTES
    while left > 0 and (block := os.read(source, min(left, 1 << 20))):
        view = memoryview(block)
        while view:
            view = view[os.write(target, view) :]
        left -= len(block)


def location_of(record: Mapping[str, Any]) -> Location:
    """The location in a record, in the shapes of MaxMind, DB-IP, IPinfo and flat ones (ip-location-db)."""
    country = _code(record, "country", "iso_code") or _code(record, "registered_country", "iso_code")
    country = country or _text(record.get("country_code")) or _text(record.get("country"))
    continent = _code(record, "continent", "code") or _text(record.get("continent_code"))
    continent = continent or _text(record.get("continent"))
    asn = record.get("autonomous_system_number") or record.get("asn") or 0
    if isinstance(asn, str):
        digits = asn.upper().removeprefix("AS")
        asn = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else 0
    name = record.get("autonomous_system_organization") or record.get("as_name") or ""
    country = country if len(country) == 2 and country.isalpha() and country.isascii() else ""
    return Location(
        country,
        continent if continent in CONTINENTS else "",
        asn if isinstance(asn, int) and 0 < asn <= MAX_ASN else 0,
        "".join(filter(str.isprintable, name))[:MAX_ORGANIZATION] if isinstance(name, str) else "",
    )


def _code(record: Mapping[str, Any], name: str, key: str) -> str:
    inner = record.get(name)
    return _text(inner.get(key)) if isinstance(inner, Mapping) else ""


def _text(value: object) -> str:
    return value.upper() if isinstance(value, str) and len(value) == 2 else ""


class GeoCheck:
    """An `AdmissionCheck` by the location of the client.

    Args:
        databases: open ones.
        rules: of the server.
        place: where the rules stand in the configuration.
    """

    def __init__(self, databases: GeoDatabases, rules: GeoRules, place: str = "common.geoip") -> None:
        self.databases = databases
        self.rules = rules
        self._place = place

    name = "GeoIP"

    def describe(self, address: str) -> str:
        """The location of an address, as a sentence."""
        return self.verdict(address).why

    async def open(self) -> None:
        """Nothing: the databases are open."""

    async def close(self) -> None:
        """Nothing: the databases are closed by whoever opened them."""

    async def check(self, address: str, protocol: str) -> Refusal | None:
        """Refuse by country, continent or autonomous system."""
        del protocol
        verdict = self.verdict(address)
        return None if verdict.allowed else Refusal(self.rule(verdict), verdict.why)

    def verdict(self, address: str) -> GeoVerdict:
        """The decision about an address, with its reason."""
        return check_location(self.rules, address, self.databases.locate(address))

    def rule(self, verdict: GeoVerdict) -> str:
        """The name of the rule that decided, for instance ``common.geoip.denied_countries``."""
        return f"{self._place}.{verdict.field}" if verdict.field else self._place
