# SPDX-License-Identifier: Apache-2.0
"""Parameters that several routes share."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path, Query

from tidegate.accounts.names import can_be_stored, fold_name
from tidegate.errors import NotFound
from tidegate.store.contract import Order
from tidegate.web.api.services import Services

MAX_PAGE: Final = 500
DEFAULT_PAGE: Final = 100
MAX_OFFSET: Final = 2**31 - 1

Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Records to leave out.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most records to give.")]
Sort = Annotated[Order, Query(description="By name.")]
Name = Annotated[str, Path(min_length=1, max_length=255, description="Name of the record.")]
Confidential = Annotated[
    int,
    Query(
        ge=0,
        le=1,
        description="1 gives password hashes and other secrets too, to those who have all permissions (`*`); "
        "for anybody else it has no effect.",
    ),
]
Flag = Annotated[int, Query(ge=0, le=1)]


def folded(services: Services, name: str, kind: str) -> str:
    """A name from a path as it is stored.

    Raises:
        NotFound: nothing can have this name.
    """
    name = fold_name(name, services.rules)
    if not can_be_stored(name):
        raise NotFound(f"no such {kind}")
    return name
