# SPDX-License-Identifier: Apache-2.0
"""Sources: what counts as one client, by prefixes of any length."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model.address_list import parse_network
from tidegate.model.sources import SourcePrefixes, Sources, name_of


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("[2001:db8::ffff:2]", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
        ("n" * 70, "n" * 70),
        ("", ""),
    ],
)
def test_by_default_an_ipv4_address_and_an_ipv6_64_are_one_source(text: str, source: str) -> None:
    assert Sources().of(text) == source


def test_prefixes_that_are_replaced_hold_from_then_on() -> None:
    sources = Sources(SourcePrefixes(24, 56))
    assert sources.of("192.0.2.77") == "192.0.2.0/24"
    assert sources.of("::ffff:192.0.2.77") == "192.0.2.0/24"
    assert sources.of("2001:db8:0:17::1") == "2001:db8::/56"
    sources.prefixes = SourcePrefixes(32, 128)
    assert sources.of("192.0.2.77") == "192.0.2.77"
    assert sources.of("2001:db8:0:17:0::1") == "2001:db8:0:17::1"


addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda number: str(ip_address(number))),
    st.integers(2**100, 2**128 - 1).map(lambda number: str(ip_address(number))),
)


@given(addresses, st.integers(8, 32), st.integers(32, 128))
def test_a_source_is_the_network_that_holds_its_address(address: str, four: int, six: int) -> None:
    sources = Sources(SourcePrefixes(four, six))
    source = sources.of(address)
    network = ip_network(source)
    assert ip_address(address) in network
    assert network.prefixlen == (four if network.version == 4 else six)
    assert sources.of(source.partition("/")[0]) == source  # one name, whichever address it is asked by
    parsed = parse_network(source)
    assert parsed is not None and name_of(parsed) == source
