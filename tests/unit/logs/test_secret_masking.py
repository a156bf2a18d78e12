# SPDX-License-Identifier: Apache-2.0
"""Texts of database drivers: no secret in them, and still readable."""

from __future__ import annotations

import pytest

from tidegate.errors import ProviderError
from tidegate.store.options import ProviderOptions
from tidegate.store.sql.engines import target_of

FAILED = 'connection to server at "10.0.0.7", port 1 failed: is that host up and accepting connections? x does not exist'


@pytest.mark.parametrize("password", ["p", "x", "to", "host", "port", "onnect"])
def test_a_short_password_eats_no_text(password: str) -> None:
    target = target_of(ProviderOptions(driver="postgresql", name="d", username="u", password=password))

    assert target.masked(FAILED) == FAILED


@pytest.mark.parametrize("password", ["p", "x", "se'c", "s.c", "secret", "longer-Secret-9", "p w"])
@pytest.mark.parametrize(
    "text",
    [
        "invalid dsn: user=u password={} host=h",
        "bad: password='{}'",
        'bad {{"password": "{}"}}',
        "no such: mysql://u:{}@h:3306/d",
        "no such: u:{}@tcp(h:3306)/d",
    ],
)
def test_a_password_is_masked_where_passwords_stand(password: str, text: str) -> None:
    target = target_of(ProviderOptions(driver="mysql", name="d", username="u", password=password))

    masked = target.masked(text.format(password))
    assert masked == text.format("***")


@pytest.mark.parametrize("password", ["hunter22", "longer-Secret-9"])
def test_a_password_in_a_text_is_masked(password: str) -> None:
    target = target_of(ProviderOptions(driver="mysql", name="d", username="u", password=password))

    assert password not in target.masked(f"access denied for u using '{password}', {password}: no")


@pytest.mark.parametrize(
    ("driver", "url"),
    [
        ("postgresql", "postgresql://u:first@hunter22@h:1/d"),
        ("postgresql", "postgresql://u:first/hunter22@h:1/d"),
        ("postgresql", "postgresql://:first@u:1/hunter22@h:1/d"),
        ("mysql", "mysql://u:1/hunter22@h:1/d"),
    ],
)
def test_a_password_that_would_be_taken_for_a_host_is_refused_and_not_shown(driver: str, url: str) -> None:
    with pytest.raises(ProviderError, match="write them as %40 and %2F") as refused:
        target_of(ProviderOptions(driver=driver, connection_string=url))
    assert "hunter22" not in str(refused.value)
    assert "first" not in str(refused.value)


@pytest.mark.parametrize(
    ("driver", "url"),
    [
        ("postgresql", "postgresql://u:p%40%2F@h:1/d?application_name=b@c"),
        ("postgresql", "host=h port=1 user=u password=p@/"),
        ("mysql", "mysql://u:p@q@h:1/d"),
        ("mysql", "u:p@/q@tcp(h:1)/d"),
    ],
)
def test_a_password_that_is_clear_is_taken(driver: str, url: str) -> None:
    target = target_of(ProviderOptions(driver=driver, connection_string=url))
    assert target.label == f"{driver} at h:1"
