# SPDX-License-Identifier: Apache-2.0
"""The answer of local storage to an act, for ``explain --try``: looks, and changes nothing."""

from __future__ import annotations

import os
from typing import Final

from tidegate.backends.local import LocalBackend
from tidegate.errors import NotFound, TidegateError
from tidegate.model import Account, Entry, VPath
from tidegate.policy.folders import mount_point, storage_at

CREATING: Final = frozenset({"upload", "overwrite", "mkdir", "create_dirs", "symlink", "create_symlinks"})
"""Acts whose path need not exist; the directory that is to hold it must."""
READING: Final = frozenset({"download", "list", "checksum", "copy", "hardlink"})
"""Acts that read what the path leads to."""
REMOVING: Final = frozenset(
    {"delete", "delete_file", "delete_files", "delete_dir", "delete_dirs"}
    | {"rename", "rename_file", "rename_files", "rename_dir", "rename_dirs"}
)
"""Acts that take a name out of its directory."""


async def storage_answer(account: Account, op: str, path: str, target: str | None) -> str | None:
    """The reason why storage would refuse an act that the rules allow; None if nothing speaks against it.

    Args:
        op: as in `tidegate.policy.explain`.
        path: as the client names it; `target` likewise.
    """
    problem = await _look(account, VPath.parse(path), op)
    if problem is None and target:
        problem = await _look(account, VPath.parse(target), "upload")
    return problem


async def _look(account: Account, path: VPath, op: str) -> str | None:
    spec = storage_at(account, path)
    if not spec.config.is_local:
        return None  # nothing is looked at beyond this host
    root, key = spec.directory, path.relative_to(mount_point(account, path))
    backend = LocalBackend(root)
    try:
        await backend.open()
    except TidegateError as error:
        return f"{root}: {error.text}"
    try:
        found = await _entry(backend, key)
        where = f"{root.rstrip('/')}/{key}" if key else root
        if found is None and op not in CREATING:
            return f"ENOENT: {where} does not exist"
        if op in READING:
            return _may(where, os.R_OK | (os.X_OK if found is not None and found.is_dir else 0))
        if found is not None and found.is_file and op in CREATING:
            return _may(where, os.W_OK)
        if not key or op not in CREATING | REMOVING:
            return None
        above = key.rpartition("/")[0]
        holder = await _entry(backend, above)
        if holder is None or not holder.is_dir:
            return f"ENOENT: the directory {os.path.dirname(where)} does not exist"
        if op in CREATING and (await backend.space("")).free == 0:
            return f"ENOSPC: no space is left below {root}"
        return _may(os.path.dirname(where), os.W_OK | os.X_OK)
    except TidegateError as error:
        return error.text
    finally:
        await backend.close()


async def _entry(backend: LocalBackend, key: str) -> Entry | None:
    try:
        return await backend.stat(key)
    except NotFound:
        return None


def _may(where: str, rights: int) -> str | None:
    if os.access(where, rights):
        return None
    what = "written" if rights & os.W_OK else "read"
    return f"EACCES: {where} cannot be {what} by user id {os.geteuid()}"
