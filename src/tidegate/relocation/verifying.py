# SPDX-License-Identifier: Apache-2.0
"""Compares the target of a move with its ledger once everything is copied: names, kinds, sizes, and digests.

Each file was compared by its digest when it was copied, and the last pass saw that its original is the same
since. `again` takes the digests of both sides once more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tidegate.abc import Key
from tidegate.errors import Conflict, DirectoryNotEmpty, NotADirectory, NotFound, StorageFailed
from tidegate.model import Entry
from tidegate.relocation.attached import forget_properties
from tidegate.relocation.copying import FILES_AT_ONCE, Route, all_of, digest_of
from tidegate.relocation.ledger import DIRECTORY, FILE, LINK, Ledger, Row
from tidegate.relocation.progress import Progress
from tidegate.relocation.survey import below
from tidegate.vfs.mounts import listing
from tidegate.vfs.property_index import PropertyIndex


async def verify(
    route: Route, ledger: Ledger, progress: Progress, number: int, *, again: bool, strict: bool = True
) -> None:
    """Return if the target holds what the last pass saw, and nothing else.

    What is missing or differs is taken from the ledger, so that another pass copies it again.

    Args:
        number: of that pass.
        again: take the digest of every file of both sides now.
        strict: nothing else may be there; else what a move had left out may.

    Raises:
        StorageFailed: something is missing or differs; names it.
        Conflict: something is there that the move did not put there; names it.
    """
    found = 0
    places = asyncio.Semaphore(FILES_AT_ONCE)
    todo = [""]
    while todo:
        directory = todo.pop()
        async with listing(route.target, directory, counts=True) as batches:
            async for batch in batches:
                keys = [below(directory, entry.name) for entry in batch]
                rows = await ledger.find(keys)
                files: list[Row] = []
                for key, entry in zip(keys, batch, strict=True):
                    row = rows.get(key)
                    if row is None and not strict:
                        continue
                    row = await _compared(ledger, key, entry, row, number)
                    found += 1
                    if entry.is_dir:
                        todo.append(key)
                    elif entry.is_file:
                        files.append(row)
                if again:
                    await all_of(_digests(route, ledger, row, places) for row in files)
                progress.files += len(files)
                progress.size += sum(row.size for row in files)
                await asyncio.sleep(0)
    names, _, _ = await ledger.totals(number)
    if found != names:
        missing = await _forget_missing(route, ledger, number)
        raise StorageFailed(f"{missing}: the new storage has {found} names where {names} were moved")


async def _forget_missing(route: Route, ledger: Ledger, number: int) -> Key:
    """Take from the ledger what the target lacks; returns the last of these keys, empty if there is none."""
    places, before, last = asyncio.Semaphore(FILES_AT_ONCE), "", ""

    async def is_missing(row: Row) -> bool:
        async with places:
            try:
                await route.target.stat(row.key, follow=False)
            except (NotFound, NotADirectory):
                return True
        return False

    while rows := await ledger.page_back(before=before):
        before = rows[-1].key
        seen = [row for row in rows if row.seen == number]
        lost = await all_of(is_missing(row) for row in seen)
        gone = [row.key for row, missing in zip(seen, lost, strict=True) if missing]
        await ledger.drop(gone)
        last = gone[-1] if gone else last
    return last


async def _compared(ledger: Ledger, key: Key, entry: Entry, row: Row | None, number: int) -> Row:
    if row is None or row.seen != number:
        raise Conflict(f"{key}: is in the new storage, and the move did not put it there")
    kind = DIRECTORY if entry.is_dir else LINK if entry.is_link else FILE
    if kind != row.kind:
        await ledger.drop([key])
        raise StorageFailed(f"{key}: is of another kind in the new storage")
    if kind == FILE and (entry.size != row.size or not row.digest):
        await ledger.drop([key])
        raise StorageFailed(f"{key}: has {entry.size} bytes in the new storage, and {row.size} were moved")
    return row


async def _digests(route: Route, ledger: Ledger, row: Row, places: asyncio.Semaphore) -> None:
    async with places:
        for backend, which in ((route.source, "old"), (route.target, "new")):
            try:
                same = await digest_of(backend, row.key) == row.digest
            except NotFound:
                same = False
            if not same:
                await ledger.drop([row.key])
                raise StorageFailed(f"{row.key}: the digest in the {which} storage differs")


async def remove_old(route: Route, ledger: Ledger, progress: Progress, properties: PropertyIndex) -> None:
    """Remove from the source what was moved and is unchanged since, with its properties; the rest is told."""
    progress.forget_left_out()
    before = ""
    while rows := await ledger.page_back(before=before):
        before = rows[-1].key
        for row in rows:
            with suppress(NotFound, NotADirectory):
                await _remove_old(route, row, progress, properties)
        await asyncio.sleep(0)


async def _remove_old(route: Route, row: Row, progress: Progress, properties: PropertyIndex) -> None:
    entry = await route.source.stat(row.key, follow=False)
    if row.kind == DIRECTORY:
        if entry.is_dir:
            try:
                await route.source.rmdir(row.key)
            except DirectoryNotEmpty:
                progress.leave_out(row.key, "holds what was not moved")
                return
            await forget_properties(properties, route.source, row.key)
        return
    if await _is_changed(route, row, entry):
        progress.leave_out(row.key, "was changed since it was moved")
        return
    await route.source.remove(row.key)
    await forget_properties(properties, route.source, row.key)
    progress.files += row.kind == FILE
    progress.size += row.size


async def _is_changed(route: Route, row: Row, entry: Entry) -> bool:
    if row.kind == LINK:
        text = await route.source.readlink(row.key) if entry.is_link else ""
        return text.encode("utf-8", "surrogateescape") != row.digest
    return not entry.is_file or (entry.size, entry.mtime_ns) != (row.size, row.source)


async def remove_copies(route: Route, ledger: Ledger, progress: Progress) -> None:
    """Remove from the target what the move put there."""
    before = ""
    while rows := await ledger.page_back(before=before):
        before = rows[-1].key
        for row in rows:
            with suppress(NotFound, NotADirectory):
                await (route.target.rmdir if row.kind == DIRECTORY else route.target.remove)(row.key)
            progress.files += row.kind == FILE
        await asyncio.sleep(0)
