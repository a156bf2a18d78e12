# SPDX-License-Identifier: Apache-2.0
"""Deliveries of event rules that are not over: those that wait, and those that were given up."""

from __future__ import annotations

from typing import Any, Final, cast

from starlette.responses import Response

from tidegate.errors import NotFound
from tidegate.store.deliveries import State, shown_delivery
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.visit import Visit

NEEDS: Final = "manage_event_rules"
ROWS: Final = 50
MAX_FIRST: Final = 10**6
STATES: Final = (("", "All"), ("waiting", "Waiting"), ("dead", "Given up"))


async def show(visit: Visit) -> Response:
    """The list, the oldest first."""
    store = visit.services.provider.deliveries
    state, given = visit.query("state", longest=16), visit.query("first", longest=8)
    state = state if state in ("waiting", "dead") else ""
    first = min(int(given), MAX_FIRST) if given.isascii() and given.isdigit() else 0
    rows = await store.listing(cast("State | None", state or None), offset=first, limit=ROWS + 1)
    waiting, dead = await store.count("waiting"), await store.count("dead")
    counts = {"": waiting + dead, "waiting": waiting, "dead": dead}
    context = {
        "rows": [shown_delivery(row) for row in rows[:ROWS]],
        "counts": counts,
        "only": state,
        "chips": [
            (url("deliveries", state=value), label, counts[value], value == state) for value, label in STATES
        ],
        "shown": f"{count(first + 1)} to {count(first + len(rows[:ROWS]))} of {count(counts[state])}",
        "before": url("deliveries", state=state, first=max(first - ROWS, 0)) if first else "",
        "after": url("deliveries", state=state, first=first + ROWS) if len(rows) > ROWS else "",
    }
    return visit.html("deliveries.html", context)


async def _meant(visit: Visit) -> list[str] | None:
    """The delivery that the form names; None for all that were given up.

    Raises:
        NotFound: it has arrived meanwhile, or somebody else has dropped it.
    """
    if visit.form["all"] == "dead":
        return None
    wanted = visit.form["id"]
    if await visit.services.provider.deliveries.find(wanted) is None:
        raise NotFound("this delivery has arrived meanwhile, or somebody else has dropped it")
    return [wanted]


def _back(visit: Visit, done: str) -> Response:
    return visit.go("deliveries", state=visit.form["state"], done=done)


async def retry(visit: Visit) -> Response:
    """Send deliveries again now."""
    number = await visit.services.provider.deliveries.retry(await _meant(visit))
    if visit.services.event_rules is not None:
        visit.services.event_rules.wake()
    return _back(visit, f"{_deliveries(number)} tried again.")


async def drop(visit: Visit) -> Response:
    """Forget deliveries: their receivers are never told."""
    number = await visit.services.provider.deliveries.drop(await _meant(visit))
    return _back(visit, f"{_deliveries(number)} dropped.")


async def confirm_drop(visit: Visit) -> Response:
    """The question before every delivery that was given up is dropped."""
    context: dict[str, Any] = {"number": await visit.services.provider.deliveries.count("dead")}
    return visit.html("deliveries_drop.html", context)


def _deliveries(number: int) -> str:
    return "1 delivery is" if number == 1 else f"{count(number)} deliveries are"


PAGES: Final = (
    Page(
        path="/deliveries",
        show=show,
        needs=NEEDS,
        nav=Nav(group="What follows", label="Deliveries", icon="send", order=30),
    ),
    Page(path="/deliveries/retry", act=retry, needs=NEEDS),
    Page(path="/deliveries/drop", show=confirm_drop, act=drop, needs=NEEDS),
)
