# SPDX-License-Identifier: Apache-2.0
"""The series of one moment as families of prometheus_client (docs/reference/metrics.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.samples import Exemplar

from tidegate.events.kinds import Transferred
from tidegate.metrics.counts import EventCounts
from tidegate.metrics.gauges import Gauges
from tidegate.metrics.histogram import Example, Histogram
from tidegate.metrics.history import MovedBytes
from tidegate.metrics.known_names import known_series
from tidegate.metrics.measures import Measures
from tidegate.model.action import DIRECTIONS

OURS: Final = "tidegate"
THEIRS: Final = "sftpgo"

_MAX_ID: Final = 64
"""Characters of a connection's id; OpenMetrics allows 128 for all labels of an exemplar."""
_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


class Families:
    """Makes families again and again for one server.

    Args:
        measures: what was counted.
        sftpgo: also export the names of SFTPGo.
    """

    def __init__(self, measures: Measures, *, sftpgo: bool = False) -> None:
        self._measures = measures
        self.sftpgo = sftpgo
        self._moved = MovedBytes(measures.events)
        self._refused: Counter[tuple[str, str]] = Counter()

    def collect(self, gauges: Gauges) -> list[Metric]:
        """Every family, as of now."""
        measures = self._measures
        events = measures.events
        known = list(known_series(events, measures.storage, gauges))
        found = []
        for prefix in (OURS, THEIRS) if self.sftpgo else (OURS,):
            for one in known:
                name = f"{prefix}_{one.name}"
                if one.gauge:
                    found.append(_family(name, one.text, "gauge", [({}, one.value)]))
                elif name.endswith("_total"):
                    found.append(_counter(name, one.text, [({}, one.value, None)]))
                else:
                    found.append(_family(name, one.text, "unknown", [({}, one.value)]))
        found += self._transfers(events, gauges)
        found += _logins(events)
        found.append(self._refusals(events, gauges))
        found += _outside(measures)
        found += _state(gauges)
        return found

    def _transfers(self, events: EventCounts, gauges: Gauges) -> Iterator[Metric]:
        names = "direction", "status", "storage", "protocol"
        rows = [
            (dict(zip(names, (DIRECTIONS[key[0]], *key[1:]), strict=True)), count)
            for key, count in events.transfers.items()
        ]
        yield _counter(
            "tidegate_transfers_total",
            "Transfers that ended.",
            [(labels, count.number, _example(count.last)) for labels, count in rows],
        )
        yield _counter(
            "tidegate_transfer_bytes_total",
            "Bytes of transfers that ended.",
            [(labels, count.size, None) for labels, count in rows],
        )
        yield _counter(
            "tidegate_moved_bytes_total",
            "Bytes moved, those of transfers in flight included.",
            [
                ({"direction": name}, value, None)
                for name, value in self._moved.totals(gauges.in_flight).items()
            ],
        )
        yield _histograms(
            "tidegate_first_byte_seconds",
            "Time from the open file to the first bytes of a download.",
            [({"storage": storage}, histogram) for storage, histogram in events.first_byte.items()],
        )
        yield _histograms(
            "tidegate_operation_seconds",
            "Time of operations on files other than transfers; of stat a share is timed and stands for all.",
            [({"operation": key[0], "storage": key[1]}, one) for key, one in events.operations.items()],
        )

    def _refusals(self, events: EventCounts, gauges: Gauges) -> Metric:
        """Each refusal, those that a flood has kept from being told too; never fewer than before."""
        now: Counter[tuple[str, str]] = Counter()
        for rule, number in gauges.untold.items():
            now["connection", events.rule_of(rule)] += number
        for key, one in events.refused.items():
            now[key] += one.number
        self._refused |= now
        return _counter(
            "tidegate_refusals_total",
            "Refusals by the step that refused and the rule that decided.",
            [
                (
                    {"step": key[0], "rule": key[1]},
                    number,
                    events.refused[key].last if key in events.refused else None,
                )
                for key, number in self._refused.items()
            ],
        )


def _logins(events: EventCounts) -> Iterator[Metric]:
    yield _counter(
        "tidegate_logins_total",
        "Logins that were judged.",
        [({"method": method, "result": "ok"}, number, None) for method, number in events.logins.items()]
        + [({"method": name, "result": "refused"}, n, None) for name, n in events.refused_logins.items()],
    )
    yield _histograms(
        "tidegate_login_seconds",
        "Time that judging an accepted login took.",
        [({"method": method}, histogram) for method, histogram in events.login_seconds.items()],
    )
    for name, text, label, counts in (
        ("connections", "Connections that came.", "protocol", events.connections),
        ("disconnections", "Connections that ended, by who ended them.", "by", events.disconnected),
        ("request_failures", "Requests that failed and that no rule refused.", "cause", events.failed),
        ("bans", "Addresses that were banned.", "reason", events.banned),
        ("quota_marks", "Marks of quotas that were crossed.", "limit", events.quota_marks),
    ):
        rows = [({label: key}, number, None) for key, number in counts.items()]
        yield _counter(f"tidegate_{name}_total", text, rows)
    yield _counter(
        "tidegate_connection_seconds_total",
        "Time that connections that ended were open.",
        [({}, events.open_seconds, None)],
    )


