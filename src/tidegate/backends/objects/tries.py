# SPDX-License-Identifier: Apache-2.0
"""Tries of one request to a service: their bounds, the pauses between them, and how the last one failed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tidegate.backends.objects.bucket import ObjectChanged
from tidegate.errors import AlreadyExists, TidegateError


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one request; seconds unless said.

    Attributes:
        connect: to connect.
        read: without any byte of the answer.
        call: with all its tries and pauses, unless the request says otherwise.
        tries: of the same request; a number.
        pause: at most before the second try; doubled for each further one. The pause is a random part of it.
        longest_pause: at most before any try.
    """

    connect: float = 5.0
    read: float = 30.0
    call: float = 90.0
    tries: int = 6
    pause: float = 0.1
    longest_pause: float = 5.0

    def pause_after(self, tries: int) -> float:
        """Seconds to wait after so many tries."""
        longest = min(self.longest_pause, self.pause * 2 ** (tries - 1))
        return random.uniform(longest / 2, longest)  # noqa: S311 - it only spreads requests


class Failed(Exception):
    """A request that has failed for good.

    Attributes:
        error: of ours.
        code: the service's, empty without an answer.
        tries: after more than one an earlier one may have been carried out, its answer lost.
    """

    def __init__(self, error: TidegateError, code: str, tries: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.code = code
        self.tries = tries


def exists_instead(error: TidegateError) -> TidegateError:
    """The error of a write under ``create``: a condition that was not met means that something is there."""
    return AlreadyExists() if isinstance(error, ObjectChanged) else error
