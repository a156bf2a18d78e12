# SPDX-License-Identifier: Apache-2.0
"""The first page: whether all is well."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.visit import Visit


async def show(visit: Visit) -> Response:
    """The dashboard; who may not see the state of the server sees that alone."""
    return visit.html("dashboard.html")


PAGES: Final = (
    Page(path="/", show=show, nav=Nav(group="Now", label="Dashboard", icon="gauge", order=10, key="d")),
)
