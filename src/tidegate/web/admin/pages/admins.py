# SPDX-License-Identifier: Apache-2.0
"""Administrators and their permissions, and API keys, each of which is shown once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import AlreadyExists, BadRecord, Denied, InvalidArgument
from tidegate.model import Admin, ApiKey
from tidegate.policy.passkeys import passkeys_of
from tidegate.policy.second_factor import totp_of
from tidegate.store.validate import ADMIN_PERMISSIONS
from tidegate.web.admin import sessions
from tidegate.web.admin.record_form import RecordForm
from tidegate.web.admin.record_pages import Records, Row
from tidegate.web.admin.registry import Nav
from tidegate.web.admin.rendering import moment
from tidegate.web.admin.user_fields import UserField
from tidegate.web.admin.visit import Visit

PERMISSIONS: Final = (
    (EVERYTHING, "everything"),
    *((one, one) for one in sorted(ADMIN_PERMISSIONS - {EVERYTHING})),
)
ADMIN_FORM: Final = RecordForm(
    (
        UserField(name="enabled", path="status", label="Enabled", kind="switch", section="who"),
        UserField(name="email", path="email", label="E-mail", section="who"),
        UserField(name="description", path="description", label="Description", section="who"),
        UserField(name="info", path="additional_info", label="Notes", section="who"),
        UserField(
            name="role",
            path="role",
            label="Role",
            section="permissions",
            help="With one they see and change the accounts of that role alone.",
        ),
        UserField(
            name="permissions",
            path="permissions",
            label="May",
            kind="checks",
            section="permissions",
            choices=PERMISSIONS,
        ),
        UserField(
            name="must_change",
            path="filters.require_password_change",
            label="Has to change the password",
            kind="flag",
            section="login",
        ),
        UserField(
            name="two_factor",
            path="filters.require_two_factor",
            label="Has to set up one-time codes or a passkey",
            kind="flag",
            section="login",
        ),
        UserField(
            name="keys_act",
            path="filters.allow_api_key_auth",
            label="API keys may act as them",
            kind="flag",
            section="login",
        ),
        UserField(
            name="allow_list",
            path="filters.allow_list",
            label="May come from",
            kind="lines",
            section="login",
            help="Addresses and networks such as 192.0.2.0/24, one a line. Empty is anywhere.",
        ),
    ),
    key="username",
    sections=(("who", "Who"), ("permissions", "Permissions"), ("login", "Logging in")),
    with_password=True,
)


async def _nothing_more(visit: Visit, record: object) -> Mapping[str, Any]:
    del visit, record
    return {}


async def _signing_in(visit: Visit, admin: Admin | None) -> Mapping[str, Any]:
    """The second factors and the browser sessions of an administrator."""
    if admin is None:
        return {"passkeys": (), "codes": False, "sessions": (), "current": ""}
    rows = await visit.services.provider.browser_sessions.of(sessions.KIND, admin.username)
    return {
        "passkeys": passkeys_of(admin.filters).keys,
        "codes": totp_of(admin.filters).enabled,
        "sessions": rows,
        "current": visit.session.row.id if visit.session is not None else "",
    }


async def _admin_row(visit: Visit, admin: Admin) -> Row:
    del visit
    may = "everything" if EVERYTHING in admin.permissions else ", ".join(admin.permissions) or "nothing"
    held = [("codes", totp_of(admin.filters).enabled), ("passkeys", bool(passkeys_of(admin.filters).keys))]
    factors = ", ".join(name for name, there in held if there) or "none"
    state = "enabled" if admin.status == 1 else "disabled"
    return Row(
        name=admin.username,
        sub=admin.email or admin.description,
        cells=(state, may, admin.role or "all accounts", factors, moment(admin.last_login)),
        level="soon" if admin.status != 1 else "",
    )


ADMINS: Final = Records(
    path="admins",
    new_path="new-admin",
    noun="administrator",
    plural="administrators",
    needs=EVERYTHING,
    nav=Nav(group="This server", label="Administrators", icon="user-cog", order=30),
    form=ADMIN_FORM,
    blank={"status": 1, "permissions": [], "filters": {}},
    verbs=lambda visit: visit.services.administration.admins,
    page=lambda visit, offset, limit: visit.services.provider.admins(offset=offset, limit=limit),
    columns=("State", "May", "Sees", "Second factor", "Last login"),
    row=_admin_row,
    lede="They manage the server in the browser and over REST.",
    empty=("No administrator yet", "An administrator manages the server.", "tidegate admin add NAME"),
    template="admin.html",
    more=_signing_in,
    gone="They cannot sign in any more, and their sessions and tokens end.",
)


# -- API keys ------------------------------------------------------------------------------------------------


class ApiKeyPages(Records):
    """Pages of API keys: each is shown when it is made, and never again."""

    def label(self, record: Any) -> str:
        """The name that people gave it; ids are random."""
        return str(record.name)

    async def add(self, visit: Visit) -> Response:
        """Make a key and show it."""
        values, before = self.form.posted(visit.form), self.form.values_of(self.blank)
        try:
            document = self.form.apply(self.blank, values, self.form.touched(before, values))
            key, text = await visit.services.administration.api_keys.add(document, by=visit.actor)
        except (BadRecord, AlreadyExists, Denied, InvalidArgument) as error:
            return await self._again(visit, None, values, before, error)
        return visit.html("api_key_made.html", {"kind": self, "record": key, "text": text})


async def _key_row(visit: Visit, key: ApiKey) -> Row:
    del visit
    who = f"the administrator {key.admin}" if key.admin else f"the user {key.user}" if key.user else ""
    late = 0 < key.expires_at <= time.time_ns() // 1_000_000
    ends = "expired" if late else moment(key.expires_at) if key.expires_at else "never"
    unbound = "whom the program names" if key.scope == 1 else "the user whom the program names"
    cells = (ends, who or unbound, moment(key.last_use_at), moment(key.created_at))
    return Row(name=key.id, text=key.name, sub=key.description, cells=cells, level="soon" if late else "")


KEYS: Final = ApiKeyPages(
    path="api-keys",
    new_path="new-api-key",
    noun="API key",
    plural="API keys",
    needs=EVERYTHING,
    nav=Nav(group="This server", label="API keys", icon="key-round", order=40),
    form=RecordForm(
        (
            UserField(name="name", path="name", label="Name", section="record", optional=False),
            UserField(name="description", path="description", label="Description", section="record"),
            UserField(
                name="scope",
                path="scope",
                label="Acts as",
                kind="code",
                section="record",
                choices=(("1", "an administrator"), ("2", "a user")),
            ),
            UserField(
                name="admin",
                path="admin",
                label="Administrator",
                section="record",
                help="Empty: the program names one.",
            ),
            UserField(name="user", path="user", label="User", section="record", help="Likewise."),
            UserField(
                name="expires",
                path="expires_at",
                label="Expires",
                kind="end",
                section="record",
                help="The last day, or day and time in UTC.",
            ),
        ),
        key="id",
        sections=(("record", "API key"),),
    ),
    blank={"scope": 1},
    verbs=lambda visit: visit.services.administration.api_keys,
    page=lambda visit, offset, limit: visit.services.provider.api_keys(offset=offset, limit=limit),
    columns=("Expires", "Acts as", "Last used", "Made"),
    row=_key_row,
    lede="Programs send a key instead of a name and a password.",
    empty=(
        "No API key yet",
        "A program that calls the REST API sends one in the header X-SFTPGO-API-KEY.",
        "",
    ),
    template="api_key.html",
    more=_nothing_more,
    gone="Programs that send it are refused at once.",
)

PAGES: Final = (*ADMINS.pages(), *KEYS.pages())
