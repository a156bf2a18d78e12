# SPDX-License-Identifier: Apache-2.0
"""Generated requests for every operation of the description: never a fault of ours, always the shape we said."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.support.web_world import web_world

EXAMPLES = 4
"""For each operation; with a fixed seed the same every time."""

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
SKIPPED = {("GET", "/api/v2/logout")}
"""Would end the run's own token."""


@pytest.mark.timeout(240)
async def test_generated_requests(tmp_path: Path):
    async with web_world(tmp_path) as world:
        await world.client.post("/api/v2/users", json=world.user("u"))
        document = (await world.client.get("/openapi.json")).json()
        headers = {"Authorization": world.client.headers["authorization"]}
        done = await asyncio.to_thread(_run, document, world.url, headers)
        assert done >= 40
        assert (await world.client.get("/healthz")).text == "ok"


def _run(document: dict[str, Any], url: str, headers: dict[str, str]) -> int:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    done = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if (operation.method.upper(), operation.path) in SKIPPED:
            continue

        @seed(20261122)
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=st.one_of(operation.as_strategy()))
        def probe(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=list(CHECKS), timeout=10)

        probe()
        done += 1
    return done
