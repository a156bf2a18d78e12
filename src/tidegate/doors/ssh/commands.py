# SPDX-License-Identifier: Apache-2.0
"""The table of commands that clients may run by SSH exec.

git and rsync are programs of the system (`doors.ssh.programs`); nothing else starts one.

Output follows GNU coreutils, because that is what clients parse.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tidegate.doors.common.command_line import split
from tidegate.doors.ssh.command import (
    Call,
    ChannelCall,
    ChannelCommand,
    ChannelConversation,
    Command,
    Invocation,
    TextCommand,
)
from tidegate.doors.ssh.digests import DIGESTS, digest
from tidegate.doors.ssh.file_commands import df, ls, mkdir, rm
from tidegate.doors.ssh.trees import copy, remove
from tidegate.errors import TidegateError
from tidegate.model import Protocol, VPath


def parse(line: str, enabled: Collection[str]) -> Invocation | None:
    """Split a command line as a POSIX shell would, without any of its expansions.

    Returns:
        None if it is malformed, unknown or not enabled.
    """
    try:
        words = split(line)
    except TidegateError:
        return None
    if not words:
        return None
    name = str(words[0])
    if name == "echo" and line != RCLONE_PROBE:
        return None
    enabling = COMPANIONS[name][0] if name in COMPANIONS else (name, *_OTHER_NAMES.get(name, ()))
    known = name in COMPANIONS or name in COMMANDS
    if not known or ("*" not in enabled and not any(one in enabled for one in enabling)):
        return None
    return Invocation(line, name, tuple(words[1:]))


def kind(invocation: Invocation) -> Command:
    """The command that an invocation runs."""
    companion = COMPANIONS.get(invocation.name)
    return COMMANDS[invocation.name] if companion is None else companion[1]


def subject(invocation: Invocation, start: VPath) -> VPath | None:
    """The path that a command is about: of several the last, of a copy the first; None if it names none.

    Args:
        invocation: of the command.
        start: directory that relative paths begin in.
    """
    found = _paths(invocation, start)
    return None if not found else found[0] if _copies(invocation, found) else found[-1]


def destination(invocation: Invocation, start: VPath) -> VPath | None:
    """The path that a command copies to; None of any other."""
    found = _paths(invocation, start)
    return found[-1] if _copies(invocation, found) else None


def _copies(invocation: Invocation, found: list[VPath | None]) -> bool:
    return invocation.name in ("sftpgo-copy", "tidegate-copy") and len(found) == 2


def _paths(invocation: Invocation, start: VPath) -> list[VPath | None]:
    """The words of a command that are no options, as paths; None where one cannot be a path."""
    found: list[VPath | None] = []
    for word in invocation.arguments:
        if not word.startswith("-"):
            try:
                found.append(VPath.parse(word, start))
            except TidegateError:
                found.append(None)
    return found


async def _change_directory(call: Call) -> int:  # noqa: ARG001  every command takes one
    return 0  # each command has a session of its own, so there is nothing to change


async def _print_directory(call: Call) -> int:
    await call.output.write(f"{call.session.start_directory}\n".encode("utf-8", "surrogateescape"))
    return 0


def _scp(call: ChannelCall) -> ChannelConversation:
    from tidegate.doors.scp.dialogue import ScpDialogue  # loaded by the first who asks

    return ScpDialogue(call.invocation.arguments, call.session, call.transport, call.activity, call.handles)


def _git(call: ChannelCall) -> ChannelConversation:
    from tidegate.doors.ssh.programs.opening import open_git  # loaded by the first who asks

    return open_git(call)


def _rsync(call: ChannelCall) -> ChannelConversation:
    from tidegate.doors.ssh.programs.opening import open_rsync

    return open_rsync(call)


async def _probe(call: Call) -> int:
    await call.output.write(b"%ComSpec%\n")
    return 0


RCLONE_PROBE: Final = "echo ${ShellId}%ComSpec%"
"""The line by which rclone finds out which shell it talks to; this is the answer of a POSIX shell."""

COMMANDS: Final[dict[str, Command]] = {
    **dict.fromkeys(DIGESTS, TextCommand(digest)),
    "cd": TextCommand(_change_directory),
    "pwd": TextCommand(_print_directory),
    "scp": ChannelCommand(_scp, Protocol.SCP, on_record=False),
    "git-receive-pack": ChannelCommand(_git),
    "git-upload-archive": ChannelCommand(_git),
    "git-upload-pack": ChannelCommand(_git),
    "rsync": ChannelCommand(_rsync),
    "df": TextCommand(df),
    "tidegate-copy": TextCommand(copy),
    "tidegate-remove": TextCommand(remove),
    "sftpgo-copy": TextCommand(copy),
    "sftpgo-remove": TextCommand(remove),
}
"""Every command that can be enabled."""

_OTHER_NAMES: Final = {
    "tidegate-copy": ("sftpgo-copy",),
    "tidegate-remove": ("sftpgo-remove",),
    "sftpgo-copy": ("tidegate-copy",),
    "sftpgo-remove": ("tidegate-remove",),
}
"""Commands that are enabled by another name as well."""

COMPANIONS: Final[dict[str, tuple[tuple[str, ...], TextCommand]]] = {
    "ls": (("scp",), TextCommand(ls)),
    "mkdir": (("scp",), TextCommand(mkdir)),
    "rm": (("scp",), TextCommand(rm)),
    "echo": (tuple(DIGESTS), TextCommand(_probe)),
}
"""Commands that clients run beside others, and that any of those enables: name, the others, what it does."""
