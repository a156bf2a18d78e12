# SPDX-License-Identifier: Apache-2.0
"""One user of SFTPGo, rewritten into the words of today; what restricts and has no word here closes it.

Long, because every step works on the same document, and the steps are read in their order.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any, Final

from tidegate.accounts.rules import StorageChecks
from tidegate.errors import BadRecord
from tidegate.model import LOCAL, StorageSpec
from tidegate.policy.second_factor import FAMILIES, decode_secret, hash_recovery_code
from tidegate.store.legacy import table
from tidegate.store.legacy.era import Era
from tidegate.store.legacy.keys import split_options
from tidegate.store.legacy.parts import split_off
from tidegate.store.legacy.patterns import convert_patterns
from tidegate.store.legacy.table import Fate, Row, asks
from tidegate.store.storages import decode_storage, kind_of, unreachable

Document = dict[str, Any]

KEYBOARD: Final = "keyboard-interactive"
TWO_STEPS: Final = ("publickey+password", "publickey+keyboard-interactive")
_UNKNOWN: Final = "not known to this version and may restrict: see what it does, then open the account"
_NUMBERS: Final = [
    "uid",
    "gid",
    "max_sessions",
    "quota_size",
    "quota_files",
    "upload_bandwidth",
    "download_bandwidth",
    "upload_data_transfer",
    "download_data_transfer",
    "total_data_transfer",
    "used_quota_size",
    "used_quota_files",
]
_SILENT: Final = (Fate.CARRIED, Fate.CONVERTED)
"""Fates of which nothing is said, as of most fields of an account."""
_OLD_PASSWORD_MS: Final = 1
"""`last_password_change` for a password of unknown age: as old as can be."""


class Judged:
    """The findings about one record.

    Args:
        storages: kinds of storage that there are here; None for local disk alone.

    Attributes:
        notes: (field, text) that restrict nothing.
        closes: (field, text), each a reason to close the record.
    """

    def __init__(self, storages: StorageChecks | None = None) -> None:
        self._storages = storages
        self.notes: list[tuple[str, str]] = []
        self.closes: list[tuple[str, str]] = []

    def storage(self, document: object, field: str) -> None:
        """Note why files cannot be reached, if that is so; `document` is the storage's, `field` its name."""
        if not isinstance(document, dict):
            return
        kind = kind_of(document.get("provider", 0))
        if kind is None or kind == LOCAL:
            return
        if kind == "crypt":
            given = document.get("cryptconfig")
            document["cryptconfig"] = {**(given if isinstance(given, dict) else {}), "format": "cryptfs"}
            self.notes.append((f"{field}.cryptconfig.format", _CRYPTFS))
            return
        config = decode_storage(document)
        if self._storages is None or self._storages.problem(config) is not None:
            self.notes.append((f"{field}.provider", unreachable(kind)))
            return
        try:
            self._storages.check(StorageSpec("/", config))
        except BadRecord as error:
            place = error.field.removeprefix("filesystem")
            self.notes.append(
                (f"{field}{place}", f"{error.what}: until that is set, its files cannot be reached")
            )

    def by_row(self, field: str, row: Row | None, value: object) -> None:
        """Judge a field that is set by its row; None is a field that nobody knows."""
        if (row is not None and row.fate in _SILENT) or not asks(value):
            return
        if row is None:
            self.closes.append((field, _UNKNOWN))
        elif row.fate is Fate.RESTRICTS:
            self.closes.append((field, row.todo))
        elif row.fate is Fate.HARMLESS and row.todo and not row.todo.startswith("says only"):
            self.notes.append((field, row.todo))


_CRYPTFS: Final = (
    "cannot read files of the old server: move them through a client of it, then remove this option"
)
MAGIC: Final = re.compile(r"[*?\[\\]")
"""Characters that make a path of a permission a pattern."""


def convert_user(user: Document, era: Era, judged: Judged, where: str) -> None:
    """Rewrite a user document in place, groups resolved or kept before.

    Raises:
        BadRecord: a part is not of the form that it should have.
    """
    convert_settings(user, era, judged, where, own=True)
    _top(user, judged)


