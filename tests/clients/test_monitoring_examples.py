# SPDX-License-Identifier: Apache-2.0
"""The files of examples/monitoring: promtool is content, and a real Prometheus answers every query of them."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.object_servers import ObjectServer
from tests.support.ports import free_port
from tests.support.programs import sftp
from tests.support.prometheus import Prometheus, prometheus, promtool
from tests.support.running import running

from tidegate.model import StorageConfig

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "monitoring"
RULES = EXAMPLES / "tidegate.rules.yml"
SECONDS = 90
"""Until each panel has data; it takes two turns of the clients, which take some seconds under load."""


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


def has_data(there: Prometheus, query: str) -> bool:
    """True if a query has a series with a number."""
    return any(math.isfinite(float(one["value"][1])) for one in there.query(query))


@pytest.mark.needs("sftp")
def test_a_prometheus_that_scraped_a_server_has_data_for_every_panel(
    seaweedfs_server: ObjectServer, tmp_path: Path
) -> None:
    """Rates and quantiles are numbers only while something happens: clients work until each panel has shown one."""
    port = free_port()
    (tmp_path / "f").write_text("x" * 5000)
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o700)
    settings = {"telemetry": {"bind_port": port}, "common": {"post_connect_hook": str(hook)}}
    bucket = seaweedfs_server.options(seaweedfs_server.bucket())
    with running(tmp_path / "server", settings=settings) as server:
        permissions = {"/": ("*",), "/shut": ("list",)}
        person = server.account(permissions=permissions)
        (person.home / "shut").mkdir()
        far = server.account(filesystem=StorageConfig("s3", {"s3config": bucket}), home_dir="")
        wrong = {**bucket, "access_secret": "a wrong one"}
        barred = server.account(filesystem=StorageConfig("s3", {"s3config": wrong}), home_dir="")

        def work() -> None:
            sftp(
                person, "put f f", "get f back", "rename f g", "-put f /shut/f", "ls -l", "rm g", cwd=tmp_path
            )
            sftp(far, "put f f", "get f back", "ls -l", "rm f", cwd=tmp_path)
            sftp(barred, "-ls /none", cwd=tmp_path)

        with prometheus(tmp_path / "prometheus", f"127.0.0.1:{port}", RULES) as there:
            there.wait("tidegate_build_info")
            waiting = [
                query.replace("$__rate_interval", "2m").replace("$instance", ".*")
                for query in dashboard_queries()
            ]
            assert len(waiting) > 15
            deadline = time.monotonic() + SECONDS
            while waiting:
                assert time.monotonic() < deadline, waiting
                work()
                waiting = [query for query in waiting if not has_data(there, query)]
            there.wait('tidegate_operation_seconds_count{operation="list", storage="local"} >= 1')
            there.wait('tidegate:moved_bytes:rate5m{direction="in"} > 0')
            there.wait("tidegate_event_loop_lag_seconds_count > 0")
            queues = {one["metric"]["queue"] for one in there.query("tidegate_queue_length")}
            assert "events" in queues, queues
            for rule in rules():
                there.query(rule["expr"])
            firing = {one["labels"]["alertname"] for one in there.get("alerts")["alerts"]}
            assert "TidegateDown" not in firing
            # By an exemplar a figure is followed to the log.
            told = {line["connection_id"] for line in server.lines("Upload") + server.lines("Download")}
            for series in ("tidegate_transfers_total", "tidegate_first_byte_seconds_bucket"):
                found = there.get("query_exemplars", query=series, start="0", end="9999999999")
                ids = {one["labels"]["connection_id"] for series in found for one in series["exemplars"]}
                assert ids and ids <= told, series
