# SPDX-License-Identifier: Apache-2.0
"""Section ``mfa.passkeys``: addresses that browsers have passkeys for."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tidegate.config.schema.mfa import PasskeyKeys


@pytest.mark.parametrize(
    ("origins", "rp_id", "domain"),
    [
        ([], "", "localhost"),
        (["https://files.example.org"], "", "files.example.org"),
        (["https://files.example.org:8443"], "", "files.example.org"),
        (["https://Files.Example.org/"], "example.org", "example.org"),
        (["https://a.example.org", "https://b.example.org"], "example.org", "example.org"),
        (["http://localhost:8080"], "", "localhost"),
    ],
)
def test_what_is_taken(origins: list[str], rp_id: str, domain: str) -> None:
    assert PasskeyKeys(origins=origins, rp_id=rp_id).domain == domain


def test_origins_are_as_browsers_write_them() -> None:
    given = ["https://Files.Example.org:443/", "http://localhost:80"]
    assert PasskeyKeys(origins=given[:1]).origins == ["https://files.example.org"]
    assert PasskeyKeys(origins=given[1:]).origins == ["http://localhost"]


@pytest.mark.parametrize(
    ("origins", "rp_id", "said"),
    [
        (["http://files.example.org"], "", "without HTTPS, got 'http://files.example.org'"),
        (["https://192.0.2.7"], "", "no passkeys for IP addresses, got 'https://192.0.2.7'"),
        (["https://[2001:db8::1]"], "", "no passkeys for IP addresses"),
        (["files.example.org"], "", "such as https://files.example.org, got 'files.example.org'"),
        (["https://files.example.org/admin"], "", "got 'https://files.example.org/admin'"),
        (["https://me@files.example.org"], "", "got 'https://me@files.example.org'"),
        (["https://files.example.org?x"], "", "got 'https://files.example.org?x'"),
        (["ftp://localhost"], "", "without HTTPS"),
        (
            ["https://a.example.org", "https://b.example.org"],
            "",
            "https://b.example.org is not in the domain",
        ),
        (["https://files.example.org"], "ample.org", "is not in the domain ample.org"),
        (["https://files.example.org"], "org", "expected a domain such as example.org"),
        (["https://files.example.org"], "Example.org", "lower case"),
        ([], "example.org", "rp_id needs origins"),
        (["https://[::"], "", "expected an address"),
        (["https://files.example.org:x"], "", "expected an address"),
    ],
)
def test_what_is_refused(origins: list[str], rp_id: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PasskeyKeys(origins=origins, rp_id=rp_id)
    assert said in str(refused.value)