def convert_settings(user: Document, era: Era, judged: Judged, where: str, *, own: bool = False) -> None:
    """Rewrite what users and groups have alike, in place.

    Args:
        user: the user, or the settings of a group with its mounts.
        era: of the dump.
        judged: takes what is to be said.
        where: prefix of errors.
        own: it is a user.

    Raises:
        BadRecord: a part is not of the form that it should have.
    """
    if user.get("filters") is None:
        user["filters"] = {}
    if not isinstance(user["filters"], dict):
        raise BadRecord(f"{where}filters", "should be a JSON object")
    steps: tuple[Callable[[Document, Era, Judged], None], ...] = (
        _numbers,
        _home,
        _permissions,
        _public_keys,
        _mounts,
    )
    for step in steps:
        step(user, era, judged)
    filters = user["filters"]
    for field, text in convert_patterns(filters, era, f"{where}filters."):
        judged.notes.append((field if field.startswith("filters.") else f"filters.{field}", text))
    _addresses(filters, era)
    _second_factor(filters, judged)
    _methods(filters, era, judged)
    if own:
        _password_age(user, filters, judged)
    for key, value in filters.items():
        if key == "ip_order" or not value:  # ours, set above; or empty
            continue
        judged.by_row(f"filters.{key}", table.FILTERS.get(key), value)
        rows = table.NESTED.get(key)
        for item in value if rows is not None and isinstance(value, list) else ():
            for inner in item if isinstance(item, dict) else ():
                if inner not in ("order", "directories"):
                    judged.by_row(f"filters.{key}.{inner}", (rows or {}).get(inner), item[inner])


def _top(user: Document, judged: Judged) -> None:
    for key, value in user.items():
        if value:  # of 24 fields most are empty
            judged.by_row(key, table.USERS.get(key), value)


def _numbers(user: Document, _era: Era, judged: Judged) -> None:
    for name in _NUMBERS:
        value = user.get(name)
        if isinstance(value, int) and value < 0:
            user[name] = 0
            judged.notes.append((name, "was below 0, which meant none; now 0"))
    listed = user["filters"].get("data_transfer_limits")
    for limit in listed if isinstance(listed, list) else ():
        for name, value in limit.items() if isinstance(limit, dict) else ():
            if isinstance(value, int) and value < 0:
                limit[name] = 0


def _home(user: Document, _era: Era, judged: Judged) -> None:
    home = user.get("home_dir")
    if isinstance(home, str) and home.startswith("/") and ".." in home.split("/"):
        user["home_dir"] = posixpath.normpath("/" + home.lstrip("/"))
        judged.notes.append(("home_dir", "held '..', which is resolved now"))
    judged.storage(user.get("filesystem"), "filesystem")


def _permissions(user: Document, era: Era, judged: Judged) -> None:
    given = user.get("permissions")
    if isinstance(given, list):
        given = user["permissions"] = {"/": given}
    if not isinstance(given, dict):
        return
    made: Document = {}
    for path, names in given.items():
        names = [] if names is None else names
        if (
            isinstance(names, list)
            and "rename_dirs" in names
            and not {"rename_files", "rename", "*"} & set(map(str, names))
        ):
            # There it took both to rename a directory with files in it.
            kept = [name for name in names if name != "rename_dirs"]
            if not kept and path == "/":  # which has to grant something
                judged.closes.append(
                    ("permissions", "rename_dirs is all that is given for '/': give more, or take it away")
                )
                made[path] = names
                continue
            names = kept
            judged.notes.append(
                ("permissions", "rename_dirs without rename_files moved only empty directories: taken away")
            )
        made[str(path)] = names
    made = _overlapping(made, judged) if era.stars == "pattern" else _stars(made, era, judged)
    user["permissions"] = made


def _stars(permissions: Document, era: Era, judged: Judged) -> Document:
    made: Document = {}
    for path, names in permissions.items():
        if not MAGIC.search(path):
            made[path] = names
        elif era.stars == "text":
            made[MAGIC.sub(r"\\\g<0>", path)] = names
            judged.notes.append(("permissions", f"{path[:60]!r} is one directory of that name, no pattern"))
        else:
            made[path] = _common(names, [other for key, other in permissions.items() if key != path])
            message = (
                f"{path[:60]!r} was a pattern or one directory, by release: only what neither opens is given"
            )
            judged.notes.append(("permissions", message))
    return made


