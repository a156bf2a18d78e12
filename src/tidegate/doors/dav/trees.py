# SPDX-License-Identifier: Apache-2.0
"""Failures in a tree (`doors.common.trees`), as a multistatus tells them."""

from __future__ import annotations

from typing import Final

from tidegate.doors.common.trees import TreeWork
from tidegate.errors import TidegateError
from tidegate.model import VPath
from tidegate.vfs.api import Session

MAX_FAILURES: Final = 100
"""Failures that are told; after so many nothing more is tried."""


class TooManyFailures(Exception):
    """A tree is given up."""


class Work(TreeWork):
    """A copy or removal that a request asks for.

    Attributes:
        failures: what could not be done, with whether it is a directory, and why.
    """

    def __init__(self, session: Session, operation_type: str) -> None:
        super().__init__(session, operation_type)
        self.failures: list[tuple[VPath, bool, TidegateError]] = []

    async def failed(
        self,
        intent: str,
        path: VPath,
        error: TidegateError,
        target: VPath | None = None,
        *,
        about: VPath | None = None,
        is_dir: bool = False,
    ) -> None:
        """Put a failure on record, and keep it for the answer.

        Raises:
            TooManyFailures: this was the last one that is borne.
        """
        await super().failed(intent, path, error, target, about=about, is_dir=is_dir)
        self.failures.append((about or target or path, is_dir, error))
        if len(self.failures) >= MAX_FAILURES:
            raise TooManyFailures
