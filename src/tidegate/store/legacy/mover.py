# SPDX-License-Identifier: Apache-2.0
"""The move of a dump: what is known of it as a whole, and its records one by one."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.accounts.names import fold_name
from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord
from tidegate.store import versions
from tidegate.store.document_keys import refuse_deep
from tidegate.store.legacy import table
from tidegate.store.legacy.account import Judged, codes_lost, convert_user, keep_recovery_codes
from tidegate.store.legacy.credentials import adopt_credentials
from tidegate.store.legacy.era import Era, era_of
from tidegate.store.legacy.groups import resolve
from tidegate.store.legacy.kept_groups import KeptGroups
from tidegate.store.legacy.remarks import Remark, Remarks, Subject, Weight, log
from tidegate.store.legacy.secretbox import open_record, without_sealed
from tidegate.store.legacy.table import asks

Document = dict[str, Any]

OURS: Final = "tidegate"
"""Key of a dump that this software wrote: its records mean what they say."""
MAX_LISTED: Final = 1_000
"""Names of records of other kinds that are told one by one."""
NAME_KEYS: Final = {
    "users": "username",
    "admins": "username",
    "folders": "name",
    "groups": "name",
    "roles": "name",
    "api_keys": "id",
    "event_actions": "name",
    "event_rules": "name",
    "ip_lists": "ipornet",
}


_SEALED: Final = "is encrypted under a master key of SFTPGo's and empty now: set it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOptions:
    """Decisions of the operator about a move.

    Attributes:
        open: names of users and administrators that come in open although something restricts them.
        open_all: all of them do.
        leave_out: records with mistakes are left out, instead of refusing the dump.
        from_version: the release that wrote the dump; empty to go by the dump.
        every_remark: keep each remark by itself, for a report.
        flatten_groups: groups of 2.6 and later are resolved into the accounts too, as those of older
            releases are.
        credentials: directory with credentials of Google Cloud Storage; see `legacy.credentials`.
    """

    open: frozenset[str] = frozenset()
    open_all: bool = False
    leave_out: bool = False
    from_version: str = ""
    every_remark: bool = False
    flatten_groups: bool = False
    credentials: str = ""


DEFAULT_MOVE: Final = MoveOptions()


@dataclass(slots=True)
class Facts:
    """Facts about a dump that are needed before its first record is read.

    Attributes:
        version: its format number.
        ours: this software wrote it.
        groups: by name.
        roles: names of roles.
        folder_paths: `mapped_path` of folders whose path holds a placeholder.
        repeated: (section, index) of records whose name another has, with the mistake.
    """

    version: int | None = None
    ours: bool = False
    groups: dict[str, Document] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    folder_paths: dict[str, str] = field(default_factory=dict)
    repeated: dict[tuple[str, int], str] = field(default_factory=dict)


class Survey:
    """Gathers the facts in one walk over the dump.

    Args:
        rules: what makes two names one.
    """

    def __init__(self, rules: Rules) -> None:
        self.facts = Facts()
        self._rules = rules
        self._seen: dict[str, dict[str, int]] = {section: {} for section in NAME_KEYS}
        self._typed: dict[tuple[str, int], str] = {}

    def section(self, key: str, value: object) -> None:
        """A part of the dump that holds no records of ours."""
        if key == "version" and isinstance(value, int):
            self.facts.version = value
        elif key == OURS:
            self.facts.ours = True

    def record(self, section: str, index: int, document: object) -> None:
        """One record."""
        if not isinstance(document, dict):
            return
        if section == "roles" and isinstance(document.get("name"), str):
            self.facts.roles.add(document["name"])
        if section == "groups" and isinstance(document.get("name"), str):
            with suppress(BadRecord):  # told when it is read
                refuse_deep(document, "")
                open_record(document)
                self.facts.groups[document["name"]] = document
        if section == "users" and "tally" in document:
            self.facts.ours = True  # dumps of ours before they said so
        path = document.get("mapped_path")
        name = record_name(section, document)
        if section == "folders" and isinstance(path, str) and "%" in path:
            self.facts.folder_paths[name] = path
        if not name:
            return
        folded = name if section not in ("users", "admins") else fold_name(name, self._rules)
        seen = self._seen[section]
        first = seen.setdefault(folded, index)
        if folded != name:
            self._typed[section, index] = name
        if first != index:
            one = self._typed.get((section, first), folded)
            both = f"{one!r} and {name!r} are" if one != name else f"{name!r} is given twice,"
            message = f"{section}[{first}] and {section}[{index}]: {both} one name here; rename one of them"
            self.facts.repeated[section, first] = self.facts.repeated[section, index] = message


def record_name(section: str, document: object) -> str:
    """The name of a record as typed, empty if it has none; folders of 1.x are named by their directory."""
    if not isinstance(document, dict):
        return ""
    name = document.get(NAME_KEYS[section])
    if section == "ip_lists" and isinstance(name, str) and name:  # a network may be in each list
        return f"{document.get('type')}/{name}"
    if section == "folders" and not name and isinstance(document.get("mapped_path"), str):
        name = versions.folder_name(document["mapped_path"])
    return name if isinstance(name, str) else ""


class Mover:
    """Rewrites records of a dump of SFTPGo, and remarks on them.

    Args:
        facts: of the dump.
        options: of the operator.
        remarks: takes what is to be said.
        rules: of names.

    Raises:
        BadRecord: `from_version` is no release.
    """

    def __init__(self, facts: Facts, options: MoveOptions, remarks: Remarks, rules: Rules) -> None:
        self._facts = facts
        self._options = options
        self._remarks = remarks
        self._rules = rules
        self._era: Era = era_of(facts.version, options.from_version)
        self.flattens = options.flatten_groups or self._era.stars != "pattern"
        """True if no group is kept."""
        judged = {name: Judged(rules.storages) for name in facts.groups}
        self._kept = None if self.flattens else KeptGroups(facts.groups, self._era, judged)
        self._of_groups = judged
        if self._era.newer:
            message = f"format {facts.version} is newer than this version knows; read as {17}"
            remarks.note(Subject("version"), "", message, Weight.RESTRICTS)

    def sections(self, sections: Iterable[tuple[str, object]]) -> None:
        """Remark on the parts that hold no records of ours."""
        for key, value in sections:
            if key == "version" or not asks(value):
                continue
            row = table.SECTIONS.get(key)
            subject = Subject(key)
            if row is None:
                self._remarks.note(subject, "", "not known to this version, left out", Weight.RESTRICTS)
            else:
                self._remarks.note(subject, "", f"{_counted(value)}{row.todo}{_named(value)}", Weight.RENAMED)

    def leaves_out(self, section: str, document: object) -> bool:
        """True for a record without a name, as SFTPGo's dumps of bolt have among roles and lists."""
        if section not in ("roles", "ip_lists") or not isinstance(document, dict):
            return False
        if record_name(section, document) or not isinstance(document.get(NAME_KEYS[section], ""), str):
            return False
        self._remarks.note(Subject(section), "", "without a name, as dumps of bolt hold some: left out")
        return True

    def record(self, section: str, index: int, document: Document) -> Document:
        """One record in the words of today; a copy that may be changed.

        Raises:
            BadRecord: another record has the name, or a part is not of the form that it should have.
        """
        name = record_name(section, document)
        adopted = adopt_credentials(section, name, document, self._options.credentials)
        open_record(document)
        folded = fold_name(name, self._rules) if section in ("users", "admins") else name
        subject = Subject(section, index, name, "" if folded == name else folded)
        where = f"{section}[{index}]."
        judged = Judged(self._rules.storages)
        role = document.get("role")
        if role and section in ("users", "admins") and role not in self._facts.roles:
            del document["role"]
            told = ("role", f"role {str(role)[:60]!r} is not in the dump, left out")
            (judged.closes if section == "admins" else judged.notes).append(told)
        if section == "users":
            self._groups(document, judged)
            convert_user(document, self._era, judged, where)
        elif section == "admins":
            _admin(document, judged)
        elif section == "folders":
            _folder(document, name, judged)
        elif section == "groups":
            assert self._kept is not None
            document = self._kept.document(name)
            judged = self._of_groups[name]
        elif section == "roles":
            for key, value in document.items():
                judged.by_row(key, table.ROLES.get(key), value)
        elif section == "api_keys":
            for key, value in document.items():
                judged.by_row(key, table.API_KEYS.get(key), value)
        elif section != "ip_lists":
            rows = table.EVENT_ACTIONS if section == "event_actions" else table.EVENT_RULES
            for key, value in document.items():
                judged.by_row(key, rows.get(key), value)
            lost: list[str] = []
            document["options"] = without_sealed(document.get("options"), lost)
            judged.closes += [(f"options.{place}", _SEALED) for place in lost]
        if adopted:
            judged.notes.append(("filesystem.gcsconfig.credentials", f"come from {adopted}"))
        if subject.here:
            self._remarks.note(subject, NAME_KEYS[section], f"is {folded!r} here", Weight.RENAMED)
        for place, text in judged.notes:
            self._remarks.note(subject, place, text)
        self._close(subject, document, judged)
        return document

    def _groups(self, user: Document, judged: Judged) -> None:
        if not user.get("groups"):
            user.pop("groups", None)
            if self._kept is not None:
                self._kept.order_addresses(user)
            return
        keeps = self._kept is not None and self._kept.keeps(user)
        own = copy.deepcopy(user) if keeps else user
        found = resolve(own, self._facts.groups, self._facts.folder_paths)
        if keeps and self._kept is not None:
            self._kept.keep(user, judged)
        else:
            user.pop("groups", None)
        if found.applied and not keeps:
            judged.notes.append(("groups", f"{', '.join(found.applied)}: now the account's own settings"))
        judged.closes += [
            (
                "groups",
                f"group {name!r} is not in the dump, or not of a known kind: set what it gave and restricted",
            )
            for name in found.missing
        ]
        if found.unfilled:
            message = "the group's directory has a placeholder without a value: set the account's own"
            judged.closes.append(("home_dir", message))

    def _close(self, subject: Subject, document: Document, judged: Judged) -> None:
        if not judged.closes:
            return
        if subject.section not in ("users", "admins"):
            for place, text in judged.closes:
                self._remarks.note(subject, place, text, Weight.RESTRICTS)
            return
        opened = self._options.open_all or subject.name in self._options.open
        reasons = list(dict.fromkeys(judged.closes))
        if not opened:
            document["status"] = 0
        for place, text in reasons:
            if opened:
                self._remarks.add(Remark(subject, place, f"open as told, although: {text}", Weight.OPENED))
                log.warning("%s comes in open, as told, although %s is not carried", subject, place)
            else:
                kind = "disabled" if subject.section == "users" else "without rights (disabled)"
                self._remarks.add(Remark(subject, place, f"comes in {kind}: {text}", Weight.CLOSED))


