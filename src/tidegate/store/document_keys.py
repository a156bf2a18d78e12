# SPDX-License-Identifier: Apache-2.0
"""A document before it is a record: its keys, its depth and the types of its values."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from tidegate.accounts.directories import never_given
from tidegate.accounts.keys import stored_key
from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord, RefusedKey
from tidegate.model import (
    LOCAL_DISK,
    TimeWindow,
)
from tidegate.model.secret_names import is_hidden
from tidegate.model.storage import NUMBERED
from tidegate.store import storages, versions

Document = dict[str, Any]
MAX_DEPTH: Final = 32
"""Nesting of a document; deeper ones are refused before they reach recursive code."""
Record = TypeVar("Record")


class DocumentKeys:
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
            if treatment == versions.REFUSED:
                if value:
                    what = "only a whole folder can be mounted: make a folder of that part"
                    raise BadRecord(f"{self._where}{path}{key}", what)
                continue
            if treatment is None and not self._lenient:
                raise BadRecord(f"{self._where}{path}{key}", _unknown(key, {*known, *foreign}))
            kept[key] = value
            if treatment == versions.HELD:
                continue
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


def validated(adapter: TypeAdapter[Record], plain: Document, where: str) -> Record:
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
