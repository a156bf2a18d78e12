# SPDX-License-Identifier: Apache-2.0
"""Mount points of virtual folders, and what they mean for renames.

The server and `explain` ask this very code, so that they agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tidegate.errors import Conflict, Denied, InvalidArgument, TidegateError
from tidegate.model import Account, VPath
from tidegate.policy.decision import Step

LOCAL_STORAGE: Final = (None, 0, "", "0", "osfs", "local")
"""What `filesystem.provider` says for local disk."""


def is_local(filesystem: Mapping[str, object]) -> bool:
    """True if the storage document of a home or folder means the local disk."""
    return filesystem.get("provider", 0) in LOCAL_STORAGE


def stricter_storage(stored: Mapping[str, object], given: Mapping[str, object]) -> Mapping[str, object]:
    """The storage of a folder that is described twice: what is not local wins, and what is stored.

    A folder that is local for one account and remote for another would serve the wrong files.
    """
    return given if is_local(stored) and not is_local(given) else stored


def storage_kind(root: str, filesystem: Mapping[str, object]) -> object:
    """Equal for roots between which files may be moved: all local ones, others only within themselves."""
    if is_local(filesystem):
        return 0
    return f"{root}\0{json.dumps(filesystem, sort_keys=True, default=str)}"


class Folders:
    """The mount points of one account.

    Args:
        kinds: `storage_kind` of each mount by its path; the home is at ``/``.

    Attributes:
        points: where folders are mounted, the root left out.
        above: directories that lead to them.
    """

    __slots__ = ("_deepest", "_kinds", "above", "points")

    def __init__(self, kinds: Mapping[VPath, object]) -> None:
        self._kinds = dict(kinds)
        self._deepest = sorted(self._kinds, key=len, reverse=True)
        self.points = frozenset(path for path in kinds if path != "/")
        self.above = frozenset(above for point in self.points for above in point.ancestors()[1:])

    def kind_at(self, path: VPath) -> object:
        """The kind of storage that serves a path."""
        return next((self._kinds[mount] for mount in self._deepest if path.is_within(mount)), None)


def folders_of(account: Account) -> Folders:
    """The folders of an account as a session would mount them."""
    kinds: dict[VPath, object] = {VPath("/"): storage_kind(account.home_dir, account.filesystem)}
    for mount in account.virtual_folders:
        kinds[VPath.parse(mount.virtual_path)] = storage_kind(mount.mapped_path, mount.filesystem)
    return Folders(kinds)


def storage_at(account: Account, path: VPath) -> Mapping[str, object]:
    """The storage document that serves a path: of the folder mounted there, else of the home."""
    serving, document = VPath("/"), account.filesystem
    for mount in account.virtual_folders:
        point = VPath.parse(mount.virtual_path)
        if path.is_within(point) and len(point) >= len(serving):
            serving, document = point, mount.filesystem
    return document


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason for which a rename is refused.

    Attributes:
        step: for `explain`.
        error: for the client.
    """

    step: Step
    error: TidegateError


def check_rename(folders: Folders, source: VPath, target: VPath, *, is_dir: bool) -> Refusal | None:
    """The refusal by mount points of a rename that permissions allow; None if there is none.

    Mount points stay where they are, as the kernel keeps its own (EBUSY); a directory moves with everything
    that is seen below it or not at all.
    """
    for path in (source, target):
        if path in folders.points:
            return Refusal(
                _deny(
                    f"a folder is mounted at {path}", "rename what is inside, or mount the folder elsewhere"
                ),
                Denied("permission: a folder is mounted there", rule="virtual_folders"),
            )
    for path in (source, target):
        if path in folders.above:
            return Refusal(
                _deny(f"a folder is mounted below {path}", "mount the folder elsewhere"),
                Conflict("a folder is mounted inside"),
            )
    if is_dir and target != source and target.is_within(source):
        return Refusal(
            Step("tree", "deny", "a directory cannot move below itself", "", "name a target outside"),
            InvalidArgument("a directory cannot move below itself"),
        )
    if folders.kind_at(source) != folders.kind_at(target):
        return Refusal(
            Step(
                "storage",
                "deny",
                "the two paths lie on storage of different kinds",
                "",
                "download and upload",
            ),
            Denied("permission: rename between storages", rule="storage"),
        )
    return None


def _deny(why: str, hint: str) -> Step:
    return Step("virtual_folders", "deny", why, "virtual_folders", hint)
