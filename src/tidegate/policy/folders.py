# SPDX-License-Identifier: Apache-2.0
"""Mount points of virtual folders, and what they mean for renames.

The server and `explain` ask this very code, so that they agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.errors import Conflict, Denied, InvalidArgument, TidegateError
from tidegate.model import Account, Folder, FolderMount, StorageSpec, VPath
from tidegate.model.sealing import SecretPlace
from tidegate.policy.decision import Step


class Folders:
    """The mount points of one account.

    Args:
        kinds: `StorageSpec.resource` of each mount by its path; the home is at ``/``.

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


def storage_of(account: Account, mount: FolderMount | None = None) -> StorageSpec:
    """The storage of an account's home, or of a folder that it mounts.

    Sessions, scans, moves and checks all ask this.
    """
    if mount is None:
        group = account.filesystem.group
        owner = SecretPlace("group", group) if group else SecretPlace("user", account.username)
        return StorageSpec(account.home_dir, account.filesystem, account.uid, account.gid, owner)
    owner = SecretPlace("folder", mount.name)
    return StorageSpec(mount.mapped_path, mount.filesystem, account.uid, account.gid, owner)


def storage_of_folder(folder: Folder) -> StorageSpec:
    """The storage of a folder for which no account speaks: the same root as `storage_of` of its mounts."""
    return StorageSpec(folder.mapped_path, folder.filesystem, owner=SecretPlace("folder", folder.name))


def storages_of(account: Account) -> dict[VPath, StorageSpec]:
    """The storage of each mount of an account by its path; a folder at ``/`` stands for the home."""
    found = {VPath("/"): storage_of(account)}
    for mount in account.virtual_folders:
        found[VPath.parse(mount.virtual_path)] = storage_of(account, mount)
    return found


def folders_of(account: Account) -> Folders:
    """The folders of an account as a session would mount them."""
    return Folders({path: spec.resource for path, spec in storages_of(account).items()})


def storage_at(account: Account, path: VPath) -> StorageSpec:
    """The storage that serves a path: of the folder mounted there, else of the home."""
    return storages_of(account)[mount_point(account, path)]


def mount_point(account: Account, path: VPath) -> VPath:
    """The mount that serves a path: the nearest one that it lies in."""
    return max((point for point in storages_of(account) if path.is_within(point)), key=len)


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
    return None


def border_step(folders: Folders, source: VPath, target: VPath) -> Step | None:
    """For `explain`: a rename that no storage can do in one step; None for any other.

    It is allowed: the content is streamed to the other storage, compared, and then the original is removed.
    """
    if not crosses(folders, source, target):
        return None
    why = (
        "the two paths lie on different storage: the content is copied and compared, then the source removed"
    )
    return Step("storage", "pass", why)


def crosses(folders: Folders, source: VPath, target: VPath) -> bool:
    """True if a rename leads from one storage to another between which files cannot be renamed."""
    return folders.kind_at(source) != folders.kind_at(target)


def _deny(why: str, hint: str) -> Step:
    return Step("virtual_folders", "deny", why, "virtual_folders", hint)
