# SPDX-License-Identifier: Apache-2.0
"""A Tidegate that measures its own metrics: what runs only because of them is timed, in the thread that runs it.

``python bench/counted_server.py SOCKET serve ...``; who connects to the socket is told so far, as four numbers:
nanoseconds of counting, nanoseconds of answering scrapes, the number of scrapes, nanoseconds of the whole process.
"""

from __future__ import annotations

import functools
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

spent = {"counts": 0, "scrapes": 0}
scrapes: list[int] = [0]


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

    setattr(owner, name, outer)


class Told(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        words = spent["counts"], spent["scrapes"], scrapes[0], time.process_time_ns()
        self.request.sendall(" ".join(map(str, words)).encode())


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

    # None of these calls another of them. The turn of the loop around `_drain` is not seen.
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
