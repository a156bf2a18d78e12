# SPDX-License-Identifier: Apache-2.0
"""Commands for the operator to type: they name the program and the server as the operator has done."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Final

FLAGS: Final = {
    "-c": "-c",
    "--config-dir": "-c",
    **{name: name for name in ("--config-file", "--url", "--token-file", "--api-key-file", "--tls-ca")},
}
"""Flags that say which server is meant, and how a hint writes them."""

_line: Final[ContextVar[tuple[str, ...]]] = ContextVar("command line", default=())


def remember(args: list[str]) -> None:
    """Keep the words of the command line that runs."""
    _line.set(tuple(args))


def program() -> str:
    """The command that starts this program: its name, or its path where the shell does not find it."""
    started = Path(sys.argv[0]).absolute()
    if started.name != "tidegate" or shutil.which("tidegate") or not started.is_file():
        return "tidegate"
    shown = near(started)
    return shown if "/" in shown else f"./{shown}"


def near(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def typed(*words: str) -> str:
    """A command with these words, for the same server as the command that runs."""
    return shlex.join([*shlex.split(program()), *words, *_place()])


def again() -> str:
    """The command that runs, as it was typed."""
    return shlex.join([*shlex.split(program()), *_line.get()])


def _place() -> list[str]:
    args = _line.get()
    if args[:1] == ("portable",):  # -c is something else there
        return []
    found: dict[str, str] = {}
    for index, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name not in FLAGS:
            continue
        if equals and name.startswith("--"):
            found[FLAGS[name]] = value
        elif index + 1 < len(args):
            found[FLAGS[name]] = args[index + 1]
    return [word for pair in found.items() for word in pair]


def owner(path: Path) -> str:
    """Name of the user that a file belongs to; their number if it has none."""
    number = os.stat(path).st_uid
    try:
        import pwd

        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError):
        return str(number)
