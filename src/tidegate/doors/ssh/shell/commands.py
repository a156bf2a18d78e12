# SPDX-License-Identifier: Apache-2.0
"""The table of commands of a shell channel; ``cd``, ``exit`` and ``scp`` are the channel's own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tidegate.doors.common.command_line import Word
from tidegate.doors.ssh import commands
from tidegate.doors.ssh.command import Call, TextCommand
from tidegate.doors.ssh.file_commands import mkdir
from tidegate.doors.ssh.shell import changes
from tidegate.doors.ssh.shell.listing import ls

NOT_FOUND: Final = 127
"""Exit status of a command that is not known (XCU 2.8.2)."""

LANG: Final = "C.UTF-8"
"""Value of LANG: WinSCP takes names for UTF-8 if it says so."""


async def _nothing(call: Call) -> int:  # noqa: ARG001  every command takes one
    return 0


async def _echo(call: Call) -> int:
    text = " ".join(call.invocation.arguments)
    await call.output.write(f"{text}\n".encode("utf-8", "surrogateescape"))
    return 0


async def _pwd(call: Call) -> int:
    await call.output.write(f"{call.session.start_directory}\n".encode("utf-8", "surrogateescape"))
    return 0


async def _groups(call: Call) -> int:
    """One group, named like the account: WinSCP wants a line."""
    await call.output.write(f"{call.session.principal.username}\n".encode("utf-8", "surrogateescape"))
    return 0


async def _printenv(call: Call) -> int:
    if call.invocation.arguments != ("LANG",):
        return 1
    await call.output.write(f"{LANG}\n".encode())
    return 0


async def _uname(call: Call) -> int:
    await call.output.write(b"Tidegate\n")
    return 0


COMMANDS: Final = {
    **dict.fromkeys((":", "true", "unset", "unalias", "alias", "export", "set"), _nothing),
    "chgrp": changes.chgrp,
    "chmod": changes.chmod,
    "chown": changes.chown,
    "cp": changes.cp,
    "echo": _echo,
    "groups": _groups,
    "ln": changes.ln,
    "ls": ls,
    "mkdir": mkdir,
    "mv": changes.mv,
    "printenv": _printenv,
    "pwd": _pwd,
    "rm": changes.rm,
    "uname": _uname,
}
"""The commands that a shell channel always has."""


def find(name: str, enabled: Collection[str]) -> TextCommand | None:
    """The command of a name: one of `COMMANDS`, or one that `sftpd.enabled_ssh_commands` has.

    Returns:
        None if there is none that reads and writes lines.
    """
    if name in COMMANDS:
        return TextCommand(COMMANDS[name])
    if name not in commands.COMMANDS or commands.parse(name, enabled) is None:
        return None
    command = commands.COMMANDS[name]
    return command if isinstance(command, TextCommand) else None


def absolute(word: Word, home: str, username: str) -> Word:
    """A word whose tilde stands for the directory that the session began in, wherever the channel is now."""
    if not word.home:
        return word
    user, slash, rest = word[1:].partition("/")
    if user not in ("", username):
        return word
    head = home.rstrip("/") + (slash and f"/{rest}") or "/"
    pattern = ""
    if word.pattern:
        escaped = "".join(f"\\{char}" if char in "*?[]\\" else char for char in home.rstrip("/"))
        pattern = f"{escaped}/{word.pattern.partition('/')[2]}"
    return Word(head, pattern)
