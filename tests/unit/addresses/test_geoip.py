# SPDX-License-Identifier: Apache-2.0
"""Databases of locations, and rules on them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.geo_databases import age, country, system, write_database

from tidegate.addresses.geoip import GeoCheck, GeoDatabases, location_of
from tidegate.model.address import is_local
from tidegate.model.geography import CONTINENT_OF, NO_LOCATION, GeoRules, Location, check_location

COUNTRIES = {
    "198.51.100.0/24": country("CN", "AS"),
    "203.0.113.0/24": country("DE", "EU"),
    "2001:db8::/32": country("FR", "EU"),
    "127.0.0.5/32": country("JP", "AS"),
}
SYSTEMS = {"203.0.113.0/25": system(3320, "Deutsche\x1b[31m Telekom"), "192.0.2.0/24": system(64500, "Rest")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("geo")
    write_database(place / "country.mmdb", COUNTRIES)
    write_database(place / "asn.mmdb", SYSTEMS, version=4)
    return place


@pytest.fixture
def databases(files: Path) -> GeoDatabases:
    found = GeoDatabases([str(files / "country.mmdb"), str(files / "asn.mmdb")])
    assert found.look()
    assert found.problems() == []
    return found


@pytest.mark.parametrize(
    ("address", "location"),
    [
        ("203.0.113.1", Location("DE", "EU", 3320, "Deutsche[31m Telekom")),
        ("203.0.113.200", Location("DE", "EU")),
        ("::ffff:203.0.113.200", Location("DE", "EU")),
        ("2001:db8::1", Location("FR", "EU")),  # which a database of IPv4 alone is not asked for
        ("192.0.2.1", Location("", "", 64500, "Rest")),
        ("127.0.0.5", Location("JP", "AS")),
        ("127.0.0.1", NO_LOCATION),
        ("not an address", NO_LOCATION),
    ],
)
def test_an_address_is_looked_up_in_all_databases(
    databases: GeoDatabases, address: str, location: Location
) -> None:
    assert databases.locate(address) == location
    assert databases.locate(address) == location


@pytest.mark.parametrize(
    ("record", "location"),
    [
        ({"country_code": "DE"}, Location("DE")),
        ({"country": "AU", "continent": "OC", "country_name": "Australia"}, Location("AU", "OC")),
        (
            {"country": "Australia", "country_code": "AU", "continent": "Oceania", "continent_code": "OC"},
            Location("AU", "OC"),
        ),
        ({"asn": "AS13335", "as_name": "Cloudflare"}, Location("", "", 13335, "Cloudflare")),
        ({"registered_country": {"iso_code": "us"}}, Location("US")),
        ({"country": {"iso_code": 7}, "continent": 1.5, "asn": "AS-1", "as_name": b"x"}, NO_LOCATION),
        ({"asn": 2**40, "country": "--", "continent": "ZZ"}, NO_LOCATION),
        ({"asn": "AS" + "1" * 11, "as_name": "long"}, Location("", "", 0, "long")),
        ({"asn": "AS\u0661\u0662"}, NO_LOCATION),  # digits of another alphabet
        ({"asn": "", "autonomous_system_number": 7}, Location("", "", 7)),
        ({"asn": "AS0"}, NO_LOCATION),
    ],
)
def test_records_of_several_publishers_are_understood(record: dict[str, object], location: Location) -> None:
    assert location_of(record) == location


CHINA = Location("CN", "AS", 4134)
JAPAN = Location("JP", "AS")
GERMANY = Location("DE", "EU", 3320)
NET = "198.51.100.1"


@pytest.mark.parametrize(
    ("rules", "location", "allowed", "field"),
    [
        (GeoRules(denied_countries=("CN",)), CHINA, False, "denied_countries"),
        (GeoRules(denied_countries=("CN",)), JAPAN, True, ""),
        (GeoRules(denied_countries=("CN",)), NO_LOCATION, True, "unknown"),
        (GeoRules(denied_countries=("CN",), unknown="deny"), NO_LOCATION, False, "unknown"),
        (GeoRules(unknown="deny"), NO_LOCATION, False, "unknown"),
        (GeoRules(unknown="deny"), JAPAN, True, ""),
        (GeoRules(allowed_countries=("DE",)), GERMANY, True, "allowed_countries"),
        (GeoRules(allowed_countries=("DE",)), CHINA, False, "allowed_countries"),
        (GeoRules(allowed_countries=("DE",)), NO_LOCATION, False, "unknown"),
        (GeoRules(allowed_countries=("DE",), unknown="allow"), NO_LOCATION, True, "unknown"),
        # a country before its continent, a system before its country
        (GeoRules(denied_continents=("AS",), allowed_countries=("JP",)), JAPAN, True, "allowed_countries"),
        (GeoRules(denied_continents=("AS",), allowed_countries=("JP",)), CHINA, False, "denied_continents"),
        (GeoRules(denied_continents=("AS",), allowed_countries=("JP",)), GERMANY, False, "allowed_countries"),
        (GeoRules(allowed_continents=("EU",), denied_asns=(3320,)), GERMANY, False, "denied_asns"),
        (GeoRules(denied_countries=("DE",), allowed_asns=(3320,)), GERMANY, True, "allowed_asns"),
        (GeoRules(allowed_countries=("DE",), denied_countries=("DE",)), GERMANY, False, "denied_countries"),
        # the country is known and not allowed: that no system is known does not make it so
        (
            GeoRules(allowed_countries=("DE",), allowed_asns=(1,), unknown="allow"),
            JAPAN,
            False,
            "allowed_countries",
        ),
        (GeoRules(denied_asns=(1,), unknown="deny"), JAPAN, False, "unknown"),
        (GeoRules(), NO_LOCATION, True, ""),
    ],
)
def test_the_narrowest_entry_decides(rules: GeoRules, location: Location, allowed: bool, field: str) -> None:
    verdict = check_location(rules, NET, location)
    assert (verdict.allowed, verdict.field) == (allowed, field)
    assert NET in verdict.why


def test_local_addresses_are_denied_only_if_a_database_has_them() -> None:
    rules = GeoRules(allowed_countries=("DE",), unknown="deny")
    for address in ("10.1.2.3", "127.0.0.1", "100.64.0.1", "172.31.0.1", "fe80::1%eth0", "fd00::1", "::1"):
        assert is_local(address)
        assert check_location(rules, address, NO_LOCATION).allowed
    assert not check_location(rules, "127.0.0.5", JAPAN).allowed
    for address in ("100.128.0.1", "172.32.0.1", "8.8.8.8", "2001:db8::1", "198.51.100.1"):
        assert not is_local(address)


def test_mistakes_in_rules_are_named() -> None:
    assert GeoRules(denied_countries=("UK",)).problem() == (
        "denied_countries",
        "'UK' is no country code of two capital letters (GB is)",
    )
    assert (GeoRules(allowed_continents=("XX",)).problem() or ("",))[0] == "allowed_continents"
    assert (GeoRules(denied_asns=(0,)).problem() or ("",))[0] == "denied_asns"
    assert (GeoRules(unknown="perhaps").problem() or ("",))[0] == "unknown"
    assert GeoRules(denied_countries=tuple(CONTINENT_OF)).problem() is None
    assert len(CONTINENT_OF) == 250


def test_a_check_names_the_rule(databases: GeoDatabases) -> None:
    check = GeoCheck(databases, GeoRules(denied_countries=("CN",)))
    assert asyncio.run(check.check("203.0.113.1", "SSH")) is None
    refusal = asyncio.run(check.check(NET, "SSH"))
    assert refusal is not None
    assert refusal.rule == "common.geoip.denied_countries"
    assert refusal.text == "198.51.100.1 is in CN, AS"


def test_a_file_that_changes_is_read_again_and_a_broken_one_leaves_what_was_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "some.mmdb"
    write_database(path, {"198.51.100.0/24": country("CN")})
    databases = GeoDatabases([str(path)])
    assert databases.look()
    assert databases.locate(NET).country == "CN"
    assert not databases.look()
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])  # in place, as cp does: the one in use is a copy
    assert not databases.look()  # somebody may be writing it
    age(path)
    assert not databases.look()
    assert "what was read before is kept" in caplog.text
    databases.forget()
    assert databases.locate(NET).country == "CN"
    assert not databases.look()
    assert caplog.text.count("cannot be used") == 1
    write_database(path, {"198.51.100.0/24": country("DE")})
    age(path)
    assert databases.look()
    databases.forget()
    assert databases.locate(NET) == Location("DE", "EU")
    path.unlink()
    assert not databases.look()
    assert databases.locate(NET).country == "DE"
    assert databases.problems() == [f"{path}: No such file or directory"]
    databases.close()


@pytest.mark.parametrize("content", [b"", b"no database", b"\xab\xcd\xefMaxMind.com" * 3])
def test_what_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(content)
    databases = GeoDatabases([str(path)])
    assert not databases.look()
    assert databases.problems()[0].startswith(f"{path}: ")
    assert "/proc/" not in databases.problems()[0]


def test_a_damaged_database_fails_no_look_up(tmp_path: Path) -> None:
    path = tmp_path / "x.mmdb"
    write_database(path, COUNTRIES)
    content = bytearray(path.read_bytes())
    for place in range(0, content.rindex(b"\xab\xcd\xefMaxMind.com"), 3):
        content[place] ^= 0xFF
    path.write_bytes(content)
    databases = GeoDatabases([str(path)])
    databases.look()
    for address in ("198.51.100.1", "203.0.113.1", "2001:db8::1", "8.8.8.8"):
        assert isinstance(databases.locate(address), Location)


def test_locations_that_are_remembered_are_bounded_and_closed_databases_know_nothing(
    databases: GeoDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.addresses.geoip.MAX_REMEMBERED", 2)
    for last in range(5):
        databases.locate(f"203.0.113.{last}")
    assert len(databases._known) == 2
    assert [file.value.six for file in databases.files if file.value is not None] == [True, False]
    for _ in range(2):
        databases.close()
    assert [file.value for file in databases.files] == [None, None]
    assert databases.locate("198.51.100.1") == NO_LOCATION


def test_a_file_that_can_be_read_again_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "country.mmdb"
    databases = GeoDatabases([str(path)])
    for _ in range(2):
        assert not databases.look()
    write_database(path, COUNTRIES)
    age(path)
    assert databases.look()
    assert not databases.look()
    write_database(path, {**COUNTRIES, "192.0.2.0/24": country("US")})
    age(path, 30)
    assert databases.look()
    path.unlink()
    assert not databases.look()
    assert databases.locate("192.0.2.1") == Location("US", "NA")  # what was read before stays
    assert [one.message for one in caplog.records] == [
        f"{path} cannot be used: No such file or directory",
        f"{path} can be read again",
        f"{path} cannot be used: No such file or directory; what was read before is kept",
    ]
    databases.close()
