# SPDX-License-Identifier: Apache-2.0
"""Entries with the sizes of the content, which follow from those of what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tidegate.abc import TellsPartials
from tidegate.backends.crypt.format import plain_size
from tidegate.model import Entry, Kind


def plain_entry(entry: Entry) -> Entry:
    """An entry with the size of the content."""
    return entry._replace(size=plain_size(entry.size)) if entry.kind is Kind.FILE else entry


class _Listing:
    """A listing with the sizes of the content."""

    def __init__(self, inner: AsyncIterator[list[Entry]]) -> None:
        self._inner = inner

    def __aiter__(self) -> AsyncIterator[list[Entry]]:
        return self

    async def __anext__(self) -> list[Entry]:
        return [plain_entry(entry) for entry in await self._inner.__anext__()]

    async def aclose(self) -> None:
        """Release what the listing holds."""
        release = getattr(self._inner, "aclose", None)
        if release is not None:
            await release()


class _TellingListing(_Listing):
    """See `tidegate.abc.TellsPartials`."""

    @property
    def parts(self) -> bool:
        return bool(getattr(self._inner, "parts", True))

    @property
    def expired(self) -> bool:
        return bool(getattr(self._inner, "expired", False))


def plain_listing(inner: AsyncIterator[list[Entry]]) -> AsyncIterator[list[Entry]]:
    """A listing with the sizes of the content."""
    return _TellingListing(inner) if isinstance(inner, TellsPartials) else _Listing(inner)
