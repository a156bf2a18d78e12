# SPDX-License-Identifier: Apache-2.0
"""The example of SFTPGo's page on rate limits: it loads, and limits as that page says."""

from __future__ import annotations

import json
from pathlib import Path

from tidegate.config.load import load
from tidegate.defence.defender import Misdeed
from tidegate.defence.pipeline import Defence
from tidegate.server.defence_options import options

LIMITERS = [
    {
        "average": 100, "period": 1000, "burst": 1, "type": 1, "protocols": ["SSH", "FTP", "DAV", "HTTP"],
        "generate_defender_events": False, "entries_soft_limit": 100, "entries_hard_limit": 150,
    },
    {
        "average": 10, "period": 1000, "burst": 1, "type": 2, "protocols": ["FTP"], "allow_list": [],
        "generate_defender_events": True, "entries_soft_limit": 100, "entries_hard_limit": 150,
    },
]  # fmt: skip
ALLOW_LIST = ["192.0.2.1", "192.168.1.0/24", "2001:db8::68", "2001:db8:1234::/48"]


class Clock:
    """Time that passes by waiting alone."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 4))
        self.now += seconds


def defence(tmp_path: Path, limiters: list[dict[str, object]]) -> tuple[Defence, Clock]:
    document = {"common": {"rate_limiters": limiters, "defender": {"enabled": True}}}
    (tmp_path / "tidegate.json").write_text(json.dumps(document))
    loaded = load(tmp_path, "tidegate", environ={})
    assert not loaded.notes
    clock = Clock()
    return Defence(options(loaded), clock=clock, monotonic=clock, sleep=clock.sleep), clock


async def test_ftp_meets_the_global_limiter_first_and_then_that_of_its_host(tmp_path: Path) -> None:
    one, clock = defence(tmp_path, LIMITERS)
    assert await one.wait("192.0.2.7", "FTP") is None
    assert clock.waits == []
    clock.now += 0.006
    # 100 a second together: 4 ms more; 10 a second of this host: 90 ms, more than the 50 that are waited for.
    refusal = await one.wait("192.0.2.7", "FTP")
    assert clock.waits == [0.004]
    assert refusal is not None
    assert (refusal.rule, round(refusal.wait_seconds, 4)) == ("common.rate_limiters[1]", 0.09)
    assert (
        one.defender.host("192.0.2.7", clock.now).score == one.options.defender.scores[Misdeed.LIMIT_EXCEEDED]
    )  # type: ignore[union-attr]
    clock.now += 0.06
    assert await one.wait("192.0.2.7", "FTP") is None  # 30 ms are waited for
    assert clock.waits[-1] == 0.03


async def test_other_protocols_meet_the_global_limiter_alone(tmp_path: Path) -> None:
    one, clock = defence(tmp_path, LIMITERS)
    for protocol in ("SSH", "DAV", "HTTP", "SSH"):
        assert await one.wait("192.0.2.7", protocol) is None
        clock.now += 0.006
    assert clock.waits == [0.004] * 3
    assert await one.wait("192.0.2.8", "SSH") is None  # all addresses together
    refused = await one.wait("192.0.2.9", "SSH")
    assert refused is not None
    assert refused.rule == "common.rate_limiters[0]"
    assert not len(one.limiters[1])


async def test_the_allow_list_of_the_page_is_not_limited(tmp_path: Path) -> None:
    slow: dict[str, object] = {**LIMITERS[1], "average": 1, "protocols": ["SSH"], "allow_list": ALLOW_LIST}
    one, clock = defence(tmp_path, [slow])
    for address in ("192.0.2.1", "192.168.1.77", "2001:db8::68", "2001:db8:1234:5::6"):
        for _ in range(5):
            assert await one.wait(address, "SSH") is None
    assert clock.waits == []
    assert await one.wait("192.0.2.2", "SSH") is None
    refused = await one.wait("192.0.2.2", "SSH")
    assert refused is not None
    assert refused.rule == "common.rate_limiters[0]"
