# SPDX-License-Identifier: Apache-2.0
"""The ASGI application of the pages: finds the page, the session and the form, and answers failures."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from tidegate.errors import Denied, LoginRefused, NotFound, ProviderUnavailable, TidegateError
from tidegate.identity.admins import Throttled
from tidegate.model.http_scope import FOREIGN, WHO, crashed
from tidegate.policy.second_factor import has_factor
from tidegate.web.admin import registry, rendering, sessions
from tidegate.web.admin.forms import TOKEN, TOKEN_HEADER, Form, read_form, read_upload
from tidegate.web.admin.live import Sampler
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import BASE, url
from tidegate.web.admin.upkeep import Upkeep
from tidegate.web.admin.visit import HEADERS, Visit, login_url
from tidegate.web.api.services import Services
from tidegate.web.api.status import code_of

OWN_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Policy of an operator's files that are opened by themselves: an image in SVG runs no script."""
YEAR: Final = "public, max-age=31536000, immutable"

_NO_PAGE: Final = Page(path="")
_log = logging.getLogger(__name__)


class Pages:
    """The pages for administrators.

    Args:
        services: of this server; asked for at each request, since a reload replaces them.
        sampler: figures that pages show; started by the first administrator who looks.
        setup_code: guards the first set-up.
        look: templates and files; asked for at each request, likewise.
    """

    def __init__(
        self,
        services: Callable[[], Services],
        sampler: Sampler,
        setup_code: Callable[[], str],
        look: Callable[[], rendering.Look] = rendering.standard,
    ) -> None:
        self._services = services
        self._sampler = sampler
        self._setup_code = setup_code
        self._upkeep = Upkeep()
        self._look = look
        look()
        self._paths = [(compile_path(page.path), page) for page in registry.all_pages()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        path = scope["path"]
        response: ASGIApp
        if path.startswith(f"{BASE}/assets/"):
            response = self._asset(request, path)
        elif path == BASE:
            response = RedirectResponse(f"{BASE}/", 308, headers=HEADERS)
        else:
            response = await self._answer(request)
        await response(scope, receive, send)

    def end_streams(self) -> None:
        """Let every stream end."""
        self._sampler.end_streams()

    async def close(self) -> None:
        """End what goes on."""
        self._upkeep.close()
        await self._sampler.close()

    def _asset(self, request: Request, path: str) -> Response:
        version, _, name = path.removeprefix(f"{BASE}/assets/").partition("/")
        assets = self._look().assets
        asset = assets.by_name.get(name)
        if asset is None or request.method not in ("GET", "HEAD"):
            return Response(status_code=404)
        # What an older or newer server of several has written into a page is not kept for long.
        headers = {"Cache-Control": YEAR if version == assets.version else "no-cache"}
        headers |= {"Content-Type": asset.media_type, "Cross-Origin-Resource-Policy": "same-origin"}
        if asset.own:
            headers["Content-Security-Policy"] = OWN_POLICY
        content = asset.content
        if asset.packed and "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["Content-Encoding"] = asset.packed, "gzip"
        if asset.packed:
            headers["Vary"] = "Accept-Encoding"
        headers["Content-Length"] = str(len(content))
        return Response(content if request.method == "GET" else b"", headers=headers)

    def _find(self, path: str) -> tuple[Page, dict[str, object]]:
        for (pattern, _, convertors), page in self._paths:
            if match := pattern.match(path):
                parts = match.groupdict()
                return page, {name: convertors[name].convert(text) for name, text in parts.items()}
        return _NO_PAGE, {}

    async def _answer(self, request: Request) -> Response:
        services = self._services()
        page, parameters = self._find(request.scope["path"].removeprefix(BASE))
        request.scope["path_params"] = parameters
        visit = Visit(
            request=request,
            services=services,
            page=page,
            sampler=self._sampler,
            upkeep=self._upkeep,
            setup_code=self._setup_code,
            form=Form(),
            look=self._look(),
        )
        try:
            session = await sessions.find(request, services, active=not page.streams)
            if session is not None:
                request.scope[WHO] = session.admin.username
            visit = replace(visit, session=session)
            return await self._serve(visit)
        except TidegateError as error:
            return _failed(visit, error)
        except Exception:
            _log.exception("%s %s failed", request.method, request.url.path)
            return visit.refused(crashed(request.scope), status=500, title="The server met a fault")

    async def _serve(self, visit: Visit) -> Response:
        page, request = visit.page, visit.request
        if visit.session is None and not page.open_to_all:
            return _sign_in_first(visit)
        if page is _NO_PAGE:
            raise NotFound(f"there is no page {request.url.path}")
        if visit.session is not None and not page.unsettled and not page.open_to_all:
            if visit.who.filters.require_password_change:
                return visit.go("me", done="Choose a password of your own first.")
            if visit.who.filters.require_two_factor and not has_factor(visit.who.filters):
                return visit.go("me", "codes", done="Set up one-time codes or a passkey first.")
        if visit.session is not None and visit.session.of_file and page.of_records:
            raise Denied("you are a user of httpd.auth_user_file: what belongs to you stands in that file")
        if page.needs:
            visit.require(page.needs)
        match request.method:
            case "GET" | "HEAD" if page.show is not None:
                visit.sampler.wake()
                return await page.show(visit)
            case "POST" if page.act is not None:
                visit = await self._with_form(visit)
                try:
                    return await page.act(visit)
                finally:
                    visit.form.close()
        return visit.refused("this page cannot do that", status=405, title="Not possible here")

    async def _with_form(self, visit: Visit) -> Visit:
        """The visit with its form.

        Raises:
            Denied: the token of the form is not that of the session.
        """
        form = await (read_upload if visit.page.takes_file else read_form)(visit.request)
        if visit.session is not None:
            given = form[TOKEN] or visit.request.headers.get(TOKEN_HEADER, "")
            wanted = sessions.form_token(visit.session.secret)
            if not hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode()):
                form.close()
                raise Denied(
                    "this form belongs to another session; nothing was changed. Load the page again",
                    rule="form_token",
                )
        return replace(visit, form=form)


