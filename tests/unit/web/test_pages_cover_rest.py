# SPDX-License-Identifier: Apache-2.0
"""Every route of REST for administrators has a page that does the same, or a reason for none."""

from __future__ import annotations

import importlib
import pkgutil
import re

from fastapi import APIRouter

from tidegate.web.admin.registry import all_pages
from tidegate.web.api import routes
from tidegate.web.api.routes import BASE

SAME = {
    "GET /admin/profile": "/me",
    "PUT /admin/profile": "/me",
    "PUT /admin/changepwd": "/me/password",
    "GET /admin/passkeys": "/me",
    "PUT /admin/passkeys/{}": "/me/passkeys/rename",
    "DELETE /admin/passkeys/{}": "/me/passkeys/remove",
    "POST /admin/totp/generate": "/me/codes",
    "POST /admin/totp/validate": "/me/codes",
    "POST /admin/totp/save": "/me/codes",
    "GET /admin/2fa/recoverycodes": "/me",
    "POST /admin/2fa/recoverycodes": "/me/recovery",
    "PUT /admins/{}/2fa/disable": "/admins/{}/codes",
    "GET /admins/{}/passkeys": "/admins/{}",
    "DELETE /admins/{}/passkeys/{}": "/admins/{}/passkeys",
    "PUT /users/{}/2fa/disable": "/users/{}/codes",
    "POST /users/csv": "/many-users/create",
    "GET /users/csv/{}": "/many-users/work/{}",
    "POST /users/{}/storage-check": "/try-storage",
    "POST /folders/{}/storage-check": "/try-folder",
    "GET /connections": "/connections",
    "DELETE /connections/{}": "/connections/{}/close",
    "GET /locks": "/locks",
    "DELETE /locks/{}": "/locks/end",
    "GET /logs": "/logs",
    "GET /logs/csv": "/logs/export",
    "GET /explain": "/explain",
    "POST /explain": "/explain",
    "GET /explain/connect": "/explain/connect",
    "POST /eventrules/run/{}": "/rules/{}/run",
    "GET /activerules": "/rules",
    "GET /deliveries": "/deliveries",
    "POST /deliveries/retry": "/deliveries/retry",
    "POST /deliveries/drop": "/deliveries/drop",
    "GET /iplists/csv": "/lists/csv",
    "POST /iplists/csv": "/lists/csv",
    "GET /iplists/{}": "/lists",
    "POST /iplists/{}": "/lists/add",
    "GET /iplists/{}/{}": "/lists",
    "PUT /iplists/{}/{}": "/lists/change",
    "DELETE /iplists/{}/{}": "/lists/remove",
    "GET /defender/hosts": "/bans",
    "GET /defender/hosts/{}": "/bans",
    "DELETE /defender/hosts/{}": "/bans/end",
    "GET /quarantine": "/quarantine",
    "GET /quarantine/{}": "/quarantine/{}",
    "POST /quarantine/{}/release": "/quarantine/{}/release",
    "DELETE /quarantine/{}": "/quarantine/{}/drop",
    "GET /quotas/users/scans": "/scans",
    "GET /quotas/folders/scans": "/scans",
    "GET /quotas/users/{}/scan": "/scans",
    "GET /quotas/folders/{}/scan": "/scans",
    "POST /quotas/users/{}/scan": "/scans",
    "POST /quotas/folders/{}/scan": "/scans",
    "DELETE /quotas/users/{}/scan": "/scans/cancel",
    "DELETE /quotas/folders/{}/scan": "/scans/cancel",
    "PUT /quotas/users/{}/usage": "/usage",
    "PUT /quotas/users/{}/transfer-usage": "/usage",
    "PUT /quotas/folders/{}/usage": "/usage",
    "GET /storage-moves": "/moves",
    "GET /storage-moves/users/{}": "/moves/{}/{}",
    "GET /storage-moves/folders/{}": "/moves/{}/{}",
    "POST /storage-moves/users/{}": "/moves",
    "POST /storage-moves/folders/{}": "/moves",
    "POST /storage-moves/users/{}/undo": "/moves/undo",
    "POST /storage-moves/folders/{}/undo": "/moves/undo",
    "POST /storage-moves/users/{}/remove-old": "/moves/remove-old",
    "POST /storage-moves/folders/{}/remove-old": "/moves/remove-old",
    "GET /dumpdata": "/maintenance/download",
    "GET /loaddata": "/maintenance/choose",
    "POST /loaddata": "/maintenance/upload",
    "GET /version": "/about",
    "GET /status": "/",
    "GET /token": "/login",
    "GET /logout": "/logout",
}
RECORDS = {
    "users": "users", "groups": "groups", "folders": "folders", "roles": "roles", "admins": "admins",
    "apikeys": "api-keys", "eventrules": "rules", "eventactions": "actions",
}  # fmt: skip
"""Kinds of records: they are listed, added, shown, changed and deleted in the same way."""
NEW = {"users": "/new-user", "groups": "/new-group", "folders": "/new-folder", "roles": "/new-role",
       "admins": "/new-admin", "apikeys": "/new-api-key", "eventrules": "/new-rule", "eventactions": "/new-action"}  # fmt: skip
NONE = {
    "GET /admin/totp/configs": "the page takes the first kind of codes that is configured",
    **dict.fromkeys(
        (
            "GET /user/token", "GET /user/logout", "GET /user/totp/configs", "POST /user/totp/generate",
            "POST /user/totp/validate", "POST /user/totp/save", "GET /user/2fa/recoverycodes",
            "POST /user/2fa/recoverycodes",
        ),
        "for users; pages are for administrators",
    ),
    **dict.fromkeys(("GET /healthz", "GET /readyz", "GET /metrics"), "for monitoring"),
}  # fmt: skip
"""Routes without a page, and why."""


def plain(path: str) -> str:
    """A path without the names of its parameters."""
    return re.sub(r"\{[^}]+\}", "{}", path)


def rest() -> set[str]:
    """Every route: method and path below the base."""
    found = set()
    for module in pkgutil.iter_modules(routes.__path__):
        for thing in vars(importlib.import_module(f"{routes.__name__}.{module.name}")).values():
            if isinstance(thing, APIRouter):
                for route in thing.routes:
                    path = plain(str(getattr(route, "path", "")).removeprefix(BASE))
                    found |= {f"{method} {path}" for method in getattr(route, "methods", ())}
    return found


def of_records() -> dict[str, str]:
    """Routes of records, and their pages."""
    found = {}
    for kind, page in RECORDS.items():
        one = f"/{page}/{{}}"
        found |= {f"GET /{kind}": f"/{page}", f"POST /{kind}": NEW[kind], f"GET /{kind}/{{}}": one}
        found |= {f"PUT /{kind}/{{}}": one, f"DELETE /{kind}/{{}}": f"{one}/delete"}
    return found


def test_every_route_has_a_page_or_a_reason() -> None:
    known = SAME | of_records()
    assert rest() == set(known) | set(NONE)
    assert not set(known) & set(NONE)


def test_every_page_that_is_named_does_something() -> None:
    pages = {plain(page.path): page for page in all_pages()}
    for route, path in (SAME | of_records()).items():
        page = pages[path]
        acts = path in ("/maintenance/download", "/maintenance/choose", "/logout")
        reads = (route.startswith("GET ") and not acts) or route == "POST /explain"
        assert (page.show if reads else page.act) is not None, (route, path)
