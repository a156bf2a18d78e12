# SPDX-License-Identifier: Apache-2.0
"""Finding one's way in the schema by key path, and turning text into what a key expects."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tidegate.config.schema.settings import Settings

Part = str | int
"""One step of a key path: the name of a key, or the index in a list."""

KeyPath = tuple[Part, ...]

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


def is_model(annotation: Any) -> bool:
    """True if an annotation is a section or a table of ours."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def field_at(path: KeyPath) -> FieldInfo | None:
    """The declaration that governs a path: that of the key itself, or of the nearest table or list above it.

    None if the path leads to no key.
    """
    annotation: Any = Settings
    field: FieldInfo | None = None
    for part in path:
        if is_model(annotation):
            field = annotation.model_fields.get(part) if isinstance(part, str) else None
            if field is None:
                return None
            annotation = field.annotation
        elif get_origin(annotation) is list and isinstance(part, int):
            annotation = get_args(annotation)[0]
        elif not (annotation is Any or get_origin(annotation) is dict):
            return None
        else:
            annotation = Any
    return field


def annotation_at(path: KeyPath) -> Any | None:
    """The type that a path expects; `Any` inside free tables; None if there is no such key."""
    annotation: Any = Settings
    for part in path:
        if is_model(annotation):
            field = annotation.model_fields.get(part) if isinstance(part, str) else None
            if field is None:
                return None
            annotation = field.annotation
        elif get_origin(annotation) is list and isinstance(part, int):
            annotation = get_args(annotation)[0]
        elif annotation is Any or get_origin(annotation) is dict:
            annotation = Any
        else:
            return None
    return annotation


def path_from_text(parts: list[str]) -> KeyPath:
    """A key path from its written parts; digits are list indexes where the schema has a list or is free."""
    path: KeyPath = ()
    for part in parts:
        at = annotation_at(path)
        indexed = part.isascii() and part.isdigit() and (at is Any or at is None or get_origin(at) is list)
        path = (*path, int(part) if indexed else part)
    return path


def dotted(path: KeyPath) -> str:
    """The written form of a path: ``sftpd.bindings[0].port``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def variable(path: KeyPath, prefix: str = "TIDEGATE_") -> str:
    """The environment variable of a path."""
    return prefix + "__".join(str(part).upper() for part in path)


def coerce(path: KeyPath, text: str) -> Any:
    """The value of a text at a path; text that does not fit is returned as it is, for validation to name."""
    return _coerce(annotation_at(path), text)


def _coerce(annotation: Any, text: str) -> Any:
    origin = get_origin(annotation)
    stripped = text.strip()
    if annotation is bool:
        return True if stripped.lower() in _TRUE else False if stripped.lower() in _FALSE else text
    if annotation in (int, float):
        try:
            return annotation(stripped)
        except ValueError:
            return text
    if origin is list:
        if stripped.startswith("["):
            return _json_or(text)
        inner = get_args(annotation)[0]
        return [_coerce(inner, item.strip()) for item in stripped.split(",")] if stripped else []
    if origin is dict or is_model(annotation):
        return _json_or(text)
    if origin in (Union, types.UnionType):
        return _coerce(next(a for a in get_args(annotation) if a is not type(None)), text)
    if annotation is Any:
        return _json_or(text)
    return text


def _json_or(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def declared(model: type[BaseModel] = Settings, above: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Every key of the schema in order of declaration, tables inside tables followed; lists show index 0."""
    for name, field in model.model_fields.items():
        path = (*above, name)
        annotation = field.annotation
        inner = get_args(annotation)[0] if get_origin(annotation) is list else None
        if is_model(annotation):
            yield from declared(typing.cast("type[BaseModel]", annotation), path)
        elif is_model(inner):
            yield from declared(typing.cast("type[BaseModel]", inner), (*path, 0))
        else:
            yield path, field