def _sign_in_first(visit: Visit) -> Response:
    request = visit.request
    where = login_url(request) if request.method == "GET" else url("login")
    if visit.partial or visit.page.streams or request.method not in ("GET", "HEAD"):
        text = "Your session has ended. Nothing was changed; sign in in another tab, then try again."
        return HTMLResponse(
            visit.look.render("session_ended.html", {"text": text, "login": where}), 401, headers=HEADERS
        )
    if request.scope[FOREIGN] and not sessions.secret_of(request):
        # A link from elsewhere comes without the cookie (SameSite=Strict); asked for again by a page of ours
        # it comes with it.
        again = visit.look.render("again.html", {"where": str(request.url.path) + _query(request)})
        return HTMLResponse(again, headers=HEADERS)
    return RedirectResponse(where, 303, headers=HEADERS)


def _query(request: Request) -> str:
    return f"?{request.url.query}" if request.url.query else ""


def _failed(visit: Visit, error: TidegateError) -> Response:
    """The page about a failure that a handler did not answer itself."""
    code = code_of(error)
    match error:
        case Throttled():
            return visit.refused(
                "too many attempts; wait a few minutes", status=429, title="Too many attempts"
            )
        case LoginRefused():
            return visit.refused(
                "the server is busy; nothing was changed, try again", status=503, title="The server is busy"
            )
        case ProviderUnavailable():
            _log.error("%s %s: %s", visit.request.method, visit.request.url.path, error)
            return visit.refused(
                "the data provider does not answer; nothing was changed",
                status=503,
                title="The data provider is away",
                hint="Transfers of users who are logged in go on. The page works again when it does.",
            )
        case Denied():
            permission = error.text.rpartition(" permission ")[2] if error.rule == "permissions" else ""
            hint = f"An administrator with the permission * can give you {permission}." if permission else ""
            return visit.refused(error.text, status=403, title="Not allowed", hint=hint)
        case NotFound():
            return visit.refused(error.text, status=404, title="Not found")
    if code >= 500:
        _log.error("%s %s: %s", visit.request.method, visit.request.url.path, error)
    return visit.refused(error.text, status=code, title="That did not work")
