# SPDX-License-Identifier: Apache-2.0
"""Command lines that a git client has its server run: ``git-upload-pack '/path'`` and the like.

git sends one path and nothing else (git's connect.c). What the program does beyond that is told by the
repository's own configuration, which clients of other protocols may write: `ENVIRONMENT` overrules what could
run a program or leave one behind, and the confinement lets none be executed but git.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tidegate.errors import InvalidArgument

COMMANDS: Final = {
    "git-upload-pack": ("upload-pack", "--strict"),
    "git-upload-archive": ("upload-archive",),
    "git-receive-pack": ("receive-pack",),
}
"""The arguments of git for a command, without the path."""

WRITES: Final = frozenset({"git-receive-pack"})

SUFFIXES: Final = ("/.git", "", ".git/.git", ".git")
"""The ends that a repository's path may lack, in git's order (git's path.c, enter_repo)."""

SIGNS: Final = ("HEAD", "objects", "refs")
"""The names that a repository's directory holds."""

PROTOCOL: Final = re.compile(r"[a-z0-9=.:-]{1,64}")
"""Values of GIT_PROTOCOL that are handed on."""

_CONFIGURATION: Final = (
    ("safe.directory", "*"),  # whoever owns the files: nothing that the repository says is executed
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.symlinks", "false"),  # a push into a checked-out branch makes no links
    ("protocol.allow", "never"),
    ("receive.fsckObjects", "true"),
    ("gc.autoDetach", "false"),  # what outlives the session could not be ended with it
    ("maintenance.autoDetach", "false"),
    ("pack.threads", "1"),
    ("pack.windowMemory", "128m"),
    ("core.packedGitLimit", "256m"),
    ("core.packedGitWindowSize", "32m"),
)
"""Configuration that goes before the repository's own; git takes it as given on its command line."""


_OF_COPIES: Final = (
    ("receive.autogc", "false"),  # all that it packs would be brought back
    ("receive.denyCurrentBranch", "refuse"),  # there is no worktree in a copy
)
"""Further configuration where git works on a copy."""


def environment(username: str, protocol: str, *, copy: bool = False) -> dict[str, str]:
    """The whole environment of git, but for PATH and the locale.

    Args:
        username: the account, who stands in reference logs.
        protocol: what the client said in GIT_PROTOCOL; empty for nothing.
        copy: the repository is a copy, which is brought back.
    """
    configuration = (*_CONFIGURATION, *_OF_COPIES) if copy else _CONFIGURATION
    name = re.sub(r"[^\w.@+-]", "_", username) or "unknown"
    found = {
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": f"{name}@localhost",
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": f"{name}@localhost",
        "GIT_CONFIG_COUNT": str(len(configuration)),
    }
    for index, (key, value) in enumerate(configuration):
        found[f"GIT_CONFIG_KEY_{index}"] = key
        found[f"GIT_CONFIG_VALUE_{index}"] = value
    if PROTOCOL.fullmatch(protocol):
        found["GIT_PROTOCOL"] = protocol
    return found


def parse_git(name: str, words: Sequence[str]) -> str:
    """The path of the repository.

    Raises:
        InvalidArgument: this is not how a git client calls its server.
    """
    if len(words) != 1 or not words[0] or words[0].startswith("-"):
        raise InvalidArgument(f"{name}: expected one path and no options")
    return words[0]
