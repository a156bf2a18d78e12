# SPDX-License-Identifier: Apache-2.0
"""Asks name servers for addresses, by `dnspython`, which is an extra (``tidegate[dnsbl]``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.errors import ConfigError, Problem

NO_SOA_SECONDS: Final = 60.0
"""Time for which "there is no such name" is believed if the answer does not say (RFC 2308 section 5)."""
MAX_ADDRESSES: Final = 32
"""Addresses of one answer that are looked at."""


class NoAnswer(Exception):
    """A name server gave no usable answer in time; the text says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one question.

    Attributes:
        addresses: IPv4 addresses of the name; none if there is no such name.
        seconds: for which this may be believed.
    """

    addresses: tuple[str, ...]
    seconds: float


class Resolver:
    """Asks for the IPv4 addresses of names.

    Args:
        nameservers: addresses and ports of name servers; none takes those of the system.
        seconds: time that one question may take in all.
        place: key of the configuration, for errors.

    Raises:
        ConfigError: the system names no name servers.
    """

    def __init__(self, nameservers: Sequence[tuple[str, int]], seconds: float, place: str) -> None:
        import dns.asyncresolver
        import dns.exception
        import dns.nameserver

        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        except dns.exception.DNSException as error:
            what = f"is empty, and the system's resolv.conf cannot be used: {error}"
            raise ConfigError([Problem(place, what)]) from None
        if nameservers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(address, port) for address, port in nameservers
            ]
        several = len(self._resolver.nameservers) > 1
        self._resolver.lifetime = seconds
        self._resolver.timeout = seconds / 2 if several else seconds

    async def ask(self, name: str) -> Reply:
        """The IPv4 addresses of a name, which ends in a dot.

        Raises:
            NoAnswer: no server answered in time, or with an error.
        """
        import dns.exception
        import dns.resolver

        try:
            answer = await self._resolver.resolve(name, "A", raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as missing:
            response = next(iter(missing.responses().values()))  # type: ignore[no-untyped-call]
            seconds = float(response.resolve_chaining().minimum_ttl) if response.authority else NO_SOA_SECONDS
            return Reply((), seconds)
        except (dns.exception.DNSException, OSError) as error:
            raise NoAnswer(str(error).partition("\n")[0][:200] or type(error).__name__) from None
        if answer.rrset is None:
            chain = answer.chaining_result
            return Reply((), float(chain.minimum_ttl) if answer.response.authority else NO_SOA_SECONDS)
        texts = tuple(record.to_text() for record in list(answer.rrset)[:MAX_ADDRESSES])
        return Reply(texts, float(answer.chaining_result.minimum_ttl))
