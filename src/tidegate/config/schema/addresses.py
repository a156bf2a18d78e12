# SPDX-License-Identifier: Apache-2.0
"""Keys of `common` about addresses: countries, blocklists, list files."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from tidegate.config.schema.base import Section, key
from tidegate.model.geography import GeoRules


class GeoIpKeys(Section):
    """Countries, continents and autonomous systems that may come in."""

    databases: list[str] = key(
        [],
        "Files in the MaxMind DB format (`.mmdb`): countries, cities, autonomous systems, of any publisher. "
        "Of each thing the first file that knows it is believed; a file that changes is read again. Lines of "
        "the log about connections and logins have `country` and `asn` then.",
    )
    allowed_countries: list[str] = key(
        [],
        "Countries (two capital letters) that may come. With any allowed country, continent or autonomous "
        "system only these come.",
    )
    denied_countries: list[str] = key([], "Countries that may not come.")
    allowed_continents: list[str] = key([], "Continents that may come: AF, AN, AS, EU, NA, OC, SA.")
    denied_continents: list[str] = key([], "Continents that may not come.")
    allowed_asns: list[int] = key(
        [], "Numbers of autonomous systems (networks of one operator) that may come."
    )
    denied_asns: list[int] = key(
        [],
        "Numbers of autonomous systems that may not come. The narrowest entry decides: a system before a "
        "country, a country before a continent.",
    )
    unknown: Literal["", "allow", "deny"] = key(
        "",
        "Addresses that no database has: empty denies them if anything is allowed by name, and else lets "
        "them in. Private, loopback and link-local addresses that no database has always come.",
    )
    broken: Literal["stop", "go_on"] = key(
        "stop",
        "A database that cannot be read when the server starts: `stop` does not start, `go_on` starts "
        "without it. One that breaks later keeps what was read before.",
    )

    def rules(self) -> GeoRules:
        """The rules, without where the databases are."""
        names = (
            "allowed_countries",
            "denied_countries",
            "allowed_continents",
            "denied_continents",
            "allowed_asns",
            "denied_asns",
        )
        return GeoRules(**{name: tuple(getattr(self, name)) for name in names}, unknown=self.unknown)

    @model_validator(mode="after")
    def _fits(self) -> GeoIpKeys:
        rules = self.rules()
        wrong = rules.problem()
        if wrong is not None:
            raise ValueError(f"{wrong[0]}: {wrong[1]}")
        if rules and not self.databases:
            raise ValueError("databases: is empty, and the other keys need one")
        return self
