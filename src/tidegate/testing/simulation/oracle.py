# SPDX-License-Identifier: Apache-2.0
"""Measures the disk by itself, without the product, and compares.

Every regular file counts, each name once, unfinished uploads with their hidden names included: what takes
room is used. Links and directories are not counted.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import NamedTuple

from tidegate.policy.quota import counts_in_account
from tidegate.testing.simulation.storage import descriptors
from tidegate.testing.simulation.store import Records


class Used(NamedTuple):
    """Bytes and files."""

    size: int
    files: int


class Difference(NamedTuple):
    """A difference between counted usage and the disk."""

    who: str
    tracker: Used
    disk: Used

    def __str__(self) -> str:
        return (
            f"{self.who}: {self.tracker.size} bytes in {self.tracker.files} files are counted, "
            f"{self.disk.size} in {self.disk.files} are there"
        )


def measure(*roots: str) -> Used:
    """The content of some directories, links not followed."""
    size = files = 0
    todo = [root for root in roots if os.path.isdir(root)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    todo.append(entry.path)
                elif stat.S_ISREG(found.st_mode):
                    size, files = size + found.st_size, files + 1
    return Used(size, files)


def measure_removed(*roots: str) -> int:
    """Bytes of files in some directories that have no name any more and are open for writing."""
    inodes: dict[int, int] = {}
    places = tuple(f"{root}/" for root in roots)
    for fd, target in descriptors(places).items():
        name = target.rpartition("/")[2]
        if target.endswith(" (deleted)") and not name.startswith("#"):  # that is a file not yet named
            found = os.fstat(fd)
            written = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            if written and stat.S_ISREG(found.st_mode) and not found.st_nlink:
                inodes[found.st_ino] = found.st_size
    return sum(inodes.values())


def differences(records: Records, track_quota: int) -> list[Difference]:
    """Accounts and folders whose stored numbers are not what is on the disk."""
    found = []
    for name, account in records.accounts.items():
        if track_quota == 2 and not account.quota_size and not account.quota_files:
            continue
        included = [mount.mapped_path for mount in account.virtual_folders if counts_in_account(mount)]
        tracker = Used(account.used_quota_size, account.used_quota_files)
        disk = measure(account.home_dir, *included)
        if tracker != disk:
            found.append(Difference(name, tracker, disk))
    for name, folder in records.folders.items():
        tracker = Used(folder.used_quota_size, folder.used_quota_files)
        disk = measure(folder.mapped_path)
        if tracker != disk:
            found.append(Difference(f"folder {name}", tracker, disk))
    return found


def is_marked(records: Records, who: str) -> bool:
    """True if the store knows that the numbers of a `Difference.who` may be wrong."""
    kind, _, name = who.rpartition(" ")
    if not kind:
        return name in records.dirty
    return any(
        mount.name == name
        for username in records.dirty
        if username in records.accounts
        for mount in records.accounts[username].virtual_folders
    )
