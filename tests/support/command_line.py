# SPDX-License-Identifier: Apache-2.0
"""Running the command line: in this process, or as a real one."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support import fork_server

from tidegate.cli.main import run

TIDEGATE = fork_server.COMMAND
"""The command as a process, whatever is on the path."""


@dataclass(frozen=True)
class Result:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> list[list[str]]:
        """Lines of a table as words."""
        return [line.split() for line in self.out.splitlines() if line.strip()]


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without variables of ours."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("TIDEGATE_", "SFTPGO_"))}
    return {**kept, **extra}


def tidegate(*args: str | Path, stdin: str = "", environ: dict[str, str] | None = None) -> Result:
    """Run a command in this process; standard input is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    source = io.TextIOWrapper(io.BytesIO(stdin.encode("utf-8", "surrogateescape")))
    with (
        mock.patch.dict(os.environ, clean_environment(**(environ or {})), clear=True),
        mock.patch.object(sys, "stdin", source),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = run([str(arg) for arg in args])
    return Result(code, out.getvalue(), err.getvalue())


def process(*args: str | Path, stdin: str = "", timeout: float = 30, **extra: str) -> Result:
    """Run a command as a process."""
    done = fork_server.run(
        [str(arg) for arg in args], input=stdin, timeout=timeout, env=clean_environment(**extra)
    )
    return Result(done.returncode, done.stdout, done.stderr)
