# SPDX-License-Identifier: Apache-2.0
"""Folders that several accounts mount."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.names import fold_name
from tidegate.accounts.versions import encoded
from tidegate.errors import TidegateError
from tidegate.model import Folder
from tidegate.policy.folders import storage_of_folder
from tidegate.store.documents import decode_folder
from tidegate.web.admin.pages.groups import seen, use
from tidegate.web.admin.pages.user_edit import tried
from tidegate.web.admin.reach import require_folder
from tidegate.web.admin.record_form import RecordForm
from tidegate.web.admin.record_pages import Records, Row, sentence
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.user_fields import KINDS, UserField
from tidegate.web.admin.visit import Visit
from tidegate.web.figures import size

FORM: Final = RecordForm(
    (
        UserField(name="description", path="description", label="Description", section="record"),
        UserField(
            name="directory",
            path="mapped_path",
            label="Directory",
            kind="mono",
            section="storage",
            help="Absolute, on this server. Connections of those who mount it end when its place changes.",
        ),
    ),
    sections=(("record", "Folder"), ("storage", "Storage")),
    with_storage=True,
)


async def _users(visit: Visit, folder: Folder | None) -> Mapping[str, Any]:
    fixed: dict[str, Any] = {"kinds": KINDS, "try_url": url("try-folder")}
    if folder is None:
        return fixed
    users = await seen(visit, await visit.services.administration.folders.users_of(folder.name))
    groups = await visit.services.provider.folder_groups(folder.name)
    uses = [use(users, "users", "users", "view_users"), use(groups, "groups", "groups", "manage_groups")]
    return {**fixed, "used_by": [one for one in uses if one["number"]]}


async def _row(visit: Visit, folder: Folder) -> Row:
    users = await seen(visit, await visit.services.provider.folder_users(folder.name))
    place = folder.mapped_path or folder.filesystem.kind
    return Row(
        name=folder.name,
        sub=folder.description,
        cells=(
            place,
            count(len(users)),
            f"{size(folder.used_quota_size)}, {count(folder.used_quota_files)} files",
        ),
    )


FOLDERS: Final = Records(
    path="folders",
    new_path="new-folder",
    noun="folder",
    plural="folders",
    needs="manage_folders",
    nav=Nav(group="Who", label="Folders", icon="folder-tree", order=30),
    form=FORM,
    blank={"filesystem": {"provider": 0}},
    verbs=lambda visit: visit.services.administration.folders,
    page=lambda visit, offset, limit: visit.services.provider.folders(offset=offset, limit=limit),
    columns=("Place", "Mounted by", "Used"),
    row=_row,
    lede="Directories and buckets that accounts and groups mount in their tree.",
    empty=(
        "No folder yet",
        "A folder is shared by the accounts that mount it, each at a path of its own.",
        "",
    ),
    more=_users,
    gone="Those who mount the folder lose it, and their connections end. The files stay.",
)


async def try_storage(visit: Visit) -> Response:
    """Ask the storage of the form, as it stands there, for what those who mount the folder would need."""
    services, name = visit.services, visit.form["name"].strip()
    stored = await services.provider.folder(fold_name(name, services.rules)) if name else None
    base = {**FOLDERS.blank, "name": name or "new"} if stored is None else dict(encoded(stored))
    values = FORM.posted(visit.form)
    names = {field.name for field in FORM.fields if field.section == "storage"} | {"storage"}
    try:
        if stored is not None:
            await require_folder(visit, stored.name)
        folder = decode_folder(FORM.apply(base, values, names), base=stored, rules=services.rules)
        await services.administration.options.giver(visit.actor).check_folder(folder, stored)
        spec = storage_of_folder(folder)
        if spec.config.is_local:
            return tried(ok=True, text=f"Disk of this server, {folder.mapped_path}: nothing to connect to.")
        if services.rules.storages is None:
            return tried(ok=False, text="No storage but local disk is available here.")
        await services.rules.storages.try_out(spec)
    except TidegateError as error:
        return tried(ok=False, text=sentence(error.text))
    return tried(ok=True, text="Listed, wrote, read and removed a test object.")


PAGES: Final = (*FOLDERS.pages(), Page(path="/try-folder", act=try_storage, needs="manage_folders"))
