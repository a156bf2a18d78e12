# SPDX-License-Identifier: Apache-2.0
"""Usage of a user or a folder as it is recorded, and setting it by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.names import fold_name
from tidegate.accounts.typed_values import read_size, size_text
from tidegate.errors import BadRecord, Conflict, Denied, NotFound
from tidegate.model import Account, Folder
from tidegate.web.admin.pages.scans import NEEDS
from tidegate.web.admin.reach import require_folder, require_user
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Page
from tidegate.web.admin.visit import Visit
from tidegate.web.api import usage

TRANSFER: Final = "transfer"
"""Value of the field `what` of the form for data transfer; the other one is for space and files."""


async def show(visit: Visit) -> Response:
    """The recorded usage, with a form to set it.

    Raises:
        NotFound: there is no such record, or no such account of the administrator's role.
        Denied: others than accounts of their role mount the folder.
    """
    return await _page(visit, visit.query("kind", longest=8), visit.query("name"), {})


async def _page(visit: Visit, kind: str, given: str, errors: Mapping[str, str]) -> Response:
    record = await _record(visit, kind, given)
    typed = visit.form if errors else {}
    values = {"size": size_text(record.used_quota_size) or "0", "files": str(record.used_quota_files)}
    if isinstance(record, Account):
        values["upload"] = size_text(record.used_upload_data_transfer) or "0"
        values["download"] = size_text(record.used_download_data_transfer) or "0"
    context = {
        "record": record,
        "kind": "user" if isinstance(record, Account) else "folder",
        "name": _name(record),
        "values": {**values, **{name: typed[name] for name in values if name in typed}},
        "errors": errors,
        "tracks": visit.services.loaded.settings.data_provider.track_quota,
    }
    return visit.html("usage.html", context, status=400 if errors else 200)


async def _record(visit: Visit, kind: str, given: str) -> Account | Folder:
    """The record with its live counters."""
    services, name = visit.services, fold_name(given, visit.services.rules)
    if kind != "folder":
        account = await require_user(visit, name)
        await services.sessions.tracker.settle(account.username)
        return await require_user(visit, name)
    await require_folder(visit, name)
    await services.sessions.tracker.settle()
    folder = await services.provider.folder(name)
    if folder is None:
        raise NotFound(f"no such folder: {name}")
    return folder


async def save(visit: Visit) -> Response:
    """Set or add to what is used: space and files, or data transfer."""
    services, form, by = visit.services, visit.form, visit.actor
    kind, given, add = form["kind"], form.text("name"), form["mode"] == "add"
    record = await _record(visit, kind, given)
    name = _name(record)
    try:
        if form["what"] == TRANSFER:
            pair = {
                "upload": _size(form.text("upload"), "upload"),
                "download": _size(form.text("download"), "download"),
            }
            if isinstance(record, Folder):
                raise Denied("folders have no data transfer")
            await usage.set_transfer_usage(services, name, **pair, add=add, by=by)
        else:
            size, files = _size(form.text("size"), "size"), form.number("files")
            if files < 0:
                raise BadRecord("files", "should be 0 or more")
            change: Any = usage.set_user_usage if isinstance(record, Account) else usage.set_folder_usage
            await change(services, name, size=size, files=files, add=add, by=by)
    except BadRecord as error:
        field = error.field.removeprefix("used_").removeprefix("quota_").removesuffix("_data_transfer")
        return await _page(visit, kind, name, {field: sentence(error.what)})
    except (Conflict, Denied) as error:
        return await _page(visit, kind, name, {"": sentence(error.text)})
    return visit.go("usage", done=f"What is used of {name} is set.", kind=kind, name=name)


def _name(record: Account | Folder) -> str:
    return record.username if isinstance(record, Account) else record.name


def _size(text: str, field: str) -> int:
    try:
        return read_size(text)
    except ValueError as error:
        raise BadRecord(field, str(error)) from None


PAGES: Final = (Page(path="/usage", show=show, act=save, needs=NEEDS),)
