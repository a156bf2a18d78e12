# SPDX-License-Identifier: Apache-2.0
"""Dead properties (RFC 4918 section 4.2): what clients say about files beside their content.

The data provider keeps them.

Properties are kept under the identity of a file or directory, its *place* (`contracts.storage.Identifies`). A
value is the XML of the property's content, which nobody here looks at.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

PropertyName = tuple[str, str]
"""Namespace (may be empty) and local name."""

Properties = Mapping[PropertyName, bytes]


@dataclass(frozen=True, slots=True)
class PropertyLimits:
    """Bounds.

    Attributes:
        count: properties of one file or directory.
        name_chars: characters of a namespace, and of a name.
        value_bytes: bytes of one value.
        resource_bytes: bytes of all names and values of one file or directory.
        account_bytes: bytes of all that one account has set.
    """

    count: int = 200
    name_chars: int = 1024
    value_bytes: int = 64 * 1024
    resource_bytes: int = 256 * 1024
    account_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyPatch:
    """A change of the properties of one place; all of it happens, or nothing.

    Attributes:
        place: of what.
        root: the place of the storage root through which it was reached.
        account: who sets them; it is charged for all properties of the place from then on.
        sets: to be set.
        removes: to be removed; what is not there is no error.
    """

    place: str
    root: str
    account: str
    sets: Properties
    removes: Collection[PropertyName] = ()


class KeepsProperties(Protocol):
    """A data provider, as far as properties are concerned."""

    @property
    def properties(self) -> PropertyStore:
        """The store; asked for once somebody sets, or may have set, a property."""
        ...

    async def property_roots(self) -> set[str]:
        """Every `PropertyPatch.root` for which properties may be kept; cheap, however many there are."""
        ...


class PropertyStore(Protocol):
    """Dead properties. Every method may raise `ProviderUnavailable`, and has done nothing then."""

    async def get(self, place: str) -> dict[PropertyName, bytes]:
        """Properties of a place; empty if it has none."""
        ...

    async def of_children(self, place: str) -> dict[str, dict[PropertyName, bytes]]:
        """Properties of what is directly in a directory, by name, in one query; without what has none."""
        ...

    async def patch(self, change: PropertyPatch, limits: PropertyLimits) -> None:
        """Set and remove properties.

        Raises:
            QuotaExceeded: a limit would be passed; nothing was changed.
        """
        ...

    async def move(self, source: str, target: str, root: str) -> None:
        """Give `target` what `source` and everything below it has; what the target had is gone.

        Nothing happens if the target is the source, or lies in it.

        Args:
            root: the storage root of the target.
        """
        ...

    async def copy(self, source: str, target: str, root: str, account: str, limits: PropertyLimits) -> None:
        """`target` has the properties of `source` now, and no others; nothing below them is copied.

        The account is charged; what does not fit into its limit is left out, and nothing fails.
        """
        ...

    async def copy_tree(self, source: str, target: str, root: str) -> None:
        """Give `target` what `source` and everything below it has, and nothing else; the source keeps it.

        Each account is charged for the copies of what it is charged for already, whatever its limit. Nothing
        happens if one of both is the other, or lies in it.

        Args:
            root: the storage root of the target.
        """
        ...

    async def remove(self, place: str) -> None:
        """Forget the properties of a place and of everything below it."""
        ...

    async def places(self, root: str, after: str, limit: int) -> list[str]:
        """Places at or below a root that have properties, in an order of the store's own.

        Args:
            after: the last one that was returned; empty for the first page.
        """
        ...
