# SPDX-License-Identifier: Apache-2.0
"""Section ``storage``: which kinds of storage there are."""

from __future__ import annotations

from tidegate.config.schema.base import Section, key


class StorageKeys(Section):
    """Kinds of storage besides local disk and installed ones."""

    kinds: dict[str, str] = key(
        {},
        "Kinds that packages without an entry point bring: the name that stands in `filesystem.provider`, "
        "and `package.module:name`.",
    )
