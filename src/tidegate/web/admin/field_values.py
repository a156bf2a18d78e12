# SPDX-License-Identifier: Apache-2.0
"""Values of a document as the texts of a form's fields, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.accounts import typed_values as amounts
from tidegate.errors import BadRecord
from tidegate.web.admin.user_fields import UserField

Values = dict[str, list[str]]
"""Fields of a form and their values."""


def get(document: Mapping[str, Any], path: str) -> Any:
    """The value at a path of keys joined by dots; None if there is none."""
    value: Any = document
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def shown(field: UserField, value: Any) -> list[str]:
    """The value of a document as the values of its field."""
    match field.kind:
        case "size":
            return [amounts.size_text(int(value or 0))]
        case "end":
            return [amounts.end_text(int(value or 0))]
        case "number":
            return [str(value) if value else ""]
        case "lines":
            return ["\n".join(map(str, value or ()))]
        case "flag":
            return ["1"] if value else []
        case "switch":
            return ["1"] if value == 1 else []
        case "denied":
            denied = set(value or ())
            return [word for word, _ in field.choices if word not in denied]
        case "secret":
            return [""]
        case "checks":
            given = set(map(str, value or ()))
            return [word for word, _ in field.choices if word in given]
        case "json":
            return [json.dumps(value, indent=2, ensure_ascii=False) if value else ""]
    return [str(value or "")]


def put(document: dict[str, Any], field: UserField, given: Sequence[str]) -> None:
    """Put the values of a field into a document.

    Raises:
        BadRecord: they cannot be read.
    """
    text = given[0].replace("\r\n", "\n").strip() if given else ""
    value: Any = text
    try:
        match field.kind:
            case "size":
                value = amounts.read_size(text)
            case "end":
                value = amounts.read_end(text)
            case "number":
                value = _number(text)
            case "lines":
                value = [line.strip() for line in text.split("\n") if line.strip()]
            case "flag":
                value = bool(given)
            case "switch":
                value = 1 if given else 0
            case "code":
                value = int(text) if text in {code for code, _ in field.choices} else text[:40]
            case "denied":
                value = [word for word, _ in field.choices if word not in given]
            case "checks":
                value = list(given)
            case "json":
                value = _json(text)
            case "secret":
                if not text:
                    return
                value = {"status": "Plain", "payload": text}
    except ValueError as error:
        raise BadRecord(field.name, str(error)) from None
    *inner, last = field.path.split(".")
    place = document
    for key in inner:
        place = place.setdefault(key, {})
    if field.kind == "json" and value is None:
        place.pop(last, None)
    else:
        place[last] = value


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None


def _number(text: str) -> int:
    plain = text.replace(",", "").replace("_", "").replace(" ", "")
    if not plain:
        return 0
    if not (plain.isascii() and plain.isdigit()) or len(plain) > 18:
        raise ValueError("is no whole number")
    return int(plain)
