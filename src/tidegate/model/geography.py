# SPDX-License-Identifier: Apache-2.0
"""Countries, continents and networks' numbers: where an address is, and rules on that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tidegate.model.address import is_local

_COUNTRIES: Final = {
    "AF": "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA "
    "MG ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    "AN": "AQ BV GS HM TF",
    "AS": "AE AF AM AZ BD BH BN BT CC CN CX CY GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA "
    "LB LK MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
    "EU": "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI "
    "LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    "NA": "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX "
    "NI PA PM PR SV SX TC TT US VC VG VI",
    "OC": "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS",
    "SA": "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
}
"""Countries (ISO 3166-1, and XK) of each continent, as GeoNames places them."""

CONTINENT_OF: Final = {
    country: continent for continent, text in _COUNTRIES.items() for country in text.split()
}
"""The continent of each country."""
CONTINENTS: Final = tuple(_COUNTRIES)
MAX_ASN: Final = 2**32 - 1
"""The highest number of an autonomous system (RFC 6793)."""
UNKNOWN: Final = ("", "allow", "deny")
"""Values of `GeoRules.unknown`."""


@dataclass(frozen=True, slots=True)
class Location:
    """A place in the terms of databases.

    Attributes:
        country: two capital letters (ISO 3166-1), empty if unknown.
        continent: AF, AN, AS, EU, NA, OC or SA, empty if unknown.
        asn: number of the autonomous system, 0 if unknown.
        organization: who runs that system, for people.
    """

    country: str = ""
    continent: str = ""
    asn: int = 0
    organization: str = ""

    def __str__(self) -> str:
        if self == NO_LOCATION:
            return "in no database"
        system = f"AS{self.asn} {self.organization}".strip() if self.asn else ""
        return ", ".join(part for part in (self.country, self.continent, system) if part)


NO_LOCATION: Final = Location()
"""Of an address that no database has."""

Locate = Callable[[str], Location]
"""Looks an address up; `NO_LOCATION` if it is in no database."""


def nowhere(address: str) -> Location:
    """The `Locate` of a server without databases."""
    del address
    return NO_LOCATION


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoRules:
    """Countries, continents and autonomous systems that may come or may not.

    The narrowest entry decides: an autonomous system before a country, a country before a continent; where
    both lists of one kind name the same, it is denied. With any allowed entry, only what is allowed comes.

    Attributes:
        allowed_countries: two capital letters each; `denied_countries` likewise.
        allowed_continents: see `CONTINENTS`; `denied_continents` likewise.
        allowed_asns: numbers of autonomous systems; `denied_asns` likewise.
        unknown: ``allow`` or ``deny`` for addresses that no database has; empty denies them if anything is
            allowed by name, and else lets them in. Local addresses that no database has always come.
    """

    allowed_countries: tuple[str, ...] = ()
    denied_countries: tuple[str, ...] = ()
    allowed_continents: tuple[str, ...] = ()
    denied_continents: tuple[str, ...] = ()
    allowed_asns: tuple[int, ...] = ()
    denied_asns: tuple[int, ...] = ()
    unknown: str = ""

    def __bool__(self) -> bool:
        return self.denies_some or self.allows_some or self.unknown == "deny"

    @property
    def allows_some(self) -> bool:
        """True if any entry allows."""
        return bool(self.allowed_countries or self.allowed_continents or self.allowed_asns)

    @property
    def denies_some(self) -> bool:
        """True if any entry denies."""
        return bool(self.denied_countries or self.denied_continents or self.denied_asns)

    def problem(self) -> tuple[str, str] | None:
        """The first field that cannot be used and what is wrong with it; None if all can."""
        for name in ("allowed_countries", "denied_countries"):
            for country in getattr(self, name):
                if country not in CONTINENT_OF:
                    hint = " (GB is)" if country == "UK" else ""
                    return name, f"{country[:20]!r} is no country code of two capital letters{hint}"
        for name in ("allowed_continents", "denied_continents"):
            for continent in getattr(self, name):
                if continent not in CONTINENTS:
                    return name, f"{continent[:20]!r} is not one of {', '.join(CONTINENTS)}"
        for name in ("allowed_asns", "denied_asns"):
            for number in getattr(self, name):
                if not 1 <= number <= MAX_ASN:
                    return name, f"{number} is no number of an autonomous system"
        return None if self.unknown in UNKNOWN else ("unknown", f"{self.unknown[:20]!r} is not allow or deny")


@dataclass(frozen=True, slots=True)
class GeoVerdict:
    """The answer of `check_location`.

    Attributes:
        allowed: False if the address may not come.
        field: the field of `GeoRules` that decided.
        matched: the entry of it that did; empty if none.
        why: one sentence.
    """

    allowed: bool
    field: str
    matched: str
    why: str


def check_location(rules: GeoRules, address: str, location: Location) -> GeoVerdict:
    """The decision of rules about an address at a location."""
    kinds: tuple[tuple[str, str | int, tuple[str | int, ...], tuple[str | int, ...]], ...] = (
        ("asns", location.asn, rules.denied_asns, rules.allowed_asns),
        ("countries", location.country, rules.denied_countries, rules.allowed_countries),
        ("continents", location.continent, rules.denied_continents, rules.allowed_continents),
    )
    for name, value, denied, allowed in kinds:
        if value and value in denied:
            return GeoVerdict(False, f"denied_{name}", str(value), f"{address} is in {location}")
        if value and value in allowed:
            return GeoVerdict(True, f"allowed_{name}", str(value), f"{address} is in {location}")
    allowing = [(name, value) for name, value, _, allowed in kinds if allowed]
    known = next((name for name, value in allowing if value), "")
    if known:
        why = f"{address} is in {location}, which is not allowed"
        return GeoVerdict(False, f"allowed_{known}", "", why)
    missing = allowing or [(name, value) for name, value, denied, _ in kinds if denied and not value]
    if missing or (rules.unknown == "deny" and location == NO_LOCATION):
        return _unknown(rules, address, location)
    return GeoVerdict(True, "", "", f"{address} is in {location}")


def _unknown(rules: GeoRules, address: str, location: Location) -> GeoVerdict:
    if location == NO_LOCATION and is_local(address):
        return GeoVerdict(True, "unknown", "", f"{address} is local and in no database")
    refused = rules.unknown == "deny" or (not rules.unknown and rules.allows_some)
    known = "" if location == NO_LOCATION else ", which is not enough to decide"
    return GeoVerdict(
        not refused, "unknown", "", f"{address} is {'' if not known else 'in '}{location}{known}"
    )
