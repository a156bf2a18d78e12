# SPDX-License-Identifier: Apache-2.0
"""The depth of JSON text is measured before a parser meets it."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.nesting import deeper_than

VALUES = st.recursive(
    st.none() | st.text('[]{}"\\a'), lambda inner: st.lists(inner) | st.dictionaries(st.text('[{"\\'), inner)
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_the_depth_is_that_of_the_document(value: object) -> None:
    text = json.dumps(value)
    levels = depth(value)

    assert not deeper_than(text, levels)
    assert levels == 0 or deeper_than(text, levels - 1)


@pytest.mark.parametrize("text", ["[" * 5_000, '{"a":' * 5_000, '["' + "[" * 100 + '",' + "[" * 40])
def test_broken_text_is_measured_too(text: str) -> None:
    assert deeper_than(text, 32)


def test_a_text_that_never_ends_takes_no_time() -> None:
    start = time.process_time()
    assert not deeper_than('"' + "\\" * 1_000_001, 32)
    assert not deeper_than('"a' * 300_001, 32)
    assert not deeper_than('\\"' * 500_000, 32)
    assert time.process_time() - start < 2
