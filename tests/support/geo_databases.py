# SPDX-License-Identifier: Apache-2.0
"""Databases in the MaxMind DB format, written by `mmdb_writer`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def country(code: str, continent: str = "") -> dict[str, Any]:
    """A record as MaxMind's databases of countries have it."""
    record: dict[str, Any] = {"country": {"iso_code": code, "geoname_id": 1, "names": {"en": code}}}
    return record | ({"continent": {"code": continent}} if continent else {})


def system(number: int, name: str) -> dict[str, Any]:
    """A record as MaxMind's databases of autonomous systems have it."""
    return {"autonomous_system_number": number, "autonomous_system_organization": name}


def write_database(path: Path, networks: Mapping[str, Any], *, version: int = 6, kind: str = "Test") -> None:
    """Write a database, and put it in the place of what was there in one step."""
    writer = MMDBWriter(version, kind, languages=["en"], ipv4_compatible=version == 6, int_type="u32")
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    draft = path.with_suffix(".new")
    writer.to_db_file(str(draft))
    draft.replace(path)


def age(path: Path, seconds: float = 60) -> None:
    """Make a file one that was written some time ago: it is not waited for its writer then."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def main() -> None:
    """Write a database of countries and one of autonomous systems, as a publisher's file would be."""
    countries, systems = map(Path, sys.argv[1:])
    countries.parent.mkdir(parents=True, exist_ok=True)
    known = {"203.0.113.0/24": country("CN", "AS"), "198.51.100.0/24": country("DE", "EU")}
    write_database(countries, known, kind="GeoLite2-Country")
    write_database(systems, {"198.51.100.0/24": system(64500, "Example Hosting")}, kind="GeoLite2-ASN")


if __name__ == "__main__":
    main()
