# SPDX-License-Identifier: Apache-2.0
"""One request for a page: who asks, what they sent, and the ways to answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tidegate.accounts.actor import Actor, Channel
from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import Denied, TidegateError
from tidegate.model import Admin, http_scope
from tidegate.web.admin import rendering, sessions
from tidegate.web.admin.forms import Form
from tidegate.web.admin.registry import Page, navigation
from tidegate.web.admin.rendering import BASE, url
from tidegate.web.api.services import Services

if TYPE_CHECKING:
    from tidegate.web.admin.live import Sampler
    from tidegate.web.admin.upkeep import Upkeep

NOTE: Final = "tidegate_note"
"""Cookie with what the next page tells."""
MAX_NOTE_CHARS: Final = 1_000

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types htmx"
)
"""Content security policy of every page: nothing from elsewhere, nothing written into the page."""

HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Vary": "HX-Request, Cookie",
}

THEMES: Final = ("light", "dark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request for a page.

    Attributes:
        request: as it came.
        services: of this server, as of this moment.
        page: that was asked for.
        sampler: figures of the last hour, and the state of the server.
        upkeep: backups and restores that run, and their outcomes.
        setup_code: guards the first set-up.
        form: what was posted; empty for GET.
        session: of the administrator; None on pages that are open to all.
        look: templates.
    """

    request: Request
    services: Services
    page: Page
    sampler: Sampler
    upkeep: Upkeep
    setup_code: Callable[[], str]
    form: Form
    session: sessions.SignedIn | None = None
    look: rendering.Look = field(default_factory=rendering.standard)

    def with_session(self, session: sessions.SignedIn) -> Visit:
        """The same visit with another state of its session."""
        return replace(self, session=session)

    # -- who asks ----------------------------------------------------------------------------------------

    @property
    def who(self) -> Admin:
        """The administrator; only on pages that are not open to all."""
        assert self.session is not None
        return self.session.admin

    @property
    def ip(self) -> str:
        """The address that the request comes from, proxies taken into account."""
        return str(self.request.scope[http_scope.IP])

    @property
    def actor(self) -> Actor:
        """The administrator as somebody who changes records."""
        return Actor(
            name=self.who.username,
            channel=Channel.PAGE,
            permissions=frozenset(self.who.permissions),
            ip=self.ip,
            admin="" if self.session is not None and self.session.of_file else self.who.username,
            role=self.who.role,
        )

    def may(self, permission: str) -> bool:
        """True if the administrator has a permission."""
        return self.session is not None and (
            EVERYTHING in self.who.permissions or permission in self.who.permissions
        )

    def require(self, permission: str) -> None:
        """Return if the administrator has a permission.

        Raises:
            Denied: they lack it.
        """
        if not self.may(permission):
            raise Denied(f"you lack the permission {permission}", rule="permissions")

    async def own_users(self) -> frozenset[str] | None:
        """Names of the accounts that the administrator may see; None for all."""
        role = self.who.role
        return frozenset(await self.services.provider.role_users(role)) if role else None

    async def still(self) -> Visit | None:
        """The visit as it is now, for what goes on; None if the session has ended. Asking is no use of it."""
        try:
            session = await sessions.find(self.request, self.services, active=False)
        except TidegateError:
            return self  # the provider is away; what was allowed a moment ago stays
        return None if session is None else self.with_session(session)

    # -- what they sent ----------------------------------------------------------------------------------

    @property
    def partial(self) -> bool:
        """True if a script asks for a part of the page (`HX-Request`)."""
        return self.request.headers.get("hx-request") == "true"

    def name(self, key: str = "name") -> str:
        """A part of the path."""
        return str(self.request.path_params[key])

    def query(self, key: str, *, longest: int = 255) -> str:
        """A parameter of the query, empty if it is absent; what is longer is cut."""
        return self.request.query_params.get(key, "")[:longest]

    # -- answers -----------------------------------------------------------------------------------------

    def html(self, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200) -> Response:
        """A page, or a part of one.

        Args:
            template: its file in ``templates``.
            context: values for it, beside those of `common`.
            status: of the answer.
        """
        note = "" if self.partial else self._note()
        values = {**self.common(), "note": json.loads(note) if note else None, **(context or {})}
        response = HTMLResponse(self.look.render(template, values), status, headers=HEADERS)
        if note:
            sessions.forget(self.request, response, NOTE)
        return response

    def common(self) -> dict[str, Any]:
        """Values that every template has."""
        theme = self.request.cookies.get("tidegate_theme", "")
        state = self.sampler.state()
        entries = navigation(self.may) if self.session is not None else {}
        above = [
            one.path
            for pages in entries.values()
            for one in pages
            if self.page.path == one.path or (one.path != "/" and self.page.path.startswith(f"{one.path}/"))
        ]
        return {
            "visit": self,
            "who": self.session.admin if self.session is not None else None,
            "may": self.may,
            "current": max(above, key=len, default=""),
            "theme": theme if theme in THEMES else "",
            "navigation": entries,
            "token": sessions.form_token(self.session.secret) if self.session is not None else "",
            "server_name": self.request.url.hostname or "",
            "state": state,
            "idle_until": self.session.row.idle_until if self.session is not None else 0,
            "ends_at": self.session.row.expires_at if self.session is not None else 0,
            "now_ms": time.time_ns() // 1_000_000,
        }

    def go(self, *parts: str, done: str = "", undo: str = "", **query: Any) -> Response:
        """Lead to another page of the site after something was done.

        Args:
            parts: of its path.
            done: sentence that the next page shows, such as "mara is disabled."
            undo: path of the site to which a form is posted that takes it back.
            query: of its URL.
        """
        where = url(*parts, **query)
        if self.partial:
            # A script follows a redirect by itself and would put the whole page where a part belongs.
            response = Response(status_code=204, headers={**HEADERS, "HX-Redirect": where})
        else:
            response = RedirectResponse(where, 303, headers=HEADERS)
        if done and self.session is not None:
            self.leave_note(response, self.session.secret, done, undo)
        return response

    def leave_note(self, response: Response, secret: str, done: str, undo: str = "") -> None:
        """Have the next page of a session show a sentence; `secret` is that session's."""
        text = json.dumps({"text": done[:MAX_NOTE_CHARS], "undo": undo})
        value = sessions.signed(secret, text.encode().hex())
        sessions.set_cookie(self.request, response, NOTE, value, seconds=60)

    def _note(self) -> str:
        """The JSON text that `go` left for this page; empty if there is none of this server's."""
        given = self.request.cookies.get(sessions.cookie_name(self.request, NOTE), "")
        if not given or self.session is None:
            return ""
        found = sessions.unsigned(self.session.secret, given)
        return bytes.fromhex(found).decode() if found else ""

    def refused(self, text: str, *, status: int, title: str, hint: str = "") -> Response:
        """A page that says why there is no other."""
        values = {"title": title, "text": text, "hint": hint, "status": status}
        return self.html(
            "refused.html" if self.session is not None else "refused_outside.html", values, status=status
        )


def login_url(request: Request) -> str:
    """The sign-in page, which leads back to what was asked for."""
    path = request.url.path
    wanted = f"{path}?{request.url.query}" if request.url.query else path
    return url("login", next=wanted if path not in (BASE, f"{BASE}/") and len(wanted) < 2_000 else "")


def own_path(text: str) -> str:
    """The path of the site that a parameter names; the first page for anything that leads elsewhere."""
    plain = text.isascii() and text.isprintable() and "\\" not in text and " " not in text
    inside = text.startswith(f"{BASE}/") and "//" not in text.partition("?")[0]
    return (
        text if plain and inside and not text.startswith((f"{BASE}/login", f"{BASE}/logout")) else f"{BASE}/"
    )
