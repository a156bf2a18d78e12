# SPDX-License-Identifier: Apache-2.0
"""Keys of `common` about addresses: countries, blocklists, list files."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final, Literal

from pydantic import field_validator, model_validator

from tidegate.config.schema.base import Section, key
from tidegate.model.address import parse_address
from tidegate.model.geography import GeoRules

MAX_ZONES: Final = 16
"""Blocklists that are asked at most."""

_Protocols = list[Literal["SSH", "FTP", "DAV", "HTTP"]]

_ANSWERS: Final = IPv4Network("127.0.0.0/8")


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


class BlocklistKeys(Section):
    """One DNS blocklist."""

    zone: str = key(
        "",
        "Domain of the list, for instance `zen.spamhaus.org`.",
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)+$",
        like="a domain name",
    )
    name: str = key(
        "",
        "Name in log lines and rules; empty is `zone`. Needed where the zone has a customer's key in it.",
        pattern=r"^[\x21-\x7e]{0,64}$",
        like="at most 64 characters without blanks",
    )
    codes: dict[str, str] = key(
        {},
        "Answers that count, addresses or networks of 127.0.0.0/8, each with what it means, for people; "
        "empty lets every answer count. 127.255.255.0/24 never counts: lists tell by it that they take no "
        "questions.",
    )
    unanswered: Literal["allow", "deny"] = key(
        "allow", "An address for which the list gives no answer: `allow` lets it in, `deny` does not."
    )
    ipv6: bool = key(True, "Ask for IPv6 addresses too.")

    @field_validator("codes")
    @classmethod
    def _answers(cls, codes: dict[str, str]) -> dict[str, str]:
        for text in codes:
            try:
                network = IPv4Network(text)
            except ValueError:
                network = None
            if network is None or not network.subnet_of(_ANSWERS):
                raise ValueError(f"{text!r} is no address and no network of 127.0.0.0/8")
        return codes


class DnsblKeys(Section):
    """DNS blocklists (RFC 5782) that are asked about each new address."""

    zones: list[BlocklistKeys] = key(
        [],
        "Lists, asked at the same time. Private, loopback and link-local addresses, and those of the safe "
        "list (`tidegate ip-list add safe`), are never asked for. A list that lists 127.0.0.1 is not asked.",
    )
    nameservers: list[str] = key(
        [],
        "Name servers to ask, `address` or `address:port` (`[address]:port`); empty takes those of the "
        "system. Operators of lists refuse questions from large public name servers.",
    )
    timeout: int = key(1000, "Time that the answer of a list may take.", unit="milliseconds", ge=100, le=4000)

    def servers(self) -> list[tuple[str, int]]:
        """The name servers, each with its port.

        Raises:
            ValueError: names what is none.
        """
        return [_server(text) for text in self.nameservers]

    @model_validator(mode="after")
    def _fits(self) -> DnsblKeys:
        self.servers()
        names = [one.name or one.zone for one in self.zones]
        if not all(one.zone for one in self.zones):
            raise ValueError("zones: one has no zone")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"zones: {twice} is there twice")
        if len(names) > MAX_ZONES:
            raise ValueError(f"zones: more than {MAX_ZONES}")
        return self


def _server(text: str) -> tuple[str, int]:
    address, port = text, "53"
    if text.startswith("[") or text.count(":") == 1:
        address, _, port = text.rpartition(":")
    parsed = parse_address(address)
    if parsed is None or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"nameservers: {text[:64]!r} is no address of a name server")
    return str(parsed), int(port)


class ListFileKeys(Section):
    """One file of a list."""

    path: str = key(
        "",
        "The file: one address or network (CIDR) a line; `#` and `;` begin comments. It is read again when "
        "it changes. Wrong lines are named in the log and left out.",
        pattern=r"^[^\x00]+$",
        like="a file name",
    )
    list: Literal["allow", "safe", "block", "rate-safe"] = key(
        "block",
        "The list that its entries are of: `allow` (may connect while `allowlist_status` is 1), `safe` "
        "(never banned), `block` (never gets in), `rate-safe` (no rate limiter holds it).",
    )
    protocols: _Protocols = key(
        ["SSH", "FTP", "DAV", "HTTP"], "Protocols that its entries are for: SSH, FTP, DAV, HTTP."
    )
    broken: Literal["stop", "go_on"] = key(
        "stop",
        "A file that cannot be read when the server starts: `stop` does not start, `go_on` starts without "
        "its entries. One that breaks later keeps what was read before.",
    )
