# SPDX-License-Identifier: Apache-2.0
"""URLs in logs and errors hold no secret, wherever in a URL services put theirs."""

from __future__ import annotations

import pytest
from tests.support.ports import free_port

from tidegate.errors import OutsideFailed
from tidegate.outgoing.http import HttpCaller, HttpOptions, shown

SLACK = "/services/T024BE7LD/B024BE7LE/" + "9zXq7Ppc0aBcDeFgHiJkLmNo"  # the shape of a token, and none


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"https://hooks.example.com{SLACK}", "https://hooks.example.com/services/T024BE7LD/B024BE7LE/***"),
        ("http://user:word@h:81/login?key=k#f", "http://h:81/login"),
        ("http://[::1]:81/a", "http://[::1]:81/a"),
        ("http://h/a0123456789abcdef0123/b", "http://h/***/b"),
        ("http://h/external_authentication/v2", "http://h/external_authentication/v2"),
        ("http://h/login_hook_of_2026.php", "http://h/login_hook_of_2026.php"),
        ("http://h:x/", "an unreadable URL"),
    ],
)
def test_shown(url: str, text: str) -> None:
    assert shown(url) == text


async def test_a_service_that_is_away_is_told_without_its_token() -> None:
    caller = HttpCaller(HttpOptions(seconds=10.0))
    try:
        with pytest.raises(OutsideFailed) as caught:
            await caller.call("POST", f"http://127.0.0.1:{free_port()}{SLACK}")
    finally:
        await caller.close()
    assert "/B024BE7LE/***" in caught.value.detail
    assert "9zXq7" not in caught.value.detail
