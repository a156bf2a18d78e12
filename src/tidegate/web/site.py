# SPDX-License-Identifier: Apache-2.0
"""The application of the HTTP door: the REST API, and pages, which the first request for one loads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.types import Receive, Scope, Send

from tidegate.model import http_scope
from tidegate.web.api import application as api

if TYPE_CHECKING:
    from tidegate.web.admin.application import Pages

ADMIN: Final = "/web/admin"
"""Path of the pages for administrators."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the site that a binding serves.

    Attributes:
        rest: the REST API.
        description: its description.
        admin: pages for administrators.
        metrics: ``/metrics``.
    """

    rest: bool = True
    description: bool = True
    admin: bool = True
    metrics: bool = False

    def serves(self, path: str) -> bool:
        """True if a path is served."""
        if path == ADMIN or path.startswith(f"{ADMIN}/"):
            return self.admin
        if path in ("/", "/web") and self.admin:
            return True
        if path == "/metrics":
            return self.metrics
        return api.serves(path, rest=self.rest, description=self.description)


class Site:
    """The ASGI application of the HTTP door.

    Args:
        rest: the REST API, whose `state.services` all handlers use.
        load: makes the pages; called once, in a thread.
    """

    def __init__(self, rest: FastAPI, load: Callable[[], Pages]) -> None:
        self._rest: Final = rest
        self._load: Final = load
        self._pages: Pages | None = None
        self._loading: Final = asyncio.Lock()

    @property
    def state(self) -> Any:
        """The state of the REST API."""
        return self._rest.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        if path == ADMIN or path.startswith(f"{ADMIN}/"):
            await (self._pages or await self._loaded())(scope, receive, send)
        elif path in ("/", "/web") and cast("Parts", scope[http_scope.BINDING]).admin:
            answer = RedirectResponse(f"{ADMIN}/", 307, headers={"Cache-Control": "no-store"})
            await answer(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    def end_streams(self) -> None:
        """Let answers that go on end, so that the door can stop."""
        if self._pages is not None:
            self._pages.end_streams()

    async def close(self) -> None:
        """End what the pages started."""
        if self._pages is not None:
            await self._pages.close()

    async def _loaded(self) -> Pages:
        async with self._loading:
            if self._pages is None:
                self._pages = await asyncio.to_thread(self._load)
            return self._pages
