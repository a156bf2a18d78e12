# SPDX-License-Identifier: Apache-2.0
"""The files of examples/monitoring: promtool is content, and a real Prometheus answers every query of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.ports import free_port
from tests.support.programs import sftp
from tests.support.prometheus import prometheus, promtool
from tests.support.running import running

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "monitoring"
RULES = EXAMPLES / "tidegate.rules.yml"
QUIET = {"tidegate_storage_request_seconds", "tidegate_storage_request_errors", "tidegate_hook_seconds"}
"""Series that a server without buckets and hooks does not have."""


def dashboard_queries() -> list[str]:
    document = json.loads((EXAMPLES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in document["panels"] for target in panel["targets"]]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_promtool_is_content_with_the_configuration_and_the_rules() -> None:
    promtool("check", "config", EXAMPLES / "prometheus.yml")
    promtool("check", "rules", RULES)
    promtool("test", "rules", EXAMPLES / "tidegate.rules.test.yml")


def test_every_series_of_the_examples_is_in_the_reference() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    text = " ".join([*dashboard_queries(), *(rule["expr"] for rule in rules())])
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\btidegate_\w+", text)}

    assert len(named) > 15
    assert {name for name in named if f"| `{name}` |" not in page} == set()


@pytest.mark.needs("sftp")
def test_a_prometheus_that_scraped_a_server_answers_every_query(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "f").write_text("x" * 5000)
    with running(tmp_path / "server", settings={"telemetry": {"bind_port": port}}) as server:
        person = server.account()
        with prometheus(tmp_path / "prometheus", f"127.0.0.1:{port}", RULES) as there:
            there.wait("tidegate_build_info")
            sftp(person, "put f f", "get f back", "rename f g", "ls -l", "rm g", cwd=tmp_path)
            there.wait('tidegate_transfers_total{direction="out", status="ok"} == 1')
            there.wait("rate(tidegate_operation_seconds_count[10s])")
            there.wait('tidegate_operation_seconds_count{operation="list", storage="local"} >= 1')
            there.wait('tidegate:moved_bytes:rate5m{direction="in"} > 0')

            empty = []
            for query in dashboard_queries():
                asked = query.replace("$__rate_interval", "10s").replace("$instance", ".*")
                if not there.query(asked) and not any(name in query for name in QUIET):
                    empty.append(query)
            # Nothing was refused on this server.
            assert [query for query in empty if "tidegate_refusals_total" not in query] == []
            for rule in rules():
                there.query(rule["expr"])
            firing = {one["labels"]["alertname"] for one in there.get("alerts")["alerts"]}
            assert "TidegateDown" not in firing
            found = there.get(
                "query_exemplars", query="tidegate_transfers_total", start="0", end="9999999999"
            )
            ids = {one["labels"]["connection_id"] for series in found for one in series["exemplars"]}
            assert ids <= {
                line["connection_id"] for line in server.lines("Upload") + server.lines("Download")
            }
            assert ids
