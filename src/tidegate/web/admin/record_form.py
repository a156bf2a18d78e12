# SPDX-License-Identifier: Apache-2.0
"""Forms of records: from a document to fields and back. Only what somebody has touched is changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.web.admin import user_form
from tidegate.web.admin.field_values import Values, get, put, shown
from tidegate.web.admin.forms import Form
from tidegate.web.admin.user_fields import FIELDS, UserField

_SILENT: Final = ("flag", "switch", "denied", "checks")
"""Kinds whose fields a browser does not send when nothing is ticked."""


class RecordForm:
    """The form for one kind of record.

    Args:
        fields: of the form, but for the name.
        key: of the document, that holds the record's name.
        sections: id and title of the sections.
        with_password: somebody types a password, which is never shown.
        with_storage: it has a kind of storage, and the fields of each.
    """

    def __init__(
        self,
        fields: Sequence[UserField],
        *,
        key: str = "name",
        sections: Sequence[tuple[str, str]] = (("record", "Settings"),),
        with_password: bool = False,
        with_storage: bool = False,
    ) -> None:
        self.fields: Final = (*fields, *(field for field in FIELDS if with_storage and field.storage))
        self.key: Final = key
        self.sections: Final = tuple(sections)
        self.with_password: Final = with_password
        self.with_storage: Final = with_storage

    def values_of(self, document: Mapping[str, Any]) -> Values:
        """The fields for a document."""
        values: Values = {self.key: [str(document.get(self.key, ""))]}
        if self.with_password:
            values["password"] = [""]
        if self.with_storage:
            values["storage"] = [str((document.get("filesystem") or {}).get("provider", 0))]
        for field in self.fields:
            values[field.name] = shown(field, get(document, field.path))
        return values

    def posted(self, form: Form) -> Values:
        """The fields that were sent; what is not one of the form's is left out."""
        known = {self.key, *(field.name for field in self.fields)}
        known |= {"storage"} if self.with_storage else set()
        values: Values = {name: form.all(name) for name in form if name in known}
        for field in self.fields:
            if field.kind in _SILENT:
                values.setdefault(field.name, [])
        return values

    def touched(self, before: Values, after: Values) -> set[str]:
        """Names of the fields that differ."""
        return user_form.touched(before, after) - {self.key, "password"}

    def apply(self, document: Mapping[str, Any], values: Values, names: set[str]) -> dict[str, Any]:
        """The document with what the named fields say.

        Raises:
            BadRecord: a value cannot be read; `field` is the name of the form's field.
        """
        made: dict[str, Any] = copy.deepcopy(dict(document))
        number = (values.get("storage") or ["0"])[0]
        if "storage" in names:
            known = number.isascii() and number.isdigit() and len(number) <= 3
            made["filesystem"] = {"provider": int(number) if known else number[:40]}
        for field in self.fields:
            if field.name in names and field.storage in ("", user_form.storage_name(number)):
                put(made, field, values.get(field.name, ()))
        return made

    def field_of(self, path: str, values: Values) -> str:
        """The field that a mistake in the document belongs to; empty if it has none.

        Args:
            path: `BadRecord.field`, such as ``filters.allow_list[0]``.
            values: of the form.
        """
        number = (values.get("storage") or ["0"])[0]
        plain = path.replace("[", ".[")
        usable = ("", user_form.storage_name(number))
        known = {field.path: field.name for field in self.fields if field.storage in usable}
        known |= {self.key: self.key} | ({"filesystem": "storage"} if self.with_storage else {})
        known |= {"password": "password"} if self.with_password else {}
        fitting = [one for one in known if plain == one or plain.startswith(f"{one}.")]
        own = path == self.key or any(field.name == path for field in self.fields)
        return path if own else known[max(fitting, key=len)] if fitting else ""

    def label(self, name: str) -> str:
        """The word for a field in sentences."""
        found = next((field.label.lower() for field in self.fields if field.name == name), "")
        return found or name

    def section(self, name: str) -> str:
        """The section that a field stands in."""
        return next((field.section for field in self.fields if field.name == name), self.sections[0][0])


_NOT_OF_GROUPS: Final = ("email", "expires", "must_change", "description", "uid", "gid", "info")
_OWN: Final = (
    UserField(name="description", path="description", label="Description", section="who"),
    UserField(
        name="expires_in",
        path="user_settings.expires_in",
        label="Accounts expire after",
        kind="number",
        section="who",
        unit="days",
        help="Counted from the day on which an account is made, unless it has a date of its own.",
    ),
)


class GroupForm(RecordForm):
    """The form for a group: the fields of accounts, of which those that are empty give nothing."""

    def __init__(self) -> None:
        shared = (field for field in FIELDS if field.name not in _NOT_OF_GROUPS)
        super().__init__(
            (*_OWN, *shared),
            sections=(
                ("who", "Group"),
                ("login", "Logging in"),
                ("storage", "Storage"),
                ("permissions", "Permissions"),
                ("limits", "Limits"),
                ("names", "Names and networks"),
                ("more", "More"),
            ),
        )

    def values_of(self, document: Mapping[str, Any]) -> Values:
        """The fields for a document."""
        known = {field.name for field in self.fields}
        values = user_form.values_of(_as_account(document), whole=False)
        values = {
            name: value
            for name, value in values.items()
            if name in known or name in ("rest", "rows", "storage") or _of_matrix(name)
        }
        own = {field.name: shown(field, get(document, field.path)) for field in _OWN}
        return {**values, **own, "name": [str(document.get("name", ""))]}

    def posted(self, form: Form) -> Values:
        """The fields that were sent."""
        values = user_form.posted(form)
        return {
            name: value for name, value in values.items() if name not in ("enabled", "key", "must_change")
        }

    def apply(self, document: Mapping[str, Any], values: Values, names: set[str]) -> dict[str, Any]:
        """The document with what the named fields say.

        Raises:
            BadRecord: a value cannot be read; `field` is the name of the form's field.
        """
        own = {field.name for field in _OWN}
        inner = user_form.apply(_as_account(document), values, names - own)
        for key in ("groups", "role"):
            if inner.pop(key, None):
                raise BadRecord("rest", f"has no place for {key}")
        mounts = inner.pop("virtual_folders", [])
        made = {**copy.deepcopy(dict(document)), "virtual_folders": mounts, "user_settings": inner}
        for field in _OWN:
            if field.name in names:
                put(made, field, values.get(field.name, ()))
        return made

    def field_of(self, path: str, values: Values) -> str:
        """The field that a mistake in the document belongs to; empty if it has none."""
        own = {"name": "name", **{field.path: field.name for field in _OWN}}
        if path in own:
            return own[path]
        kind = (values.get("storage") or ["0"])[0]
        return user_form.field_of(path.removeprefix("user_settings."), kind)

    def section(self, name: str) -> str:
        """The section that a field stands in."""
        known = {"permissions": "permissions", "storage": "storage", "rest": "more"}
        return known.get(name) or super().section(name)

    def label(self, name: str) -> str:
        """The word for a field in sentences."""
        return {"rest": "further settings", "storage": "kind of storage"}.get(name) or super().label(name)


def _as_account(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a group gives, as the document of an account has it."""
    settings = document.get("user_settings") or {}
    return {**settings, "virtual_folders": document.get("virtual_folders") or []}


def _of_matrix(name: str) -> bool:
    return name[:1] == "p" and name[1:].partition("-")[0].isdigit()
