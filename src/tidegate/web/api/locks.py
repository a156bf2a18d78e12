# SPDX-License-Identifier: Apache-2.0
"""Write locks of the running server as a rule of `explain`."""

from __future__ import annotations

from typing import Final

from tidegate.errors import Locked
from tidegate.model import Account, Intent, VPath
from tidegate.policy.decision import Step
from tidegate.vfs.factory import VfsSessions

_PATH: Final = frozenset(
    (
        Intent.UPLOAD, Intent.OVERWRITE, Intent.DELETE_FILE, Intent.DELETE_DIR, Intent.RENAME_FILE,
        Intent.RENAME_DIR, Intent.MKDIR, Intent.CHMOD, Intent.CHOWN, Intent.CHTIMES, Intent.LOCK,
        Intent.PROPERTIES,
    )
)  # fmt: skip
"""Intents that change their path."""
_NAMES: Final = frozenset(
    (
        Intent.UPLOAD, Intent.DELETE_FILE, Intent.DELETE_DIR, Intent.RENAME_FILE, Intent.RENAME_DIR,
        Intent.MKDIR,
    )
)  # fmt: skip
"""Intents by which the path appears or disappears."""
_TREES: Final = frozenset((Intent.DELETE_DIR, Intent.RENAME_DIR))


async def lock_steps(
    sessions: VfsSessions, account: Account, intent: Intent, path: VPath, target: VPath | None
) -> list[tuple[Step, str]]:
    """The rule ``lock`` for each path that an act would change, and the text of its refusal.

    It is asked as for a client that submits no token.

    Raises:
        WorldError: storage cannot be opened, or the locks cannot be asked.
    """
    if not sessions.locks.active:
        return []
    asked = [(path, intent in _NAMES, intent in _TREES)] if intent in _PATH else []
    if target is not None:
        asked.append((target, True, intent in _TREES))
    steps: list[tuple[Step, str]] = []
    for changed, member, tree in asked:
        lock = await sessions.locks_against(account, changed, member=member, tree=tree)
        if lock is None:
            steps.append((Step("lock", "pass", f"no lock keeps {changed} as it is"), ""))
            continue
        kind = "an exclusive" if lock.exclusive else "a shared"
        deep = " and all below" if lock.deep else ""
        why = f"{lock.account} holds {kind} lock on {lock.path}{deep} for {lock.left:.0f} more seconds"
        step = Step("lock", "deny", why, "", f"wait, or remove the lock: {lock.token}")
        steps.append((step, Locked(holder=lock.account).text))
    return steps
