# SPDX-License-Identifier: Apache-2.0
"""Policies for files that are not clean, by the result of their scan and by folder."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tidegate.contracts.inspection import InspectedAct

Policy = Literal["refuse", "allow", "quarantine"]


class Result(enum.Enum):
    """Results of a scan; those besides `CLEAN` have a policy each."""

    CLEAN = "clean"
    INFECTED = "infected"
    TOO_LARGE = "too_large"
    SLOW = "slow"
    DOWN = "down"
    """the scanner is not there, went away, or its answer cannot be understood"""
    UNREADABLE = "unreadable"
    """the storage cannot give back what was written"""


@dataclass(frozen=True, slots=True)
class Scan:
    """A result, and the signature's name or what went wrong."""

    result: Result
    text: str = ""


Policies = dict[Result, Policy]
"""Policies by result; one that is missing refuses."""


@dataclass(frozen=True, slots=True)
class FolderPolicies:
    """Policies of a folder and everything below it.

    Attributes:
        path: of the folder, as clients name it.
        users: accounts that it is about; empty is all.
        when: what differs.
    """

    path: str
    users: frozenset[str]
    when: Policies = field(default_factory=dict)

    def holds(self, act: InspectedAct) -> bool:
        """True if it is about this act."""
        if self.users and act.origin.username not in self.users:
            return False
        return act.path == self.path or act.path.startswith(self.path.rstrip("/") + "/")


def policy_of(act: InspectedAct, result: Result, when: Policies, folders: Sequence[FolderPolicies]) -> Policy:
    """The policy for a file by a result.

    The deepest folder that says something of the result decides; of the same depth one with `users`, then the
    first.
    """
    said = [one for one in folders if result in one.when and one.holds(act)]
    if not said:
        return when.get(result, "refuse")
    return max(said, key=lambda one: (len(one.path.rstrip("/")), bool(one.users))).when[result]
