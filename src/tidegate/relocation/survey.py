# SPDX-License-Identifier: Apache-2.0
"""Looks at what is to be moved before anything is: how much it is, and what the target cannot hold."""

from __future__ import annotations

import asyncio

from tidegate.abc import Backend, Capability, Key, ListsPartials, RefusesKeys
from tidegate.errors import NotADirectory, NotFound, Unsupported
from tidegate.model import Entry
from tidegate.relocation.progress import Progress
from tidegate.vfs.contracts import fulfils
from tidegate.vfs.mounts import listing


def objection(target: Backend, key: Key, entry: Entry) -> str:
    """The reason why a target cannot hold something, in words; empty if it can."""
    if entry.is_link:
        if Capability.LINKS not in target.capabilities:
            return "is a link, and the new storage has none"
    elif not entry.is_dir and not entry.is_file:
        return "is neither a file nor a directory nor a link"
    if isinstance(target, RefusesKeys):
        return target.refusal(key, entry.size if entry.is_file else 0)
    return ""


async def survey(source: Backend, target: Backend, progress: Progress) -> None:
    """Count what is there, and note what the target cannot hold, whose directories are not looked into.

    Raises:
        TidegateError: the source cannot be read.
    """
    progress.forget_left_out()
    progress.partials = 0
    todo = [""]
    while todo:
        directory = todo.pop()
        try:
            async with listing(source, directory, counts=True) as batches:
                async for batch in batches:
                    for entry in batch:
                        key = below(directory, entry.name)
                        if why := objection(target, key, entry):
                            progress.leave_out(key, why)
                        elif entry.is_dir:
                            todo.append(key)
                        elif entry.is_file:
                            progress.files += 1
                            progress.size += entry.size
                    await asyncio.sleep(0)
            if fulfils(source, ListsPartials):
                async for parts in source.partials(directory):
                    progress.partials += len(parts)
        except (NotFound, NotADirectory):
            continue  # it went while others worked


def require_all(progress: Progress) -> None:
    """Return if the target can hold everything.

    Raises:
        Unsupported: names the first that it cannot hold.
    """
    if progress.count_left_out:
        others = f", and {progress.count_left_out - 1} more" if progress.count_left_out > 1 else ""
        raise Unsupported(f"the new storage cannot hold everything: {progress.left_out[0]}{others}")


async def first_name(backend: Backend) -> str:
    """The name of something in the root; empty if there is nothing."""
    async with listing(backend, "", counts=True) as batches:
        async for batch in batches:
            for entry in batch:
                return entry.name
    return ""


def below(directory: Key, name: str) -> Key:
    """The key of a name in a directory."""
    return f"{directory}/{name}" if directory else name
