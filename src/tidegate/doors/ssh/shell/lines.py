# SPDX-License-Identifier: Apache-2.0
"""Takes a line apart as a POSIX shell does, in the few ways that WinSCP relies on (XCU 2.2, 2.5, 2.9.3).

A line is a list of simple commands with ``;`` between them. Of expansions there is that of ``$?``, the status
of the command before; every other variable is empty. What else a shell would do (pipes, redirections,
substitution of commands, work in the background) is refused command by command, so that it is never taken
for arguments.
"""

from __future__ import annotations

from typing import Final

from tidegate.doors.common.command_line import MAX_COMMAND
from tidegate.errors import InvalidArgument

MAX_STEPS: Final = 16
"""Commands of one line; WinSCP sends three."""

_OPERATORS: Final = frozenset("|&<>()")
_NAME_START: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NAME: Final = _NAME_START | frozenset("0123456789")
_SPECIAL: Final = frozenset("0123456789@*#!-$")


def steps(line: str) -> list[str]:
    """The commands of a line, as they stand there; empty ones are left out.

    Raises:
        InvalidArgument: a quote is never closed, or there are more than `MAX_STEPS` commands.
    """
    if len(line) > MAX_COMMAND:
        raise InvalidArgument(f"a command line of more than {MAX_COMMAND} characters")
    found: list[str] = []
    quote, start, index = "", 0, 0
    while index < len(line):
        char = line[index]
        if char == "\\" and quote != "'":
            index += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == ";":
            found.append(line[start:index])
            start = index + 1
        index += 1
    if quote:
        raise InvalidArgument("a command line with a quote that is never closed")
    found = [step.strip(" \t\r") for step in (*found, line[start:])]
    found = [step for step in found if step]
    if len(found) > MAX_STEPS:
        raise InvalidArgument(f"more than {MAX_STEPS} commands in a line")
    return found


def expand(step: str, status: int) -> str:
    """One command with its variables replaced; ready for `command_line.split`.

    Args:
        step: of `steps`.
        status: exit status of the command before.

    Raises:
        InvalidArgument: it asks for more than variables.
    """
    made: list[str] = []
    quote, index = "", 0
    while index < len(step):
        char = step[index]
        index += 1
        if char == "\\" and quote != "'":
            made.append(step[index - 1 : index + 1])
            index += 1
            continue
        if quote != "'" and (char == "`" or step.startswith("$(", index - 1)):
            raise InvalidArgument("no commands are substituted here")
        if char == "$" and quote != "'":
            index, value = _variable(step, index, status)
            made.append(value)
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _OPERATORS:
            raise InvalidArgument(f"{char} has no meaning here: there is no shell")
        made.append(char)
    return "".join(made)


def _variable(step: str, index: int, status: int) -> tuple[int, str]:
    """The index behind a variable whose name begins at `index`, and its value: digits, or nothing."""
    if step.startswith("?", index):
        return index + 1, str(status)
    if step.startswith("{", index):
        end = step.find("}", index)
        if end > 0 and step[index + 1 : end] == "?":
            return end + 1, str(status)
        if end > 0 and set(step[index + 1 : end]) <= _NAME:
            return end + 1, ""
        raise InvalidArgument("no parameters are expanded here")
    end = index
    if step[index : index + 1] in _NAME_START:
        while end < len(step) and step[end] in _NAME:
            end += 1
        return end, ""
    if step[index : index + 1] in _SPECIAL:
        return index + 1, ""
    return index, "$"
