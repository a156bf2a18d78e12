# SPDX-License-Identifier: Apache-2.0
"""Names of what was done to files."""

from __future__ import annotations

import enum
from typing import Final


class Action(enum.StrEnum):
    """Something done to a file or directory; an event of it says that it happened (see `tidegate.events`)."""

    UPLOAD = "upload"
    DOWNLOAD = "download"
    RENAME = "rename"
    RMDIR = "rmdir"
    MKDIR = "mkdir"
    SYMLINK = "symlink"
    LINK = "link"
    """a hard link was made"""
    REMOVE = "remove"
    """a file or link was removed"""
    CHMOD = "chmod"
    CHOWN = "chown"
    CHTIMES = "chtimes"
    TRUNCATE = "truncate"
    COPY = "copy"
    SSH_COMMAND = "ssh_command"
    """a command of an SSH channel ran"""


DIRECTIONS: Final = {"upload": "in", "download": "out"}
"""The direction, as the server sees it, in which transfers move bytes."""
