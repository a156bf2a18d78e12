# SPDX-License-Identifier: Apache-2.0
"""Declares keys: type, default, one sentence, and the kind of key."""

from __future__ import annotations

import os
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

# Else the first model searches all installed packages for plugins of pydantic, and runs what it finds: a
# server loads what its configuration names.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"

HOOK: Final = r"^$|^/[^\x00]+$|^https?://[^\x00\s]+$"
"""A hook: a program or a URL."""
HOOK_LIKE: Final = "an absolute path of a program, or a URL with http or https"
PROGRAM: Final = r"^$|^/[^\x00]+$"
PROGRAM_LIKE: Final = "an absolute path of a program"

MASK: Final = "********"
"""Shown in place of a secret that is set."""


class Section(BaseModel):
    """Base of every section: unknown keys are errors, nothing is converted silently, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=False)


def key(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    secret: bool = False,
    available: bool = True,
    switch: str = "",
    ge: float | None = None,
    le: float | None = None,
    pattern: str | None = None,
    like: str = "",
) -> Any:
    """Declare a configuration key.

    Args:
        default: its value when nobody sets it.
        doc: one sentence for documentation, help and error messages.
        unit: unit of the number, for instance ``seconds``.
        secret: masked wherever it is shown.
        available: False for keys of the compatible configuration that this version does not act on; setting
            one to anything but an "off" value is reported.
        switch: for an unavailable section: the key inside that switches it on.
        ge: least value.
        le: greatest value.
        pattern: regular expression for texts.
        like: the pattern in words, for error messages.
    """
    return Field(
        default=default,
        description=doc,
        ge=ge,
        le=le,
        pattern=pattern,
        json_schema_extra={
            "unit": unit,
            "secret": secret,
            "available": available,
            "switch": switch,
            "like": like,
        },
    )


def trait(field: FieldInfo, name: str) -> Any:
    """A trait that `key` was given for a field: unit, secret, available, switch or like."""
    extra = field.json_schema_extra
    return extra.get(name) if isinstance(extra, dict) else None


def is_off(value: object) -> bool:
    """True if a value of an unavailable key switches nothing on.

    Off are empty and zero values, lists and tables of such, and tables that say so themselves
    (``enabled`` false, ``port`` or ``bind_port`` 0, ``average`` 0).
    """
    match value:
        case dict():
            for name in ("enabled", "port", "bind_port", "average"):
                if name in value and not value[name]:
                    return True
            return all(map(is_off, value.values()))
        case list():
            return all(map(is_off, value))
        case str():
            return value.strip() in ("", "0", "false")
        case _:
            return not value
