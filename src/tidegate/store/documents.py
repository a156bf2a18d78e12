# SPDX-License-Identifier: Apache-2.0
"""The edge codec: JSON documents of REST, the command line and dumps, to and from model values.

Field names are the JSON names that users of the field's other gateway know; documents of its 0.9 and 2.x
generations both decode (`store.versions` rewrites the older spellings). Decoding is strict: an unknown key is
an error that names its path and the nearest key there is. With `lenient` (dumps written by other
versions) unknown keys are kept in `extra` and noted instead. Keys that are known elsewhere and not built
here are always kept and, if they ask for something, noted.

Nothing that is secret leaves through `encode_*` unless `confidential` is given.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from tidegate.accounts.directories import never_given
from tidegate.accounts.keys import stored_key
from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.errors import BadRecord, RefusedKey
from tidegate.model import (
    LOCAL_DISK,
    Account,
    Admin,
    AdminFilters,
    ApiKey,
    BandwidthLimit,
    FilePatterns,
    Filters,
    Folder,
    FolderMount,
    Tally,
    TallyLimits,
    TimeWindow,
)
from tidegate.model.changes import changed
from tidegate.model.secret_names import is_hidden
from tidegate.model.storage import NUMBERED
from tidegate.store import secrecy, storages, validate, versions

Document = dict[str, Any]

MAX_DEPTH: Final = 32
"""Nesting of a document; deeper ones are refused before they reach recursive code."""

_ACCOUNT: Final = TypeAdapter(Account)
_FOLDER: Final = TypeAdapter(Folder)
_ADMIN: Final = TypeAdapter(Admin)
_API_KEY: Final = TypeAdapter(ApiKey)

Record = TypeVar("Record")


def decode_account(
    document: object,
    *,
    base: Account | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> Account:
    """Decode and check one user document.

    Args:
        document: parsed JSON.
        base: the stored account that the document replaces: an absent or empty password or `home_dir`,
            absent permissions and what REST never shows are taken from it.
        where: prefix of error fields, for instance ``users[3].``.
        lenient: keep unknown keys instead of refusing them.
        notes: receives one line for each thing that was accepted and has no effect here.
        rules: settings that decide what is valid.
        owned: the document was passed by `refuse_deep` and may be changed, so that it need not be copied.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = _Keys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    versions.modernise_account(plain, where)
    foreign = found.split(plain, Account, versions.USER_KEYS)
    filters = found.inner(plain, "filters", Filters, versions.FILTER_KEYS)
    extra = filters.pop("extra", {}) if filters is not None else {}
    if foreign:
        extra = {**extra, secrecy.OUTER: foreign}
    if filters is not None:
        for name, kind in (
            ("file_patterns", FilePatterns),
            ("bandwidth_limits", BandwidthLimit),
            ("access_time", TimeWindow),
        ):
            found.items(filters, f"filters.{name}", name, kind)
        found.inner(filters, "filters.tally_limits", TallyLimits)
    found.items(plain, "virtual_folders", "virtual_folders", FolderMount, versions.MOUNT_KEYS)
    found.inner(plain, "tally", Tally)
    found.filesystem(plain, rules)
    mounts = plain.get("virtual_folders")
    for index, mount in enumerate(mounts if isinstance(mounts, list) else ()):
        if isinstance(mount, dict):
            found.filesystem(mount, rules, f"virtual_folders[{index}].")
    if extra:
        plain.setdefault("filters", {})["extra"] = extra
    if base is not None:
        plain.setdefault("username", base.username)
        plain["password"] = plain.get("password") or base.password
        plain["home_dir"] = plain.get("home_dir") or base.home_dir
        if not plain.get("permissions"):
            plain["permissions"] = {path: list(names) for path, names in base.permissions.items()}
    account = _validated(_ACCOUNT, plain, where)
    known = base.public_keys if base is not None else ()
    if lenient:
        known = found.usable_keys(account.public_keys)
        account = changed(account, public_keys=known)
        found.note_directory("home_dir", account.home_dir, rules)
    if base is not None:
        kept = secrecy.keep_hidden(account.filters.extra, base.filters.extra)
        account = replace(
            account,
            filters=replace(account.filters, extra=kept),
            filesystem=storages.keep_secrets(account.filesystem, base.filesystem),
        )
    if not lenient:
        validate.check_storages(account, rules, where)
    rules = _without_places(rules, stays=lenient or (base is not None and base.home_dir == account.home_dir))
    return validate.check_account(account, rules, where, known_keys=known)


