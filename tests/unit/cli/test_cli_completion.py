# SPDX-License-Identifier: Apache-2.0
"""Completion, asked for at the keys of real shells: bash, zsh and fish."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from tests.support.command_line import process, tidegate
from tests.support.shell_command import shell_command

PROMPT = "ready> "
SECONDS = 20
PASSWORD = "a-good-Pass-1\n"
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile"],
    "zsh": ["zsh", "-f"],
    "fish": ["fish", "--no-config", "--private"],
}
BEFORE = {
    "bash": f"PS1='{PROMPT}'; bind 'set bell-style none'; bind 'set enable-bracketed-paste off'",
    "zsh": f"PS1='{PROMPT}'; unsetopt ZLE_BRACKETED_PASTE; zle_bracketed_paste=(); autoload -U compinit; compinit -D -u",
    "fish": f"function fish_prompt; printf '{PROMPT}'; end; function fish_right_prompt; end; set -g fish_color_autosuggestion",
}


class Shell:
    """A shell at a terminal, with our completion loaded; `tidegate` is a script that runs the command."""

    def __init__(self, name: str, place: Path) -> None:
        self.name = name
        programs = place / "programs"
        self.command = contextlib.ExitStack()
        programs.mkdir()
        self.command.enter_context(shell_command(programs / "tidegate"))
        script = place / "script"
        script.write_text(tidegate("--show-completion", name).out)
        environment = {
            "HOME": str(place), "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "dumb", "LANG": "C.UTF-8",
            "XDG_CONFIG_HOME": str(place / "config"), "XDG_DATA_HOME": str(place / "data"),
            "TIDEGATE_CONFIG_DIR": str(place),
        }  # fmt: skip
        command, *arguments = SHELLS[name]
        self.child = pexpect.spawn(
            command,
            arguments,
            env=environment,
            cwd=str(place),
            timeout=SECONDS,
            encoding="utf-8",
            dimensions=(40, 200),
        )
        self.child.sendline(BEFORE[name])
        self.child.sendline(f"source {script}; echo loaded''here")
        self.child.expect_exact("loadedhere")
        self.child.expect_exact(PROMPT)

    def complete(self, line: str, rest: str) -> None:
        """Type a line and the key: the rest of its last word has to appear. The line is dropped then."""
        self.child.send(line)
        self.child.expect_exact(line[-3:])
        self.child.send("\t")
        self.child.expect_exact(rest)
        self.child.send("\x15")  # Ctrl-U
        self.child.sendline("echo dropped''it")
        self.child.expect_exact("droppedit")
        self.child.expect_exact(PROMPT)

    def close(self) -> None:
        self.child.close(force=True)
        self.command.close()


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    for name in ("ada", "adam", "bob"):
        tidegate("user", "add", name, "--create", "--password-stdin", "-c", tmp_path, stdin=PASSWORD)
    tidegate("folder", "add", "archive", "/srv/archive", "-c", tmp_path)
    tidegate("group", "add", "partners", "-c", tmp_path)
    made = Shell(request.param, tmp_path)
    yield made
    made.close()


@pytest.mark.needs("bash", "zsh", "fish")
def test_a_shell_completes_commands_options_names_permissions_and_operations(shell: Shell) -> None:
    shell.complete("tidegate revertp", "rovider")
    shell.complete("tidegate serve --quick", "start")
    shell.complete("tidegate user show bo", "b")
    shell.complete("tidegate folder show ar", "chive")
    shell.complete("tidegate user set ada --group par", "tners")
    shell.complete("tidegate user set ada -g /in:list,down", "load")
    shell.complete("tidegate explain --user bob --op rename_d", "ir")


def asked(line: str, **extra: str) -> list[str]:
    """The words that a shell is given."""
    result = process(_TIDEGATE_COMPLETE="words", _TIDEGATE_COMPLETE_LINE=line, **extra)
    assert (result.code, result.err) == (0, "")
    return [text.partition("\t")[0] for text in result.out.splitlines()]


def test_what_cannot_be_completed_is_silent(tmp_path: Path) -> None:
    for line in (
        "",
        "tidegate nothing ",
        "tidegate 'open",
        "tidegate user set ada -g /in",
        "tidegate user show \udc80",
    ):
        asked(line, TIDEGATE_CONFIG_DIR=str(tmp_path))
    assert asked("tidegate user show a", TIDEGATE_CONFIG_DIR=str(tmp_path)) == []
    assert not list(tmp_path.iterdir())


def test_a_permission_is_offered_once() -> None:
    assert asked("tidegate user add x -g /in:list,li") == []
    assert set(asked("tidegate user add x -g /in:delete_")) == {"/in:delete_dirs", "/in:delete_files"}


@pytest.mark.needs("bash", "zsh", "fish")
def test_a_shell_runs_nothing_that_stands_in_a_name(shell: Shell, tmp_path: Path) -> None:
    name = "x$(touch made)`touch made`'y;touch made"
    assert tidegate("folder", "add", name, "/srv/archive", "-c", tmp_path).code == 0
    assert asked("tidegate folder show x", TIDEGATE_CONFIG_DIR=str(tmp_path)) == [name]
    shell.child.send("tidegate folder show x\t")
    shell.child.expect_exact("y")
    shell.child.sendline("")
    shell.child.expect_exact("/srv/archive")  # the shell has passed on the very name
    shell.child.expect_exact(PROMPT)
    assert not (tmp_path / "made").exists()


@pytest.mark.needs("bash")
def test_bash_takes_a_name_for_no_pattern_of_files(tmp_path: Path) -> None:
    (tmp_path / "zebra").touch()
    program = tmp_path / "words"
    program.write_text("#!/bin/sh\nprintf 'z*\\nz a\\tdescription\\n'\n")
    program.chmod(0o755)
    asks = f"{tidegate('--show-completion', 'bash').out}\nCOMP_LINE='tidegate folder show z' COMP_POINT=22"
    asks += f"\n_tidegate_completion {program}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    out = subprocess.run(["bash", "-c", asks], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == ["z\\*", "z\\ a"]
