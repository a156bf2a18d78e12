# SPDX-License-Identifier: Apache-2.0
"""Limits as they are in force, what of them is used, and how often each has refused somebody."""

from __future__ import annotations

from starlette.responses import Response

from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.visit import Visit


async def show(visit: Visit) -> Response:
    """The tables."""
    facts = await visit.services.facts()
    refusals = facts.refusals()
    context = {
        "limits": facts.limits(visit.services.loaded),
        "refusals": list(refusals.items()),
        "refused": sum(refusals.values()),
    }
    return visit.html("limits.html", context)


PAGES = (
    Page(
        path="/limits",
        show=show,
        needs="view_defender",
        nav=Nav(group="Defence", label="Limits", icon="gauge", order=30),
    ),
)
