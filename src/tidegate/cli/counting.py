# SPDX-License-Identifier: Apache-2.0
"""Counting files again by a running server, and showing how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tidegate.cli.documents import amount
from tidegate.cli.progress import Meter, meter
from tidegate.cli.terminal import note
from tidegate.errors import Conflict, InvalidArgument, NotFound, StorageFailed

if TYPE_CHECKING:
    from tidegate.cli.target import Document, ScanKind, Target

POLL_SECONDS: Final = (0.1, 1.0)
"""Time between the first two questions how far the server is, and the longest one; it doubles each time."""


async def scan_one(target: Target, kind: ScanKind, name: str, *, wait: bool) -> str:
    """Count one user or folder.

    Args:
        wait: until it is counted, if a running server is asked; a bar shows how far it is.

    Returns:
        a sentence: what was counted, or what happens now.

    Raises:
        Conflict: it is counted already, and nobody wants to wait for that.
        NotFound: no such user or folder, or the server was started anew meanwhile.
        StorageFailed: the server could not count it.
    """
    try:
        message = await target.quotas.scan(kind, name)
    except Conflict:
        if not wait:
            raise
        note(f"the files of {name} are being counted already")
        message = ""
    if not wait:
        return message
    with meter(f"counting {name}", "files") as progress:
        outcome = await _ended(target, kind, name, progress)
    if outcome is None:
        return message
    counted = f"counted {name}: {outcome['used_quota_files']} files, {amount(outcome['used_quota_size'])}"
    return (
        counted
        if outcome["exact"]
        else f"{counted}; they changed meanwhile, so the server counts again later"
    )


async def scan_all(target: Target) -> str:
    """Count every user and every folder, one after the other; who cannot be counted is said.

    Raises:
        StorageFailed: some could not be counted.
        Denied, InvalidArgument: usage is not tracked.
    """
    counted = failed = size = files = 0
    waiting = False
    with meter("counting", "files") as progress:
        async for kind, name in _everything(target):
            try:
                with suppress(Conflict):  # it runs: that count is as good
                    await target.quotas.scan(kind, name)
                outcome = await _ended(target, kind, name, progress, before=files)
            except InvalidArgument as error:
                if kind == "user":  # usage is not tracked at all
                    raise
                note(str(error))
            except (StorageFailed, NotFound) as error:
                note(str(error))
                failed += 1
            else:
                counted += 1
                waiting = outcome is None
                if outcome is not None:
                    size, files = size + outcome["used_quota_size"], files + outcome["used_quota_files"]
    total = f"{counted} users and folders"
    if failed:
        raise StorageFailed(f"{failed} could not be counted; {total} were: {files} files, {amount(size)}")
    if waiting:
        return f"the server counts {total} when it starts; a running one counts now if asked with --url"
    return f"counted {total}: {files} files, {amount(size)}"


async def _everything(target: Target) -> AsyncGenerator[tuple[ScanKind, str], None]:
    users = [document["username"] async for document in target.users.all()]
    folders = [document["name"] async for document in target.folders.all()]
    for name in users:
        yield "user", name
    for name in folders:
        yield "folder", name


async def _ended(
    target: Target, kind: ScanKind, name: str, progress: Meter, *, before: int = 0
) -> Document | None:
    """The outcome of a scan that was started, once it has ended; None if nothing runs here."""
    pause, longest = POLL_SECONDS
    while True:
        outcome = await target.quotas.outcome(kind, name)
        if outcome is None:
            return None
        progress.at(before + outcome["used_quota_files"])
        if outcome["state"] == "failed":
            raise StorageFailed(f"{kind} {name} could not be counted: {outcome['error']}")
        if outcome["state"] == "cancelled":
            raise StorageFailed(f"{kind} {name} was not counted: {outcome['error']}")
        if outcome["state"] == "done":
            return outcome
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
