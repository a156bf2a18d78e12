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
    if not words or words[0] not in COMMANDS:
        return None
    if words[0] not in enabled and "*" not in enabled:
        return None
    return Invocation(line, str(words[0]), tuple(words[1:]))


def subject(invocation: Invocation, start: VPath) -> VPath | None:
    """The path that a command is about, for the log: of several the last; None if it names none.

    Args:
        invocation: of the command.
        start: directory that relative paths begin in.
    """
    words = [word for word in invocation.arguments if not word.startswith("-")]
    try:
        return VPath.parse(words[-1], start) if words else None
    except TidegateError:
        return None


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


COMMANDS: Final[dict[str, Command]] = {
    **dict.fromkeys(DIGESTS, TextCommand(digest)),
    "cd": TextCommand(_change_directory),
    "pwd": TextCommand(_print_directory),
    "scp": ChannelCommand(_scp, Protocol.SCP, on_record=False),
    "git-receive-pack": ChannelCommand(_git),
    "git-upload-archive": ChannelCommand(_git),
    "git-upload-pack": ChannelCommand(_git),
    "rsync": ChannelCommand(_rsync),
}
"""Every command that can be enabled."""
