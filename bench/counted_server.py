# SPDX-License-Identifier: Apache-2.0
"""A Tidegate that measures its own metrics: what runs only because of them is timed, in the thread that runs it.

``python bench/counted_server.py SOCKET serve ...``; who connects to the socket is told so far, as a JSON object:
nanoseconds and calls of counting and of answering scrapes, nanoseconds of the whole process, and what the
measurement itself costs: the nanoseconds that a function which does nothing is charged (`charged`), and those that
timing it adds to the process (`added`). Both are measured in this process, before it serves.
"""

from __future__ import annotations

import functools
import json
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

spent = {"counts": 0, "scrapes": 0, "nothing": 0}
calls = {"counts": 0, "scrapes": 0, "nothing": 0}
scrapes: list[int] = [0]
ROUNDS, CALLS = 50, 400
"""Times that the cost of the measurement is measured, and calls of each time."""


def timed(kind: str, owner: Any, name: str, when: Callable[[Any], bool] = lambda _: True) -> None:
    """Count the time of a function, where its first argument is meant; the cost of counting is in it."""
    inner: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(inner)
    def outer(first: Any, *args: Any, **more: Any) -> Any:
        if not when(first):
            return inner(first, *args, **more)
        began = time.thread_time_ns()
        try:
            return inner(first, *args, **more)
        finally:
            spent[kind] += time.thread_time_ns() - began
            calls[kind] += 1

    setattr(owner, name, outer)


class Nothing:
    """Has a function that is timed and does nothing."""

    _sink = None

    def work(self, event: object) -> None:
        """Do nothing."""


def own_cost() -> dict[str, float]:
    """Nanoseconds that timing charges a function that does nothing, and adds to the process: the least of all rounds.

    The least is the careful choice: whoever subtracts it from what was charged subtracts too little.
    """
    thing, plain, charged, added = Nothing(), [], [], []
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        for _ in range(CALLS):
            thing.work(None)
        plain.append((time.thread_time_ns() - began) / CALLS)
    timed("nothing", Nothing, "work", lambda one: one._sink is None)
    for _ in range(ROUNDS):
        before, began = spent["nothing"], time.thread_time_ns()
        for _ in range(CALLS):
            thing.work(None)
        added.append((time.thread_time_ns() - began) / CALLS)
        charged.append((spent["nothing"] - before) / CALLS)
    # A call without clocks is part of what is measured, and stays in it.
    return {"charged": max(min(charged) - max(min(plain), 0.0), 0.0), "added": min(added) - min(plain)}


class Told(socketserver.BaseRequestHandler):
    """Tells the numbers."""

    own: dict[str, float]

    def handle(self) -> None:
        told = {
            "counts": spent["counts"],
            "calls": calls["counts"],
            "scraped": spent["scrapes"],
            "scrape_calls": calls["scrapes"],
            "scrapes": scrapes[0],
            "whole": time.process_time_ns(),
            **self.own,
        }
        self.request.sendall(json.dumps(told).encode())


def main() -> None:
    from tidegate.cli.main import main as command
    from tidegate.cluster.registry import Registry
    from tidegate.events import bus
    from tidegate.metrics import exposition
    from tidegate.metrics.counts import EventCounts
    from tidegate.metrics.families import Families
    from tidegate.metrics.timings import Timings

    def counts(queue: Any) -> bool:
        return isinstance(queue._sink, EventCounts)

    Told.own = own_cost()
    # None of these calls another of them. The turn of the loop around `_drain` is not seen: one in 20 ms.
    timed("counts", bus._QuickSinkQueue, "put", counts)
    timed("counts", bus._QuickSinkQueue, "_drain", counts)
    timed("counts", EventCounts, "timed")
    timed("counts", Timings, "observe")
    timed("scrapes", Registry, "in_flight")
    timed("scrapes", Families, "collect")
    timed("scrapes", exposition, "_encoded", lambda _: not scrapes.__setitem__(0, scrapes[0] + 1))
    server = socketserver.UnixStreamServer(sys.argv[1], Told)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.argv[1:] = sys.argv[2:]
    command()


if __name__ == "__main__":
    main()
