# SPDX-License-Identifier: Apache-2.0
"""Notices that a database file was replaced or removed while it is open.

What is written to a file that has lost its name is lost with the process. Opening the new file instead would
not be safe either: SQLite would apply the write-ahead log of the old one to it. So the provider answers as
unavailable until the server is started again, or the old file is back.
"""

from __future__ import annotations

import os
from typing import Final

from tidegate.errors import ProviderUnavailable


class WatchedFile:
    """A database file that has to stay the one that was opened.

    Args:
        path: of the file.
        label: name in texts.
    """

    def __init__(self, path: str, label: str) -> None:
        self._path: Final = path
        self._label: Final = label
        self._opened: tuple[int, int] | None = None

    def opened(self) -> None:
        """Take the file that has the path now for the one that is open; later calls change nothing."""
        if self._opened is None:
            self._opened = self._look()

    def check(self) -> None:
        """Prove that the path still leads to the file that was opened. One stat(2).

        Raises:
            ProviderUnavailable: it was replaced or removed.
        """
        now = self._look()
        if now is None:
            what = "is gone"
        elif self._opened is not None and now != self._opened:
            what = "was replaced by another file"
        else:
            return
        raise ProviderUnavailable(
            f"data provider unavailable: {self._label} {what} while the server was running; "
            "stop the server, put the file and nothing else of its name in place, and start it"
        )

    def _look(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ProviderUnavailable(f"data provider unavailable: {self._label}: {error.strerror}") from None
        return status.st_dev, status.st_ino
