# SPDX-License-Identifier: Apache-2.0
"""The quarantine of this host, by its directory."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tidegate.errors import InvalidArgument
from tidegate.inspection.quarantine import Item, Quarantine
from tidegate.server.inspectors import quarantine_options

if TYPE_CHECKING:
    from tidegate.cli.target import Document
    from tidegate.config.load import Loaded


class LocalQuarantine:
    """Files in the directory that the configuration names.

    Raises:
        InvalidArgument: it names none.
    """

    def __init__(self, loaded: Loaded) -> None:
        options = quarantine_options(loaded)
        if options is None:
            raise InvalidArgument("there is no quarantine: inspection.quarantine.directory is not set")
        self._quarantine = Quarantine(options)

    async def all(self) -> list[Document]:
        """Every file, oldest first."""
        return [_document(item) for item in await self._quarantine.all()]

    async def get(self, name: str) -> Document:
        """One of them."""
        return _document(await self._quarantine.get(name))

    async def release(self, name: str, to: str) -> Document:
        """Nothing: a running server has the storage open, and counts what is written.

        Raises:
            InvalidArgument: always.
        """
        del name, to
        raise InvalidArgument("a running server releases files, for it counts them: name it with --url")

    async def drop(self, name: str) -> None:
        """Remove one for good."""
        await self._quarantine.drop(name)


def _document(item: Item) -> Document:
    return {**asdict(item), "at": round(item.at * 1000)}