def _overlapping(permissions: Document, judged: Judged) -> Document:
    """Several patterns may match one directory; the source asks them in no fixed order."""
    patterns = [path for path in permissions if MAGIC.search(path)]
    if len(patterns) < 2:
        return permissions
    made: Document = {}
    for path, names in permissions.items():
        others = [
            other for other in patterns if other != path and path in patterns and _may_meet(path, other)
        ]
        made[path] = kept = names
        if others and isinstance(names, list):  # what is no list, validation names
            made[path] = kept = _common(names, [permissions[other] for other in others])
        if kept != names:
            judged.notes.append(
                (
                    "permissions",
                    f"{path[:60]!r} and {others[0][:60]!r} may match one directory: what both give is given",
                )
            )
    return made


def _may_meet(one: str, other: str) -> bool:
    """False if no directory matches both patterns; True also where that cannot be told."""
    first, second = one.split("/"), other.split("/")
    return len(first) == len(second) and all(
        a == b or MAGIC.search(a) or MAGIC.search(b) for a, b in zip(first, second, strict=True)
    )


def _common(names: object, others: list[object]) -> list[str]:
    """The names that all of the others give too; ``*`` gives everything."""
    sets = [set(_all(other)) for other in others]
    kept = [name for name in _all(names) if all("*" in other or name in other for other in sets)]
    if "*" in _all(names) and any("*" not in other for other in sets):
        return sorted(set.intersection(*(other for other in sets if "*" not in other)))
    return kept


def _all(names: object) -> list[str]:
    return [str(name) for name in names] if isinstance(names, list) else []


def _public_keys(user: Document, _era: Era, judged: Judged) -> None:
    keys = user.get("public_keys")
    if not isinstance(keys, list):
        return
    made: list[object] = []
    for index, text in enumerate(keys):
        if not isinstance(text, str):
            made.append(text)
            continue
        found = split_options(text)
        made.append(found.line)
        field = f"public_keys[{index}]"
        if found.idle:
            judged.notes.append((field, f"{', '.join(found.idle)} holds here for every key"))
        filters = user["filters"]
        if found.networks and len(keys) == 1 and not asks(filters.get("allowed_ip")):
            filters["allowed_ip"] = list(found.networks)
            message = f"from={','.join(found.networks)} is the account's allowed_ip now, for every method"
            judged.notes.append((field, message))
        elif found.networks:
            judged.closes.append(
                (field, "from= of one key cannot be kept: set allowed_ip, or open the account")
            )
        judged.closes += [
            (field, f"the option {option} cannot be kept: take it off, or open the account")
            for option in found.refused
        ]
    user["public_keys"] = made


def _mounts(user: Document, _era: Era, judged: Judged) -> None:
    mounts = user.get("virtual_folders")
    lost: list[Document] = []
    for index, mount in enumerate(mounts if isinstance(mounts, list) else ()):
        if not isinstance(mount, dict):
            continue
        field = f"virtual_folders[{index}]"
        if mount.pop("exclude_from_quota", False):
            mount.update(quota_size=0, quota_files=0)
        if ("quota_size" in mount) != ("quota_files" in mount):  # what is not there is 0 to Go
            mount.setdefault("quota_size", 0)
            mount.setdefault("quota_files", 0)
        size, files = mount.get("quota_size"), mount.get("quota_files")
        if (
            isinstance(size, int)
            and isinstance(files, int)
            and (size, files) != (-1, -1)
            and min(size, files) < 0
        ):
            mount.update(quota_size=max(0, size), quota_files=max(0, files))
            judged.notes.append(
                (f"{field}.quota_size", "one of the two quotas was -1; now no limit of its own")
            )
        if (why := split_off(mount)) is not None:
            judged.closes.append((f"{field}.subpath", why))
            lost.append(mount)
        for key, value in mount.items():
            judged.by_row(f"{field}.{key}", table.MOUNTS.get(key), value)
        judged.storage(mount.get("filesystem"), f"{field}.filesystem")
    if lost:
        user["virtual_folders"] = [mount for mount in mounts or () if mount not in lost]


def _addresses(filters: Document, era: Era) -> None:
    if not era.ip_denied_first and asks(filters.get("allowed_ip")) and asks(filters.get("denied_ip")):
        filters["ip_order"] = "allowed"


