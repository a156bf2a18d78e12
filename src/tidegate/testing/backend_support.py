# SPDX-License-Identifier: Apache-2.0
"""Helpers of the checks of `tidegate.testing.backend`."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final

from tidegate.abc import Backend, Capability, OpenOptions, Outcome, Publish
from tidegate.errors import (
    NotFound,
    TidegateError,
)

READ: Final = OpenOptions(read=True)
"""Options of a download."""


def expect(kept: object, promise: str) -> None:
    """Raise AssertionError with `promise` unless `kept` is true (also under ``python -O``)."""
    if not kept:
        raise AssertionError(promise)


async def expect_error(kind: type[TidegateError], promise: str, doing: Awaitable[object]) -> None:
    """Await `doing` and raise AssertionError with `promise` unless it raised `kind`."""
    try:
        await doing
    except kind:
        return
    except Exception as error:
        raise AssertionError(f"{promise}: got {type(error).__name__} ({error})") from error
    raise AssertionError(f"{promise}: nothing was raised")


def options_for(publish: Publish = Publish.INPLACE, **changes: bool | int | None) -> OpenOptions:
    """Options of an upload as clients start it: write, create, truncate."""
    fields: dict[str, bool | int | None] = {"write": True, "create": True, "truncate": True, **changes}
    return OpenOptions(publish=publish, **fields)  # type: ignore[arg-type]


async def put(
    backend: Backend,
    key: str,
    data: bytes,
    options: OpenOptions | None = None,
    outcome: Outcome = Outcome.COMMIT,
) -> None:
    """Upload `data`."""
    handle = await backend.open_file(key, options or options_for())
    await handle.write(0, data)
    await handle.close(outcome)


async def get(backend: Backend, key: str) -> bytes:
    """The whole content of a file."""
    handle = await backend.open_file(key, READ)
    try:
        pieces = []
        offset = 0
        while piece := await handle.read(offset, 65536):
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)
    finally:
        await handle.close()


async def names(backend: Backend, key: str = "") -> list[str]:
    """The names in a directory, sorted."""
    return sorted([entry.name async for batch in backend.list(key) for entry in batch])


async def exists(backend: Backend, key: str) -> bool:
    """True if `stat` finds something."""
    try:
        await backend.stat(key, follow=False)
    except NotFound:
        return False
    return True


def publishable(backend: Backend) -> Sequence[Publish]:
    """The publish modes a backend can do."""
    if Capability.PARTIALS in backend.capabilities:
        return tuple(Publish)
    return Publish.INPLACE, Publish.ATOMIC