def _admin(admin: Document, judged: Judged) -> None:
    for key, value in admin.items():
        judged.by_row(key, table.ADMINS.get(key), value)
    filters = admin.get("filters")
    if isinstance(filters, dict):
        keep_recovery_codes(filters)
    for key, value in filters.items() if isinstance(filters, dict) else ():
        if key == "totp_config":
            if isinstance(value, dict) and value.get("enabled") and (why := codes_lost(value)):
                judged.closes.append(("filters.totp_config", f"{why}: {table.ADMIN_FILTERS[key].todo}"))
            continue
        judged.by_row(f"filters.{key}", table.ADMIN_FILTERS.get(key), value)


def _folder(folder: Document, name: str, judged: Judged) -> None:
    if not folder.get("name") and name:
        folder["name"] = name
        judged.notes.append(("name", "had none: named by its directory"))
    for key in ("used_quota_size", "used_quota_files"):
        if isinstance(folder.get(key), int):
            folder[key] = max(0, folder[key])
    for key, value in folder.items():
        judged.by_row(key, table.FOLDERS.get(key), value)
    judged.storage(folder.get("filesystem"), "filesystem")


def _counted(value: object) -> str:
    return f"{len(value)} records, " if isinstance(value, (list, dict)) else ""


def _named(value: object) -> str:
    """Names of the records of a part, to tick off."""
    names = [
        str(item.get("name") or item.get("id"))
        for item in (value if isinstance(value, list) else ())
        if isinstance(item, dict) and (item.get("name") or item.get("id"))
    ]
    return f": {', '.join(names[:MAX_LISTED])}" if names else ""
