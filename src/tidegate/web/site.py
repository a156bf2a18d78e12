# SPDX-License-Identifier: Apache-2.0
"""The application of the HTTP door: the REST API; pages and the old API are loaded by the first request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from fastapi import FastAPI
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import Receive, Scope, Send

from tidegate.model import http_scope
from tidegate.web.api import application as api

if TYPE_CHECKING:
    from tidegate.web.admin.application import Pages
    from tidegate.web.v1.application import OldApi

ADMIN: Final = "/web/admin"
"""Path of the pages for administrators."""
OLD: Final = "/api/v1"
"""Path of the API of SFTPGo's 0.9 generation."""
OLD_IS_OFF: Final = (
    "the API of SFTPGo 0.9 (/api/v1) is off here: httpd.bindings[].enable_rest_api_v1 = true switches it on, "
    "/api/v2 is the API of today"
)
"""The answer below `OLD` where it is off."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the site that a binding serves.

    Attributes:
        rest: the REST API.
        description: its description.
        admin: pages for administrators.
        metrics: ``/metrics``.
        old: the API of SFTPGo's 0.9 generation.
    """

    rest: bool = True
    description: bool = True
    admin: bool = True
    metrics: bool = False
    old: bool = False

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
        load_old: makes the old API; likewise.
    """

    def __init__(self, rest: FastAPI, load: Callable[[], Pages], load_old: Callable[[], OldApi]) -> None:
        self._rest: Final = rest
        self._load: Final = load
        self._load_old: Final = load_old
        self._old: OldApi | None = None
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
        elif path == OLD or path.startswith(f"{OLD}/"):
            await self._old_api(scope, receive, send)
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

    async def _old_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not cast("Parts", scope[http_scope.BINDING]).old:
            document = {"error": OLD_IS_OFF, "message": "Not Found", "status": 404}
            await JSONResponse(document, 404)(scope, receive, send)
            return
        async with self._loading:
            if self._old is None:
                self._old = await asyncio.to_thread(self._load_old)
        await self._old(scope, receive, send)

    async def _loaded(self) -> Pages:
        async with self._loading:
            if self._pages is None:
                self._pages = await asyncio.to_thread(self._load)
            return self._pages
