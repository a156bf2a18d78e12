# SPDX-License-Identifier: Apache-2.0
"""Groups of 2.6 and later, kept as groups: rewritten into the words of today, as accounts are.

Dumps of older releases, and accounts whose own patterns of permissions could meet those of a group, have the
groups resolved into the accounts instead (`groups`): what their words meant there is settled for the account
as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.store.legacy import table
from tidegate.store.legacy.account import MAGIC, Judged, convert_settings
from tidegate.store.legacy.era import Era
from tidegate.store.legacy.groups import MEMBERSHIP, PRIMARY, SECONDARY
from tidegate.store.legacy.table import asks

Document = dict[str, Any]

_OLD_PASSWORD_MS: Final = 1


class KeptGroups:
    """The groups of a dump.

    Args:
        groups: by name, as they are in the dump.
        era: of the dump.
        storages: of `Judged`.
    """

    def __init__(self, groups: Mapping[str, Document], era: Era, judge: Mapping[str, Judged]) -> None:
        self._era = era
        self._raw = groups
        self._judged = judge
        self._made: dict[str, Document] = {}
        self.broken: dict[str, BadRecord] = {}
        for name, group in groups.items():
            made = copy.deepcopy(group)
            try:
                _convert(made, era, judge[name], f"group {name!r}: ")
            except (BadRecord, TypeError, AttributeError, ValueError) as error:
                self.broken[name] = (
                    error
                    if isinstance(error, BadRecord)
                    else BadRecord("user_settings", "is not of the form that SFTPGo writes")
                )
            self._made[name] = made

    def document(self, name: str) -> Document:
        """A group in the words of today; may be changed.

        Raises:
            BadRecord: a part is not of the form that it should have.
        """
        if name in self.broken:
            raise self.broken[name]
        return copy.deepcopy(self._made[name])

    def keeps(self, user: Document) -> bool:
        """True if a user can keep their groups; False if those have to be resolved."""
        used = [self._made[name]["user_settings"] for name in self._given_by(user)]
        if any(name in self.broken for name in self._given_by(user)):
            return False
        own = user.get("permissions")
        tables = [own, *(settings.get("permissions") for settings in used)]
        magic = [
            path for paths in tables if isinstance(paths, dict) for path in paths if MAGIC.search(str(path))
        ]
        return len(magic) < 2 or not used

    def keep(self, user: Document, judged: Judged) -> None:
        """Tidy the list of groups of a user, and judge what the groups restrict for them."""
        given = self._given_by(user)
        kept: dict[str, Document] = {}
        for use in _uses(user):
            name = use.get("name")
            if isinstance(name, str) and name in self._made and use.get("type") in _KNOWN:
                kept.setdefault(name, {"name": name, "type": use["type"]})
        user["groups"] = list(kept.values())
        for name in given:
            judged.closes += [
                (field, f"of group {name!r}: {text}") for field, text in self._judged[name].closes
            ]
        self.order_addresses(user)
        primary = self._made[given[0]] if given and _is_primary(user, given[0]) else {}
        settings = primary.get("user_settings") or {}
        home = settings.get("home_dir") or ""
        if "%role%" in str(home) and not user.get("role"):
            judged.closes.append(("home_dir", "the group's directory names a role: give the account one"))
        ages = (settings.get("filters") or {}).get("password_expiration")
        if asks(ages) and not asks(user.get("last_password_change")):
            user["last_password_change"] = _OLD_PASSWORD_MS

    def order_addresses(self, user: Document) -> None:
        """Write down the order of allowed and denied addresses where the era's is not today's."""
        filters = user.get("filters")
        if self._era.ip_denied_first or not isinstance(filters, dict):
            return
        if asks(filters.get("allowed_ip")) or asks(filters.get("denied_ip")):
            filters["ip_order"] = "allowed"

    def _given_by(self, user: Document) -> list[str]:
        """Names of the groups that give a user something, the primary one first."""
        uses = [use for use in _uses(user) if use.get("name") in self._made]
        primary = [use["name"] for use in uses if use.get("type") == PRIMARY][:1]
        return [*primary, *(use["name"] for use in uses if use.get("type") == SECONDARY)]


_KNOWN: Final = (PRIMARY, SECONDARY, MEMBERSHIP)


def _uses(user: Document) -> list[Document]:
    listed = user.get("groups")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _is_primary(user: Document, name: str) -> bool:
    return any(use.get("type") == PRIMARY and use.get("name") == name for use in _uses(user))


def _convert(group: Document, era: Era, judged: Judged, where: str) -> None:
    settings = group.get("user_settings")
    if settings is None:
        settings = {}
    if not isinstance(settings, dict):
        raise BadRecord("user_settings", "should be a JSON object")
    group["user_settings"] = settings
    settings["virtual_folders"] = group.pop("virtual_folders", None)
    convert_settings(settings, era, judged, where)
    filters = settings["filters"]
    if not era.ip_denied_first and any(asks(filters.get(key)) for key in ("allowed_ip", "denied_ip")):
        filters["ip_order"] = "allowed"
    mounts = settings.pop("virtual_folders")
    if mounts is not None:
        group["virtual_folders"] = mounts
    for key, value in group.items():
        judged.by_row(key, table.GROUPS.get(key), value)
    for key, value in settings.items():
        judged.by_row(f"user_settings.{key}", table.GROUP_SETTINGS.get(key), value)
