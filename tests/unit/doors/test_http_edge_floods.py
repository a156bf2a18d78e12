# SPDX-License-Identifier: Apache-2.0
"""Clients that are refused by their address: some are answered, more than that are closed unread."""

from __future__ import annotations

from typing import Any

from tidegate.defence.pipeline import Defence, DefenceOptions
from tidegate.doors.http.edge import ANSWERS, EdgeMiddleware, EdgeOptions
from tidegate.model.address_list import AddressList

BANNED, FRIEND, PROXY = "192.0.2.1", "192.0.2.2", "198.51.100.1"


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def asked(edge: EdgeMiddleware, ip: str, *headers: tuple[bytes, bytes]) -> int:
    codes: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            codes.append(message["status"])

    scope = {
        "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "scheme": "http",
        "http_version": "1.1", "headers": list(headers), "client": (ip, 4000), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await edge(scope, receive, send)  # type: ignore[arg-type]
    return codes[0]


async def test_a_flood_is_answered_up_to_a_bound_and_then_closed_unread() -> None:
    now, told = 1000.0, []
    defence = Defence(
        DefenceOptions(), turned=lambda ip, protocol, refusal: told.append((ip, protocol, refusal.rule))
    )
    defence.defender.ban(BANNED, 2e12)
    edge = EdgeMiddleware(
        nobody,
        EdgeOptions(proxies=AddressList((PROXY,)), header="x-forwarded-for"),
        defence,
        monotonic=lambda: now,
    )
    forwarded = (b"x-forwarded-for", BANNED.encode())
    for _ in range(int(ANSWERS)):
        assert not edge.turns_away(BANNED)
        assert await asked(edge, BANNED) == 403
    before = defence.refusals.total()
    assert edge.turns_away(BANNED)
    assert defence.refusals.total() == before + 1
    assert told[0] == (BANNED, "HTTP", "common.defender") and sum(defence.untold.values()) == ANSWERS
    assert not edge.turns_away(FRIEND) and await asked(edge, FRIEND) == 200
    assert not edge.turns_away(PROXY)  # has requests of others, who are asked about one by one
    assert await asked(edge, PROXY, forwarded) == 403
    now += 3 / ANSWERS
    assert not edge.turns_away(BANNED)
    assert await asked(edge, BANNED) == 403
    now += 60
    assert not edge.turns_away(BANNED)
