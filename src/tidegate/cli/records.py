# SPDX-License-Identifier: Apache-2.0
"""Commands that every kind of record has: its list, and one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.cli.documents import detail_rows
from tidegate.cli.provider import run
from tidegate.cli.target import Document, Records, Target
from tidegate.cli.terminal import say_json, say_json_stream, say_stream, say_table
from tidegate.cli.where import Where

Pick = Callable[[Target], Records]
"""One kind of record of a target."""


def show_record(where: Where, pick: Pick, name: str, *, as_json: bool) -> None:
    """Print one record, field by field or as JSON.

    Raises:
        NotFound: there is none of this name.
    """

    async def work() -> None:
        async with where.opened() as target:
            document = (await pick(target).get(name)).document
        if as_json:
            say_json(document)
        else:
            say_table(("field", "value"), detail_rows(document))

    run(work())


def list_records(
    where: Where,
    pick: Pick,
    headers: Sequence[str],
    row: Callable[[Document], Sequence[str]],
    *,
    as_json: bool,
) -> None:
    """Print every record, one a row or as JSON."""

    async def work() -> None:
        async with where.opened() as target:
            if as_json:
                await say_json_stream(pick(target).all())
            else:
                await say_stream(headers, (row(document) async for document in pick(target).all()))

    run(work())
