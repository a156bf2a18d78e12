# SPDX-License-Identifier: Apache-2.0
"""One enabled administrator with all permissions remains, whatever is removed, changed or loaded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from typing import Final, Protocol, TypeVar

from tidegate.errors import BadRecord, InvalidArgument
from tidegate.model import Admin

EVERYTHING: Final = "*"
ENABLED: Final = 1
PAGE: Final = 500
"""Records read at a time."""

Batch = TypeVar("Batch", bound=Sequence[object])


class AdminReader(Protocol):
    """A data provider, as far as this room asks it."""

    async def admins(self, *, offset: int = 0, limit: int = 100) -> list[Admin]:
        """A page of administrators by name."""
        ...


def is_owner(admin: Admin) -> bool:
    """True if they may do everything, and are enabled."""
    return admin.status == ENABLED and EVERYTHING in admin.permissions


async def owners(provider: AdminReader) -> set[str]:
    """Names of all enabled administrators with all permissions."""
    found: set[str] = set()
    offset = 0
    while page := await provider.admins(offset=offset, limit=PAGE):
        found.update(admin.username for admin in page if is_owner(admin))
        offset += len(page)
    return found


async def check_owner_remains(provider: AdminReader, stored: Admin, wanted: Admin | None) -> None:
    """Return if an owner remains after a change (None: removal) of one administrator.

    Raises:
        InvalidArgument: there is no other; the server could not be managed any more.
    """
    if not is_owner(stored) or (wanted is not None and is_owner(wanted)):
        return
    if not await owners(provider) - {stored.username}:
        raise InvalidArgument(
            f"{stored.username} is the last enabled administrator with all permissions; add another one first"
        )


async def owners_kept(
    batches: AsyncIterable[Batch], before: set[str], *, add_only: bool
) -> AsyncGenerator[Batch, None]:
    """The batches of a load; its end is an error if they leave no owner where there was one.

    Args:
        batches: of records, to be stored in one transaction that an error undoes.
        before: `owners` before the load.
        add_only: records that exist are left as they are.

    Raises:
        BadRecord: no owner would remain.
    """
    if add_only:
        async for batch in batches:
            yield batch
        return
    left = set(before)
    async for batch in batches:
        for record in batch:
            if isinstance(record, Admin):
                (left.add if is_owner(record) else left.discard)(record.username)
        yield batch
    if before and not left:
        raise BadRecord("admins", "no enabled administrator with all permissions would remain")
