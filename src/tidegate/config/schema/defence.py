# SPDX-License-Identifier: Apache-2.0
"""Keys of `common` about who may come in: the defender and the rate limiters."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from tidegate.config.schema.base import Section, key
from tidegate.model.address_list import AddressList


def networks(texts: list[str]) -> list[str]:
    """The texts, if all of them are addresses and networks.

    Raises:
        ValueError: one is none; says which.
    """
    wrong = AddressList(texts).unreadable()
    if wrong is not None:
        raise ValueError(f"{texts[wrong]!r} is no address and no network")
    return texts


class LoginDelayKeys(Section):
    """Time that answers to logins wait."""

    success: int = key(
        0, "Before somebody is told that they are logged in.", unit="milliseconds", ge=0, le=60_000
    )
    password_failed: int = key(
        0,
        "Before somebody is told that a password or a code was refused. It costs no processor time; the "
        "connection counts as one that has not logged in meanwhile. SFTPGo waits 1000.",
        unit="milliseconds",
        ge=0,
        le=60_000,
    )


class DefenderKeys(Section):
    """Bans of addresses by score."""

    enabled: bool = key(False, "Ban addresses whose score reaches the threshold.")
    driver: Literal["memory", "provider"] = key(
        "memory",
        "Where bans are kept: `memory` forgets them at a restart, `provider` keeps them in the data "
        "provider, where other servers find them within half a minute.",
    )
    preset: Literal["", "openbridge"] = key(
        "",
        "`openbridge` is the rule of the Openbridge gateway: 4 bad logins, 30 minutes. It sets `threshold`, "
        "`score_invalid`, `score_valid`, `score_no_auth`, `score_infected`, `ban_time` and "
        "`observation_time` where they are not given.",
    )
    ban_time: int = key(30, "Length of a ban.", unit="minutes", ge=1, le=43_200)
    ban_time_increment: int = key(
        50,
        "Percent of `ban_time` that a ban grows by each time the address tries while it runs, at least one "
        "minute; 0 none. A ban ends at most 30 days after the last try.",
        ge=0,
        le=10_000,
    )
    threshold: int = key(15, "Score from which on an address is banned.", ge=1, le=1000)
    score_invalid: int = key(2, "Points of a login with an unknown user name.", ge=0, le=1000)
    score_valid: int = key(1, "Points of a login with a known name and a wrong credential.", ge=0, le=1000)
    score_limit_exceeded: int = key(
        3,
        "Points of coming to a limit: `max_per_host_connections`, sessions of an account, a rate limiter "
        "with `generate_defender_events`.",
        ge=0,
        le=1000,
    )
    score_no_auth: int = key(
        0,
        "Points of a connection that ends without any login, as monitors make them that only open a port.",
        ge=0,
        le=1000,
    )
    score_infected: int = key(3, "Points of an upload that a virus scanner calls infected.", ge=0, le=1000)
    observation_time: int = key(30, "Time for which points count.", unit="minutes", ge=1, le=43_200)
    entries_soft_limit: int = key(
        100, "Addresses with points that remain when the hard limit is passed.", ge=1, le=1_000_000
    )
    entries_hard_limit: int = key(150, "Addresses with points that are kept.", ge=2, le=1_000_000)
    login_delay: LoginDelayKeys = key(
        LoginDelayKeys(), "Time that answers to logins wait, with the defender on or off."
    )
    safelist_file: str = key(
        "",
        "File with addresses and networks that are never banned: `addresses` and `networks` as JSON, as "
        "SFTPGo has it, or one a line. Read again when it changes and at SIGHUP. One with a mistake is "
        "refused as a whole: at the start by an error, later what was read before stays. It holds with the "
        "defender on or off; `common.list_files` takes more files and restricts them to protocols.",
    )
    blocklist_file: str = key(
        "",
        "The same for addresses that never get in. The most specific entry of all lists counts; of two for "
        "the same network that of `safelist_file`.",
    )

    @model_validator(mode="after")
    def _fits(self) -> DefenderKeys:
        if not self.enabled:
            return self
        threshold = 4 if self.preset and "threshold" not in self.model_fields_set else self.threshold
        scores = ("score_invalid", "score_valid", "score_limit_exceeded", "score_no_auth", "score_infected")
        for name in scores:
            counts = name == "score_limit_exceeded" or (name != "score_infected" and not self.preset)
            given = counts or name in self.model_fields_set
            if given and getattr(self, name) >= threshold:
                raise ValueError(f"{name} {getattr(self, name)} must be below threshold {threshold}")
        if self.entries_hard_limit <= self.entries_soft_limit:
            raise ValueError(
                f"entries_hard_limit {self.entries_hard_limit} must be above entries_soft_limit "
                f"{self.entries_soft_limit}"
            )
        return self


class PenaltyKeys(Section):
    """Penalties of addresses, as PerSourcePenalties of OpenSSH."""

    enabled: bool = key(
        True,
        "Refuse an address for a while after connections that ended without a login. What such connections "
        "cost adds up; once it is `min` seconds the address is refused until they have passed.",
    )
    crash: float = key(90, "A fault of the server before the login.", unit="seconds", ge=0, le=86_400)
    authfail: float = key(5, "A wrong credential of a known user.", unit="seconds", ge=0, le=86_400)
    invaliduser: float = key(5, "A login with an unknown user name.", unit="seconds", ge=0, le=86_400)
    noauth: float = key(1, "No login was tried.", unit="seconds", ge=0, le=86_400)
    grace_exceeded: float = key(10, "No login in the time for it.", unit="seconds", ge=0, le=86_400)
    min: float = key(15, "Sum from which on the address is refused.", unit="seconds", ge=0, le=86_400)
    max: float = key(600, "Longest time that an address is refused for.", unit="seconds", ge=1, le=86_400)
    max_sources4: int = key(65_536, "IPv4 addresses that are remembered.", ge=1, le=1_000_000)
    max_sources6: int = key(65_536, "IPv6 networks that are remembered.", ge=1, le=1_000_000)
    overflow: Literal["permissive", "deny-all"] = key(
        "permissive",
        "With as many remembered: `permissive` forgets the one that ends first, `deny-all` refuses all "
        "others until one has ended.",
    )
    exempt: list[str] = key(
        ["127.0.0.0/8", "::1"],
        "Addresses and networks that are never penalised: proxies that say no client, offices behind one "
        "address. This host is exempt by default, since tunnels and monitors come from it.",
    )

    @field_validator("exempt")
    @classmethod
    def _networks(cls, texts: list[str]) -> list[str]:
        return networks(texts)

    @model_validator(mode="after")
    def _fits(self) -> PenaltyKeys:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} must not be above max {self.max:g}")
        return self


class RateLimiterKeys(Section):
    """One limiter of new connections (SSH, FTP) or requests (DAV, HTTP)."""

    average: int = key(
        0, "Connections or requests in each `period`; 0 switches the limiter off.", ge=0, le=1_000_000
    )
    period: int = key(1000, "Period of `average`.", unit="milliseconds", ge=100, le=86_400_000)
    burst: int = key(1, "Connections or requests that may come at once.", ge=1, le=1_000_000)
    type: int = key(2, "1 limits all addresses together, 2 each address by itself.", ge=1, le=2)
    protocols: list[Literal["SSH", "FTP", "DAV", "HTTP"]] = key(
        ["SSH", "FTP", "DAV", "HTTP"], "Protocols that are limited: SSH, FTP, DAV, HTTP."
    )
    allow_list: list[str] = key([], "Addresses and networks that are not limited.")
    generate_defender_events: bool = key(
        False, "A refusal counts for the defender as `score_limit_exceeded`; with type 2 only."
    )
    entries_soft_limit: int = key(
        100, "Addresses that remain when the hard limit is passed; with type 2.", ge=1, le=1_000_000
    )
    entries_hard_limit: int = key(150, "Addresses that are kept; with type 2.", ge=2, le=1_000_000)

    @field_validator("allow_list")
    @classmethod
    def _networks(cls, texts: list[str]) -> list[str]:
        return networks(texts)

    @model_validator(mode="after")
    def _fits(self) -> RateLimiterKeys:
        if self.average and self.type == 2 and self.entries_hard_limit <= self.entries_soft_limit:
            raise ValueError(
                f"entries_hard_limit {self.entries_hard_limit} must be above entries_soft_limit "
                f"{self.entries_soft_limit}"
            )
        return self
