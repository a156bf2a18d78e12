# SPDX-License-Identifier: Apache-2.0
"""Whole trees of a bucket by the key of their top: made equal to another one, removed, shown again.

The top is a file (an object of that key), a directory (its marker, or longer keys), or for a moment both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from tidegate.backends.objects.bucket import Stored, paging
from tidegate.backends.objects.keys import is_record
from tidegate.backends.objects.moving import Pair, Removing, copy_file, each, objects, pairs, rename_file
from tidegate.backends.objects.tree import Tree
from tidegate.errors import AlreadyExists, NotFound

MAX_SHOWN: Final = 100
"""Names that are tried for what was moved and could not take its place."""

DropRecord = Callable[[str], Awaitable[object]]
"""Removes an unfinished upload by the key of its record."""


async def top(tree: Tree, key: str) -> tuple[Stored | None, bool]:
    """The file at a key, asked of the service, and whether there is a directory."""
    try:
        stored = await tree.bucket.head(key)
    except NotFound:
        stored = None
    async with paging(tree.bucket.pages(f"{key}/", delimited=False, size=1)) as pages:
        async for page in pages:
            if page.objects:
                return stored, True
    return stored, False


async def mirror(tree: Tree, source: str, target: str, drop_record: DropRecord) -> None:
    """Make what is at one key the same as what is at another; can be done again after it broke off.

    Everything is copied before anything is removed. But a file goes first if it is a directory now, and the
    other way round: some stores refuse that one name is both. Objects below the name of a file stay.

    Args:
        tree: names.
        source: key without a slash at its end.
        target: likewise.
        drop_record: for those below `target`; none is copied.

    Raises:
        NotFound: there is nothing at the source.
        StorageFailed: it is half done.
    """
    stored, folder = await top(tree, source)
    if stored is None and not folder:
        raise NotFound

    async def copy(pair: Pair) -> None:
        if pair.source is not None and not is_record(pair.source.key):
            key = target + pair.source.key[len(source) :]
            await copy_file(tree, pair.source, key, create=False)

    try:
        if stored is not None:
            if (await top(tree, target))[0] is None:  # below a file are things that nobody sees
                await _remove_below(tree, f"{target}/", drop_record)
            await copy_file(tree, stored, target, create=False)
            return
        if (await top(tree, target))[0] is not None:
            await tree.bucket.delete([target])
        await each(pairs(tree, f"{source}/", f"{target}/"), copy, tree.settings.requests)
        removing = Removing(tree.bucket)
        async for pair in pairs(tree, f"{source}/", f"{target}/"):
            if pair.source is None and pair.target is not None:
                if is_record(pair.target.key):
                    await drop_record(pair.target.key)
                await removing.add(pair.target.key)
        await removing.end()
    finally:
        forget(tree, target)


async def remove(tree: Tree, key: str, drop_record: DropRecord) -> None:
    """Remove a file or a tree; nothing there is no failure."""
    try:
        await _remove_below(tree, f"{key}/", drop_record)
        await tree.bucket.delete([key])
    finally:
        forget(tree, key)


async def _remove_below(tree: Tree, folder: str, drop_record: DropRecord) -> None:
    removing = Removing(tree.bucket)
    async for stored in objects(tree, folder):
        if is_record(stored.key):
            await drop_record(stored.key)
        await removing.add(stored.key)
    await removing.end()


async def show(tree: Tree, hidden: str, wanted: str, drop_record: DropRecord, what: str = "moved") -> str:
    """Give what is hidden a name like the one that it was to get, or had; `what` says why.

    Returns:
        the key that it has now; empty if nothing is there.

    Raises:
        AlreadyExists: every name that was tried is taken.
    """
    stored, folder = await top(tree, hidden)
    if stored is None and not folder:
        return ""
    for number in range(1, MAX_SHOWN + 1):
        key = f"{wanted} ({what} {number})"
        file, directory = await top(tree, key)
        if file is not None or directory:
            continue
        if stored is not None:
            with suppress(AlreadyExists):
                await rename_file(tree, stored, key, create=True)
                return key
            continue
        await mirror(tree, hidden, key, drop_record)
        await remove(tree, hidden, drop_record)
        return key
    raise AlreadyExists


def forget(tree: Tree, key: str) -> None:
    """Everything at a key and below it has to be asked for again."""
    tree.cache.forget_below(f"{key}/")
    tree.cache.changed(key)