def _second_factor(filters: Document, judged: Judged) -> None:
    """Codes go on if their secret can be read; else each door that asked for one is shut.

    SSH is the only door for files, so the account is closed if it is among them.
    """
    older = filters.pop("2fa_protocols", None)
    if asks(older) and not asks(filters.get("two_factor_protocols")):
        filters["two_factor_protocols"] = older
    field = "filters.two_factor_protocols"
    if asks(listed := filters.get("two_factor_protocols")) and not _are_doors(listed):
        judged.closes.append((field, "is no list of SSH, FTP and HTTP: see what it asks for, then open it"))
        del filters["two_factor_protocols"]
    keep_recovery_codes(filters)
    totp = filters.get("totp_config")
    if not isinstance(totp, dict) or not totp.get("enabled"):
        return
    field = "filters.totp_config"
    why = codes_lost(totp)
    if why is None:
        if (name := totp.get("config_name")) != "Default":
            judged.notes.append((field, f"needs an entry {str(name)[:40]!r} in mfa.totp"))
        return
    protocols = totp.get("protocols")
    doors = {str(door) for door in protocols} if isinstance(protocols, list) and protocols else {"SSH"}
    others = sorted(doors & {"FTP", "HTTP"})
    if doors - {"FTP", "HTTP"}:
        judged.closes.append((field, f"{why}: {table.FILTERS['totp_config'].todo}"))
    elif others:
        denied = filters.get("denied_protocols") or []
        filters["denied_protocols"] = [*denied, *(door for door in others if door not in denied)]
        judged.notes.append((field, f"asked for over {' and '.join(others)}, which is denied now"))


def _are_doors(value: object) -> bool:
    return isinstance(value, list) and all(one in FAMILIES for one in value)


def codes_lost(totp: Document) -> str | None:
    """The reason why one-time codes cannot go on; None if they can."""
    secret = totp.get("secret")
    if isinstance(secret, dict):
        status = secret.get("status")
        if status not in ("Plain", "", None):
            return f"its secret is encrypted ({str(status)[:40]})"
        secret = secret.get("payload")
    try:
        decode_secret(secret if isinstance(secret, str) else "")
    except ValueError as error:
        return f"its secret {error}"
    return None


def keep_recovery_codes(filters: Document) -> None:
    """Recovery codes in plain text stay as their hashes; others cannot be checked and go."""
    listed = filters.get("recovery_codes")
    if not isinstance(listed, list):
        return
    made = []
    for one in listed:
        secret = one.get("secret") if isinstance(one, dict) else None
        if isinstance(secret, dict) and secret.get("status") in ("Plain", "", None):
            secret = secret.get("payload")
        if isinstance(secret, str) and secret:
            made.append({"secret": hash_recovery_code(secret), "used": bool(one.get("used"))})
    filters["recovery_codes"] = made


def _methods(filters: Document, era: Era, judged: Judged) -> None:
    """Before 2.5 a keyboard-interactive login needed a hook, and the password was no answer to it."""
    denied = filters.get("denied_login_methods") or []
    if era.keyboard or not isinstance(denied, list) or not all(isinstance(one, str) for one in denied):
        return  # whoever reads the document refuses what is no list of texts
    made = list(denied)
    asked = set(denied)
    if KEYBOARD not in asked:
        made.append(KEYBOARD)
        if "publickey" in asked and asked & {"password", "password-over-SSH"}:
            # Without this, denying the last single method would open logins in two steps.
            made.append(TWO_STEPS[0])
    if TWO_STEPS[1] not in made:
        made.append(TWO_STEPS[1])
    filters["denied_login_methods"] = list(dict.fromkeys(made))
    message = "keyboard-interactive was off without a hook and is denied; to offer it, take it off the list"
    judged.notes.append(("filters.denied_login_methods", message))


def _password_age(user: Document, filters: Document, judged: Judged) -> None:
    if asks(filters.get("password_expiration")) and not asks(user.get("last_password_change")):
        user["last_password_change"] = _OLD_PASSWORD_MS
        message = "the age of the password is not known, so it counts as expired: set a new one"
        judged.notes.append(("last_password_change", message))
