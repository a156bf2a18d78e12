# SPDX-License-Identifier: Apache-2.0
"""Every effective value and where it came from, secrets masked.

Masked are values of keys that hold secrets, values in free tables whose names say so, and in any other text
what looks like a secret, such as a password in a URL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tidegate.config.load import Loaded
from tidegate.config.origin import Origin
from tidegate.config.schema.base import MASK, trait
from tidegate.config.schema.walk import KeyPath, dotted
from tidegate.logs import redact

_SECRET_NAMES: Final = re.compile(r"pass|secret|token|(^|_)key$|credential", re.IGNORECASE)
"""Keys inside free tables (sections of later versions, options of others) that may hold secrets."""


@dataclass(frozen=True, slots=True)
class Row:
    """One effective value.

    Attributes:
        key: ``sftpd.bindings[0].port``.
        value: as JSON would have it, with secrets masked.
        origin: ``default``, a file with key, or a variable.
        source: the same in parts.
        about: the sentence that documents the key.
    """

    key: str
    value: Any
    origin: str
    source: Origin
    about: str

    @property
    def text(self) -> str:
        """The value on one line."""
        return json.dumps(self.value, ensure_ascii=False)


def explain(loaded: Loaded) -> list[Row]:
    """Every effective value in the schema's order; keys of later versions only if they are set."""
    return list(_rows(loaded, loaded.settings, ()))


def _rows(loaded: Loaded, model: BaseModel, above: KeyPath) -> Iterator[Row]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        path = (*above, name)
        if trait(field, "available") is False:
            if name in model.model_fields_set:
                yield _row(loaded, path, _masked(value), field)
        elif isinstance(value, BaseModel):
            yield from _rows(loaded, value, path)
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            for index, item in enumerate(value):
                yield from _rows(loaded, item, (*path, index))
        else:
            shown = MASK if trait(field, "secret") and value else _masked(value)
            yield _row(loaded, path, shown, field)


def _row(loaded: Loaded, path: KeyPath, shown: Any, field: FieldInfo) -> Row:
    source = loaded.origin(path)
    return Row(dotted(path), shown, str(source), source, field.description or "")


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: MASK
            if _SECRET_NAMES.search(key) and inner and not isinstance(inner, bool)
            else _masked(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return redact.text(value) if isinstance(value, str) else value