def _outside(measures: Measures) -> Iterator[Metric]:
    for name, text, labels, timings in (
        ("storage_request", "requests to storage services", ("storage", "operation"), measures.storage),
        ("hook", "calls of hooks", ("hook", "kind"), measures.hooks),
    ):
        yield _histograms(
            f"tidegate_{name}_seconds",
            f"Time of {text}.",
            [(dict(zip(labels, key, strict=True)), one) for key, one in timings.seconds.items()],
        )
        yield _counter(
            f"tidegate_{name}_errors_total",
            f"Failed {text}.",
            [
                (dict(zip(labels, key, strict=True)), timings.failed.get(key, 0), None)
                for key in timings.seconds
            ],
        )
    yield _histograms("tidegate_event_loop_lag_seconds", "Delay of the event loop.", [({}, measures.lag)])


def _state(gauges: Gauges) -> Iterator[Metric]:
    def rows(label: str, values: Mapping[str, float]) -> list[tuple[dict[str, str], float]]:
        return [({label: name}, value) for name, value in values.items()]

    doors = gauges.doors
    yield _family("tidegate_build_info", "The running version.", "gauge", [({"version": gauges.version}, 1)])
    for name, text, values in (
        ("tidegate_door_up", "1 while a door accepts connections.", {one.name: one.active for one in doors}),
        (
            "tidegate_door_connections",
            "Open connections of a door.",
            {one.name: one.connections for one in doors},
        ),
    ):
        yield _family(name, text, "gauge", rows("door", values))
    yield _counter(
        "tidegate_unauthenticated_cpu_seconds_total",
        "Processor time of the event loop for clients that had not logged in.",
        [({}, gauges.strangers, None)],
    )
    yield _counter(
        "tidegate_http_responses_total",
        "Answers by the class of their status code.",
        [
            ({"door": door.name, "code": code}, number, None)
            for door in doors
            for code, number in zip(_CLASSES, door.answers, strict=False)
        ],
    )
    sessions = rows("protocol", gauges.sessions)
    yield _family("tidegate_sessions", "Sessions that are logged in.", "gauge", sessions)
    flight = rows("direction", {name: pair[0] for name, pair in gauges.in_flight.items()})
    yield _family("tidegate_transfers_in_flight", "Transfers in flight.", "gauge", flight)
    yield _family("tidegate_queue_length", "What waits in a queue.", "gauge", rows("queue", gauges.queues))
    resources = gauges.resources
    used = rows("resource", {one.name: one.used for one in resources})
    yield _family("tidegate_resource_used", "Units in use of what peers can use up.", "gauge", used)
    most = rows("resource", {one.name: one.most for one in resources if one.most})
    yield _family("tidegate_resource_limit", "Its limit.", "gauge", most)
    yield _family(
        "tidegate_check_up", "1 while a health check finds nothing.", "gauge", rows("check", gauges.checks)
    )
    yield _family(
        "tidegate_certificate_expiry_timestamp_seconds",
        "The time at which a certificate ends.",
        "gauge",
        rows("certificate", gauges.certificates),
    )


# -- families of prometheus_client -------------------------------------------------------------------------


def _family(name: str, text: str, kind: str, rows: Iterable[tuple[dict[str, str], float]]) -> Metric:
    metric = Metric(name, text, kind)
    for labels, value in rows:
        metric.add_sample(name, labels, float(value))
    return metric


def _counter(name: str, text: str, rows: Iterable[tuple[dict[str, str], float, Example | None]]) -> Metric:
    metric = Metric(name.removesuffix("_total"), text, "counter")
    for labels, value, example in rows:
        metric.add_sample(name, labels, float(value), exemplar=_exemplar(example))
    return metric


def _histograms(name: str, text: str, rows: Iterable[tuple[dict[str, str], Histogram]]) -> Metric:
    metric = Metric(name, text, "histogram")
    for labels, histogram in rows:
        number = 0
        for index, bound in enumerate((*map(str, histogram.bounds), "+Inf")):
            number += histogram.counts[index]
            exemplar = _exemplar(histogram.examples.get(index))
            metric.add_sample(f"{name}_bucket", {**labels, "le": bound}, number, exemplar=exemplar)
        metric.add_sample(f"{name}_count", labels, number)
        metric.add_sample(f"{name}_sum", labels, histogram.total)
    return metric


def _example(event: Transferred | None) -> Example | None:
    return None if event is None else (event.origin.connection_id, float(event.size), event.at)


def _exemplar(example: Example | None) -> Exemplar | None:
    if example is None or not example[0]:
        return None
    connection_id, value, at = example
    return Exemplar({"connection_id": connection_id[:_MAX_ID]}, value, at)
