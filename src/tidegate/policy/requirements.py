# SPDX-License-Identifier: Apache-2.0
"""The rights that each intent needs: one table, which the gate reads and its tests walk.

Where an intent has two paths, `path` is what exists (what is renamed, copied, linked to) and `target` the
name that comes into being.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from tidegate.model import Intent, Permission
from tidegate.policy.permissions import mask_of


class Use(enum.Enum):
    """The way patterns look at a path."""

    LOOK = enum.auto()
    """only hidden names are refused (visible ones may be looked at)"""
    TOUCH = enum.auto()
    """denied names are refused; hidden ones look as if they did not exist"""
    CREATE = enum.auto()
    """denied names and those of a preset are refused, and the client is told so"""


@dataclass(frozen=True, slots=True)
class Need:
    """One demand on a directory: any of some permissions.

    Attributes:
        any_of: the permissions; the first one is named to the client.
        mask: the same as bits.
    """

    any_of: tuple[Permission, ...]
    mask: int


def need(*any_of: Permission) -> Need:
    """A demand for any of `any_of`."""
    return Need(any_of, mask_of(*any_of))


@dataclass(frozen=True, slots=True)
class Requirement:
    """The rights that an intent needs.

    Attributes:
        source: demands on the directory `path` is judged on; all of them have to be met.
        on_itself: `path` is judged on itself as a directory and not on its parent.
        use: part that `path` has for patterns.
        target: demands on the parent of `target`; None if the intent has one path.
        replaces: an existing target additionally needs `overwrite` on its parent. For COPY it replaces
            the demand for `upload`.
        is_dir: the kind of `path`, where the intent implies it.
        root_refused: the root itself cannot be the subject, nor the target.
    """

    source: tuple[Need, ...]
    on_itself: bool = False
    use: Use = Use.TOUCH
    target: tuple[Need, ...] | None = None
    replaces: bool = False
    is_dir: bool | None = None
    root_refused: bool = False


_P = Permission
LIST: Final = need(_P.LIST)
UPLOAD: Final = need(_P.UPLOAD)
OVERWRITE: Final = need(_P.OVERWRITE)
CREATE_DIRS: Final = need(_P.CREATE_DIRS)
_RENAME_FILE: Final = need(_P.RENAME, _P.RENAME_FILES)
_RENAME_DIR: Final = need(_P.RENAME, _P.RENAME_DIRS)
_LINKS: Final = need(_P.CREATE_SYMLINKS)
_COPY: Final = need(_P.COPY)

REQUIREMENTS: Final[dict[Intent, Requirement]] = {
    Intent.LIST: Requirement((LIST,), on_itself=True, use=Use.LOOK, is_dir=True),
    Intent.STAT: Requirement((LIST,), use=Use.LOOK),
    Intent.READLINK: Requirement((LIST,), use=Use.LOOK, is_dir=False),
    Intent.DOWNLOAD: Requirement((need(_P.DOWNLOAD),), is_dir=False),
    # A digest tells whether two contents are equal, not what they are: `list` is enough, as with peers.
    Intent.CHECKSUM: Requirement((LIST,), is_dir=False),
    Intent.UPLOAD: Requirement((UPLOAD,), use=Use.CREATE, is_dir=False),
    Intent.OVERWRITE: Requirement((OVERWRITE,), use=Use.CREATE, is_dir=False),
    Intent.DELETE_FILE: Requirement((need(_P.DELETE, _P.DELETE_FILES),), is_dir=False, root_refused=True),
    Intent.DELETE_DIR: Requirement((need(_P.DELETE, _P.DELETE_DIRS),), is_dir=True, root_refused=True),
    Intent.RENAME_FILE: Requirement(
        (_RENAME_FILE,), target=(_RENAME_FILE,), replaces=True, is_dir=False, root_refused=True
    ),
    Intent.RENAME_DIR: Requirement(
        (_RENAME_DIR,), target=(_RENAME_DIR,), replaces=True, is_dir=True, root_refused=True
    ),
    Intent.MKDIR: Requirement((CREATE_DIRS,), use=Use.CREATE, is_dir=True),
    Intent.SYMLINK: Requirement((_LINKS,), target=(_LINKS,), root_refused=True),
    # There is no permission name for hard links among peers; a hard link is a link, and holds more tightly.
    Intent.HARDLINK: Requirement((_LINKS,), target=(_LINKS,), is_dir=False, root_refused=True),
    Intent.CHMOD: Requirement((need(_P.CHMOD),)),
    Intent.CHOWN: Requirement((need(_P.CHOWN),)),
    Intent.CHTIMES: Requirement((need(_P.CHTIMES),)),
    # A lock keeps others from writing: it belongs to those who may write.
    Intent.LOCK: Requirement((need(_P.UPLOAD, _P.OVERWRITE),)),
    # What is said about a file, beside its content: who may set its times or replace it may say it.
    Intent.PROPERTIES: Requirement((need(_P.CHTIMES, _P.OVERWRITE),)),
    # A copy is a read and a write that the server does for the client: it needs `copy` on both sides, and
    # what the two halves would need, so that `copy` alone opens nothing that is closed otherwise.
    Intent.COPY: Requirement(
        (_COPY, need(_P.DOWNLOAD)), target=(_COPY, UPLOAD), replaces=True, root_refused=True
    ),
    # Who may only drop files still has to learn whether they fit.
    Intent.SPACE: Requirement((need(_P.LIST, _P.UPLOAD),), on_itself=True, use=Use.LOOK),
}
"""Total over `Intent`; a test keeps it so."""
