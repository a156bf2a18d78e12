# SPDX-License-Identifier: Apache-2.0
"""The recorded walk of SFTPGo's REST API, replayed: status codes, and the fields that scripts read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.web_world import ADMIN, PASSWORD, WebWorld

from tidegate.testing.replay import Case, cases, differences

RECORDED = Path(__file__).parent.parent / "data" / "recorded"
LASTING = {
    r" limit=(0|501)$| offset=-1$": (400, "what a page cannot be is said, not corrected"),
    r", other name in body$": (
        400,
        "a body for another name is a mistake of the caller; SFTPGo heeds the path",
    ),
    r"^users: unknown JSON field$": (400, "a key that is not known is a typing mistake; its name is told"),
    r"^users: bad CIDR$": (201, "an address alone is the network of that one host"),
    r"^users: missing (group|role)$": (400, "a group or role that there is not is a mistake of the caller"),
    r"^users: missing folder$": (400, "a mistake of the caller is no error of the server"),
}
"""Steps whose status differs for good; docs/explanation/compare-with-sftpgo.md tells the same."""
OWN = re.compile(r"(^|\.|\])(id|version|features|password)(:|$)")
"""Fields of each server's own: numbers of rows, its version, the hash it makes."""


async def answer(world: WebWorld, case: Case) -> tuple[int, Any]:
    method, path = case.step.split(" ")
    headers = dict(case.given.get("headers_sent", {}))
    options: dict[str, Any] = {"json": case.given["body"]} if "body" in case.given else {}
    if "broken JSON" in case.given["what"]:
        options = {"content": b'{"name": '}
    who = case.given["as"]
    if who == "admin":
        reply = await world.client.request(method, path, headers=headers, **options)
        return reply.status_code, _content(reply)
    async with world.anonymous() as client:
        if who.startswith("a:"):
            name = who.removeprefix("a:")
            headers["Authorization"] = f"Bearer {await world.token(name, f'pw-{name}-1')}"
        if who == "Basic auth":
            wrong = "wrong" in case.given["what"]
            options["auth"] = (ADMIN, "no" if wrong else PASSWORD)
        elif who.startswith("Bearer "):
            headers["Authorization"] = who
        reply = await client.request(method, path, headers=headers, **options)
        return reply.status_code, _content(reply)


def _content(reply: Any) -> Any:
    kind = reply.headers.get("content-type", "")
    return reply.json() if kind.startswith("application/json") else reply.text


async def test_the_walk(world: WebWorld) -> None:
    found: list[str] = []
    used: set[tuple[int, str]] = set()
    for case in cases(RECORDED / "2.7.5-rest.jsonl"):
        status, content = await answer(world, case)
        reason = next(
            (pair for pattern, pair in LASTING.items() if re.search(pattern, case.given["what"])), None
        )
        if reason is not None:
            used.add(reason)
            assert status == reason[0], case
            continue
        lines = (
            [] if status == case.expected["status"] else [f"status {status}, not {case.expected['status']}"]
        )
        if status == case.expected["status"] < 400:
            told = differences(case.expected["answer"], content)
            lines += [line for line in told if not OWN.search(line.partition(": ")[0])]
        found += [
            f"{case.place} {case.given['what']}: {case.step}: {line} ({str(content)[:90]})" for line in lines
        ]
    assert found == []
    assert used == set(LASTING.values())
