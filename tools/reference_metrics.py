# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  prose
"""The reference page of metrics, made by exporting one of everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegate.events import kinds
from tidegate.metrics.families import Families
from tidegate.metrics.gauges import DoorGauge, Gauges, Resource
from tidegate.metrics.known_names import known_series
from tidegate.metrics.measures import Measures
from tidegate.model import Action, Origin

TYPES = {"unknown": "counter, untyped"}


def page() -> str:
    """The page, without its head."""
    families = list(_families())
    measures = Measures(_nothing)
    known = {
        f"tidegate_{one.name}" for one in known_series(measures.events, measures.storage, Gauges(version=""))
    }
    text = (
        "# Metrics\n\n"
        "`/metrics` of the listener that section `telemetry` opens, and of the HTTP server where "
        "`httpd.bindings[].enable_metrics` is on. Who accepts OpenMetrics gets it, with exemplars: the id of a connection "
        "beside a count, by which the log tells the story ([Monitor a server](../how_to/monitor.md)). Others get Prometheus' "
        "text format 0.0.4. Besides what stands here there are `process_*` and `python_*` of the Prometheus client.\n\n"
        "No label holds the name of a user, a path or an address. A label has 200 values at most; what comes then is `other`.\n\n"
        "Counts begin at 0 when the server starts. Refusals that the log holds back, because there are too many, are counted.\n\n"
        "## Series\n\n| series | type | labels | meaning |\n|---|---|---|---|\n"
    )
    text += "".join(_row(*one) for one in families if one[0] not in known)
    text += (
        "\n## Series that SFTPGo has\n\n"
        "The same meaning under the same name after `tidegate_`. With `telemetry.sftpgo_metrics` they are exported under "
        "`sftpgo_` too, so that dashboards for SFTPGo go on working. Some counters of these do not end in `_total`, "
        "which OpenMetrics asks of counters: their type is untyped.\n\n"
        "| series | type | labels | meaning |\n|---|---|---|---|\n"
    )
    return text + "".join(_row(*one) for one in families if one[0] in known)


def _row(name: str, kind: str, labels: str, text: str) -> str:
    return f"| `{name}` | {TYPES.get(kind, kind)} | {labels} | {text} |\n"


def _families() -> Iterator[tuple[str, str, str, str]]:
    for family in Families(_one_of_each()).collect(_state()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        yield name, family.type, ", ".join(f"`{label}`" for label in labels), family.documentation


async def _nothing(sink: Any) -> None:
    del sink


def _one_of_each() -> Measures:
    measures = Measures(_nothing)
    origin = Origin(connection_id="c", username="u", ip="192.0.2.1", protocol="SFTP")
    for event in (
        kinds.Transferred(origin, 1.0, Action.DOWNLOAD, storage="local", first_byte=0.1),
        kinds.Operated(origin=origin, action=Action.RENAME, storage="local"),
        kinds.LoggedIn(origin=origin, method="password", elapsed=0.1),
        kinds.LoginFailed(origin=origin, login_type="password", reason="bad_credential"),
        kinds.Refused(origin=origin, rule="permissions"),
        kinds.Connected(origin=origin),
        kinds.Disconnected(origin=origin),
        kinds.Failed(origin=origin, rule="storage"),
        kinds.Banned(origin=origin, reason="score_invalid"),
        kinds.QuotaWarning(origin=origin, limit="quota_size"),
    ):
        measures.events.handle_nowait(event)
    measures.storage.observe("s3", "head_object", 0.1, ok=False)
    measures.hooks.observe("pre_login", "http", 0.1, ok=False)
    return measures


def _state() -> Gauges:
    return Gauges(
        version="1",
        doors=(DoorGauge("http", True, 1, (0,) * 6),),
        sessions={"SFTP": 1},
        in_flight={"in": (1, 1)},
        queues={"events": 0},
        resources=(Resource("handles", 1, 2),),
        checks={"data_provider": True},
        certificates={"telemetry": 1.0},
    )
