# SPDX-License-Identifier: Apache-2.0
"""A bucket whose requests are timed and counted, for metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any, Final

from tidegate.backends.objects.bucket import Bucket
from tidegate.errors import AlreadyExists, NotFound
from tidegate.model.observe import Observe

OPERATIONS: Final = {
    "check": "head_bucket",
    "head": "head_object",
    "get": "get_object",
    "first": "get_object",
    "put": "put_object",
    "delete": "delete_object",
    "copy": "copy_object",
    "copy_part": "copy_part",
    "begin": "begin_upload",
    "part": "put_part",
    "complete": "complete_upload",
    "abort": "abort_upload",
    "parts": "list_parts",
}
"""The operation of each method that is awaited."""

ITERATED: Final = {"pages": "list_objects", "uploads": "list_uploads"}
"""The operation of each method that is iterated over; each step is one."""

_ANSWERS: Final = (NotFound, AlreadyExists)
"""Errors that are answers: the service works."""


class ObservedBucket:
    """A `Bucket` around another.

    Args:
        bucket: does the work.
        kind: of storage.
        observe: told of each call.
    """

    def __init__(self, bucket: Bucket, kind: str, observe: Observe) -> None:
        self._bucket = bucket
        self._kind = kind
        self._observe = observe

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._bucket, name)
        if name in OPERATIONS:
            attribute = self._timed(attribute, OPERATIONS[name])
        elif name in ITERATED:
            attribute = self._iterated(attribute, ITERATED[name])
        else:
            return attribute
        # Found without asking the next time.
        self.__dict__[name] = attribute
        return attribute

    def _timed(self, call: Callable[..., Awaitable[Any]], operation: str) -> Callable[..., Awaitable[Any]]:
        kind, observe = self._kind, self._observe

        async def timed(*args: Any, **more: Any) -> Any:
            started, worked = monotonic(), False
            try:
                result = await call(*args, **more)
                worked = True
                return result
            except _ANSWERS:
                worked = True
                raise
            finally:
                observe(kind, operation, monotonic() - started, worked)

        return timed

    def _iterated(
        self, call: Callable[..., AsyncIterator[Any]], operation: str
    ) -> Callable[..., AsyncIterator[Any]]:
        async def steps(*args: Any, **more: Any) -> AsyncIterator[Any]:
            step = self._timed(anext, operation)
            iterator = aiter(call(*args, **more))
            try:
                while (page := await step(iterator, None)) is not None:
                    yield page
            finally:
                close = getattr(iterator, "aclose", None)
                if close is not None:
                    await close()

        return steps