def encode_account(account: Account, *, confidential: bool) -> Document:
    """The user document of an account.

    Args:
        account: what to write.
        confidential: include the password hash and secrets of kept foreign fields (dumps). Otherwise
            the answer says only ``has_password``.
    """
    document: Document = _ACCOUNT.dump_python(account, mode="json")
    filters: Document = document["filters"]
    for window in filters["access_time"]:
        window["from"] = window.pop("from_")
    extra: Document = filters.pop("extra")
    if filters["tally_limits"] is None:
        del filters["tally_limits"]
    if not filters["imported_from"]:
        del filters["imported_from"]
    outer = extra.pop(secrecy.OUTER, {})
    written = storages.encode_storage if confidential else storages.shown_storage
    for mount, given in zip(document["virtual_folders"], account.virtual_folders, strict=True):
        mount["filesystem"] = written(given.filesystem)
        if not mount["filesystem"]:
            del mount["filesystem"]
    if not confidential:
        extra, outer = secrecy.without_secrets(extra), secrecy.without_secrets(outer)
        del document["password"]
    document["has_password"] = bool(account.password)
    document["filters"] = {**extra, **filters}
    document["filesystem"] = written(account.filesystem) or {"provider": 0}
    return {**outer, **document}


def decode_folder(
    document: object,
    *,
    base: Folder | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> Folder:
    """Decode and check one folder document; arguments as `decode_account`.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = _Keys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    found.split(plain, Folder, versions.FOLDER_KEYS)
    found.filesystem(plain, rules)
    if base is not None:
        plain.setdefault("name", base.name)
    folder = _validated(_FOLDER, plain, where)
    if base is not None:
        folder = replace(folder, filesystem=storages.keep_secrets(folder.filesystem, base.filesystem))
    if not lenient:
        validate.check_storages(folder, rules, where)
    if lenient:
        found.note_directory("mapped_path", folder.mapped_path, rules)
    rules = _without_places(
        rules, stays=lenient or (base is not None and base.mapped_path == folder.mapped_path)
    )
    return validate.check_folder(folder, rules, where)


def encode_folder(folder: Folder, *, confidential: bool, users: list[str] | None = None) -> Document:
    """The folder document; `users` adds the names of the accounts that mount it."""
    document: Document = _FOLDER.dump_python(folder, mode="json")
    written = storages.encode_storage if confidential else storages.shown_storage
    document["filesystem"] = written(folder.filesystem) or {"provider": 0}
    if users is not None:
        document["users"] = users
    return document


def decode_admin(
    document: object,
    *,
    base: Admin | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> Admin:
    """Decode and check one administrator document; arguments as `decode_account`.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = _Keys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    foreign = found.split(plain, Admin, versions.ADMIN_KEYS)
    filters = found.inner(plain, "filters", AdminFilters, versions.ADMIN_FILTER_KEYS)
    extra = filters.pop("extra", {}) if filters is not None else {}
    if foreign:
        extra = {**extra, secrecy.OUTER: foreign}
    if extra:
        plain.setdefault("filters", {})["extra"] = extra
    if base is not None:
        plain.setdefault("username", base.username)
        plain["password"] = plain.get("password") or base.password
    admin = _validated(_ADMIN, plain, where)
    if base is not None:
        kept = secrecy.keep_hidden(admin.filters.extra, base.filters.extra)
        admin = replace(admin, filters=replace(admin.filters, extra=kept))
    return validate.check_admin(admin, rules, where)


def encode_admin(admin: Admin, *, confidential: bool) -> Document:
    """The administrator document; the hash only if `confidential`."""
    document: Document = _ADMIN.dump_python(admin, mode="json")
    filters: Document = document["filters"]
    extra: Document = filters.pop("extra")
    outer = extra.pop(secrecy.OUTER, {})
    if not confidential:
        extra, outer = secrecy.without_secrets(extra), secrecy.without_secrets(outer)
        del document["password"]
    document["filters"] = {**extra, **filters}
    return {**outer, **document}


def decode_api_key(
    document: object,
    *,
    base: ApiKey | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> ApiKey:
    """Decode and check one API key document; `key` is the stored hash and is taken from `base` if absent.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = _Keys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    found.split(plain, ApiKey, versions.API_KEY_KEYS)
    if base is not None:
        plain.setdefault("id", base.id)
        plain["key"] = plain.get("key") or base.key
    return validate.check_api_key(_validated(_API_KEY, plain, where), rules, where)


def encode_api_key(key: ApiKey, *, confidential: bool) -> Document:
    """The API key document; the hash of the secret only if `confidential`."""
    document: Document = _API_KEY.dump_python(key, mode="json")
    if not confidential:
        del document["key"]
    return document


def _without_places(rules: Rules, *, stays: bool) -> Rules:
    """The rules without the judgement of directories, which is for new and changed ones."""
    return _placeless(rules) if stays and rules.server_dir else rules


@lru_cache(maxsize=8)
def _placeless(rules: Rules) -> Rules:
    return replace(rules, server_dir="", storages=None)  # which the cache does not tell apart


# --- pieces ---------------------------------------------------------------------------------------------


class _Keys:
    """Walks one document and settles what to do with each key that the model does not have."""

    def __init__(self, where: str, *, lenient: bool, notes: list[str] | None, owned: bool = False) -> None:
        self._where = where
        self._owned = owned
        self._lenient = lenient
        self._notes = notes

    def plain(self, document: object) -> Document:
        """A document that may be changed, without nulls at the top: a copy, unless it is owned."""
        if not isinstance(document, Mapping):
            raise BadRecord(self._where.rstrip("."), "should be a JSON object")
        where = self._where
        if self._owned:
            return {key: value for key, value in document.items() if value is not None}
        return {
            str(key): value if type(value) in _PLAIN else _copied(value, where)
            for key, value in document.items()
            if value is not None
        }

    def split(self, plain: Document, model: type, foreign: Mapping[str, str], path: str = "") -> Document:
        """Take out what is not the model's: derived keys are dropped, foreign ones returned."""
        known = _names(model)
        kept: Document = {}
        for key in [key for key in plain if key not in known]:
            value = plain.pop(key)
            treatment = foreign.get(key)
            if treatment == versions.DERIVED:
                continue
            if treatment is None and not self._lenient:
                raise BadRecord(f"{self._where}{path}{key}", _unknown(key, {*known, *foreign}))
            kept[key] = value
            if value or value not in (None, False, 0, "", [], {}):
                self._note(f"{path}{key}", "not available in this version" if treatment else "unknown, kept")
        return kept

    def inner(
        self, holder: Document, path: str, model: type, foreign: Mapping[str, str] | None = None
    ) -> Document | None:
        """Settle the keys of a nested object in place."""
        name = path.rsplit(".", 1)[-1]
        value = holder.get(name)
        if value is None:
            holder.pop(name, None)
            return None
        if not isinstance(value, dict):
            raise BadRecord(f"{self._where}{path}", "should be a JSON object")
        _drop_nulls(value)
        given = value.pop("extra", None) if foreign is not None else None
        kept = self.split(value, model, foreign or {}, f"{path}.")
        if isinstance(given, dict):
            kept = {**given, **kept}
        if kept and foreign is not None:
            value["extra"] = kept
        return value

    def items(
        self, holder: Document, path: str, name: str, model: type, foreign: Mapping[str, str] | None = None
    ) -> None:
        """Settle the keys of each object of a nested list in place."""
        items = holder.get(name)
        if not isinstance(items, list):
            return
        for index, item in enumerate(items):
            key_path = f"{path}[{index}]"
            if not isinstance(item, dict):
                raise BadRecord(f"{self._where}{key_path}", "should be a JSON object")
            _drop_nulls(item)
            if model is TimeWindow:
                if "from_" in item:
                    raise BadRecord(f"{self._where}{key_path}.from_", "unknown key, did you mean from?")
                if "from" in item:
                    item["from_"] = item.pop("from")
            self.split(item, model, foreign or {}, f"{key_path}.")

    def filesystem(self, plain: Document, rules: Rules, path: str = "") -> None:
        """Local storage is the default and stored as nothing; other storage is kept and noted."""
        value = plain.get("filesystem")
        if not isinstance(value, dict):
            return
        field = f"{path}filesystem.provider"
        try:
            config = storages.decode_storage(value)
        except ValueError as error:
            raise BadRecord(f"{self._where}{field}", str(error)) from None
        known = rules.storages is not None and rules.storages.problem(config) is None
        if not config.is_local and not known:
            if config.kind not in NUMBERED and not self._lenient:
                raise BadRecord(f"{self._where}{field}", f"{config.kind!r} is not a provider")
            self._note(field, storages.unavailable(config.kind))
        elif config.is_local and not config.options.get("osconfig"):
            config = LOCAL_DISK
        plain["filesystem"] = storages.fields_of(config)

    def usable_keys(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Lines of the public keys; whole ones of a kind that may not log in are left out and noted."""
        lines: list[str] = []
        for index, key in enumerate(keys):
            try:
                lines.append(stored_key(f"{self._where}public_keys[{index}]", key))
            except RefusedKey as error:
                self._note(f"public_keys[{index}]", f"left out: {error.what}")
        return tuple(lines)

    def note_directory(self, path: str, directory: str, rules: Rules) -> None:
        """Remark that a directory of a dump, which is restored as it was, could not be given anew."""
        if directory and rules.server_dir:
            why = never_given(directory, base=rules.users_base_dir, server_dir=rules.server_dir)
            if why is not None:
                self._note(path, f"restored as it was, but {why}")

    def _note(self, path: str, what: str) -> None:
        if self._notes is not None:
            self._notes.append(f"{self._where}{path}: {what}")


_TEXT: Final = json.JSONEncoder(check_circular=False)
"""Documents have no circles: their depth is bounded."""


def _validated(adapter: TypeAdapter[Record], plain: Document, where: str) -> Record:
    """Types only; strict as JSON is, so that text never passes for a number."""
    try:
        text = _TEXT.encode(plain)
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        if first["type"] == "missing":
            what = "is missing"
        elif first["type"] == "json_invalid":
            raise BadRecord(where.rstrip("."), "holds an unpaired surrogate or is not JSON") from None
        else:
            what = first["msg"].removeprefix("Input ") + _shown(first["loc"], first["input"])
        raise BadRecord(where + _path(first["loc"]), what) from None
    except (TypeError, ValueError) as error:
        raise BadRecord(where.rstrip("."), f"is not JSON: {error}") from None


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif text.endswith("permissions"):
            text += f'["{part[:200]}"]'
        else:
            part = "from" if part == "from_" else part
            text += f".{part}" if text else part
    return text


def _shown(location: tuple[int | str, ...], value: object) -> str:
    """The wrong value, unless it is or may hold a secret."""
    if is_hidden(str(location[-1])) or isinstance(value, (dict, list)):
        return ""
    text = repr(value)
    return f", not {text if len(text) <= 60 else text[:57] + '...'}"


def _unknown(key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key, did you mean {near[0].rstrip('_')}?" if near else "unknown key"


def _drop_nulls(value: Document) -> None:
    for key in [key for key, item in value.items() if item is None]:
        del value[key]


_PLAIN: Final = frozenset((str, int, bool, type(None)))
"""Types of JSON values that hold nothing and are always finite."""


def _copied(value: object, where: str, depth: int = 1) -> object:
    """A copy of parsed JSON; refuses what is nested too deep before other code walks it.

    Refuses infinities too: JSON has none (``1e999`` parses as one), and what is kept has to be written again.
    """
    if depth > MAX_DEPTH and isinstance(value, (dict, list)):
        raise BadRecord(where.rstrip("."), f"is nested deeper than {MAX_DEPTH} levels")
    # Most values are plain; a call for each would cost as much as all the rest of decoding a record.
    if isinstance(value, dict):
        return {
            str(key): item if type(item) in _PLAIN else _copied(item, where, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _PLAIN else _copied(item, where, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRecord(where.rstrip("."), "holds a number that is not finite")
    return value


def refuse_deep(document: dict[str, Any], where: str) -> None:
    """Return if a parsed document may be walked.

    Raises:
        BadRecord: it is nested too deep, or holds a number that is not finite.
    """
    todo: list[object] = [document]
    for _ in range(MAX_DEPTH):
        # Level by level: no call for each of the parts of a hundred thousand records.
        below: list[object] = []
        for holder in todo:
            for item in holder.values() if isinstance(holder, dict) else holder:  # type: ignore[attr-defined]
                kind = type(item)
                if kind is dict or kind is list:
                    below.append(item)
                elif kind is float and not math.isfinite(item):
                    raise BadRecord(where.rstrip("."), "holds a number that is not finite")
        if not below:
            return
        todo = below
    raise BadRecord(where.rstrip("."), f"is nested deeper than {MAX_DEPTH} levels")


_NAMES: dict[type, frozenset[str]] = {}


def _names(model: type) -> frozenset[str]:
    known = _NAMES.get(model)
    if known is None:
        known = frozenset(item.name for item in fields(model))
        _NAMES[model] = known
    return known
