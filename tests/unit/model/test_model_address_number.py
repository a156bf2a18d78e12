# SPDX-License-Identifier: Apache-2.0
"""The quick way to the number of an address agrees with the thorough one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.model.address import number_of, parse_address

texts = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"{address.exploded}%eth0"),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.ip_addresses(v=4).map(lambda address: f"::{address}"),
    st.text("0123456789abcdef.:/%[]x \0", max_size=40),
    st.text(max_size=10),
)


@given(texts)
def test_numbers_are_those_of_parsed_addresses(text: str) -> None:
    parsed = parse_address(text)
    assert number_of(text) == (None if parsed is None else (parsed.version, int(parsed)))
