# SPDX-License-Identifier: Apache-2.0
"""Groups, whose settings accounts inherit; and roles, which say whose accounts they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate.model.group import Group, Role
from tidegate.web.admin.record_form import GroupForm, RecordForm
from tidegate.web.admin.record_pages import Records, Row
from tidegate.web.admin.registry import Nav
from tidegate.web.admin.rendering import count, moment
from tidegate.web.admin.user_fields import KINDS, UserField
from tidegate.web.admin.user_form import BOXES, PARTS, PRESETS
from tidegate.web.admin.visit import Visit

NAMES: Final = 20
"""Names of who uses a record, on its page."""


def use(names: Sequence[str], noun: str, path: str, needs: str) -> dict[str, Any]:
    """The users of a record, for a template.

    Args:
        names: of all of them.
        noun: for them, in the plural.
        path: of their pages; `needs` is the permission to see these.
    """
    word = noun if len(names) != 1 else noun.removesuffix("s")
    return {"names": list(names[:NAMES]), "number": len(names), "noun": word, "path": path, "needs": needs}


async def seen(visit: Visit, names: Sequence[str]) -> list[str]:
    """Those of the accounts that the administrator may see."""
    own = await visit.own_users()
    return [name for name in names if own is None or name in own]


async def _members(visit: Visit, group: Group | None) -> Mapping[str, Any]:
    fixed: dict[str, Any] = {
        "kinds": KINDS,
        "boxes": BOXES,
        "parts_of": PARTS,
        "presets": PRESETS,
        "rest_label": "Name patterns, hours, bandwidth by network, mounted folders",
        "rest_help": "JSON with file_patterns, bandwidth_limits, data_transfer_limits, access_time, "
        "tally_limits, two_factor_protocols and virtual_folders, as in REST and dumps.",
    }
    if group is None:
        return fixed
    users = await seen(visit, await visit.services.provider.group_users(group.name))
    return {**fixed, "used_by": [use(users, "users", "users", "view_users")] if users else []}


async def _group_row(visit: Visit, group: Group) -> Row:
    users = await seen(visit, await visit.services.provider.group_users(group.name))
    cells = (count(len(users)), count(len(group.virtual_folders)), moment(group.updated_at))
    return Row(name=group.name, sub=group.description, cells=cells)


GROUPS: Final = Records(
    path="groups",
    new_path="new-group",
    noun="group",
    plural="groups",
    needs="manage_groups",
    nav=Nav(group="Who", label="Groups", icon="layers", order=20),
    form=GroupForm(),
    blank={"user_settings": {"filters": {}}, "virtual_folders": []},
    verbs=lambda visit: visit.services.administration.groups,
    page=lambda visit, offset, limit: visit.services.provider.groups(offset=offset, limit=limit),
    columns=("Users", "Folders", "Changed"),
    row=_group_row,
    lede="Settings that several accounts have in common.",
    empty=("No group yet", "A group gives its settings to the accounts that have it.", ""),
    template="group.html",
    more=_members,
    gone="Only a group that no account has can be deleted.",
)


async def _role_users(visit: Visit, role: Role | None) -> Mapping[str, Any]:
    if role is None:
        return {}
    provider = visit.services.provider
    users, admins = await provider.role_users(role.name), await provider.role_admins(role.name)
    uses = [use(users, "users", "users", "view_users"), use(admins, "administrators", "admins", "*")]
    return {"used_by": [one for one in uses if one["number"]]}


async def _role_row(visit: Visit, role: Role) -> Row:
    provider = visit.services.provider
    users, admins = await provider.role_users(role.name), await provider.role_admins(role.name)
    cells = (count(len(users)), count(len(admins)), moment(role.updated_at))
    return Row(name=role.name, sub=role.description, cells=cells)


ROLES: Final = Records(
    path="roles",
    new_path="new-role",
    noun="role",
    plural="roles",
    needs="manage_roles",
    nav=Nav(group="Who", label="Roles", icon="tag", order=40),
    form=RecordForm(
        (UserField(name="description", path="description", label="Description", section="record"),),
        sections=(("record", "Role"),),
    ),
    verbs=lambda visit: visit.services.administration.roles,
    page=lambda visit, offset, limit: visit.services.provider.roles(offset=offset, limit=limit),
    columns=("Users", "Administrators", "Changed"),
    row=_role_row,
    lede="An administrator with a role sees and changes the accounts of that role alone.",
    empty=(
        "No role yet",
        "A role divides the accounts among administrators, such as by country or client.",
        "",
    ),
    more=_role_users,
    gone="Only a role that nobody has can be deleted.",
)

PAGES: Final = (*GROUPS.pages(), *ROLES.pages())
