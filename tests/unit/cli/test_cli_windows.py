# SPDX-License-Identifier: Apache-2.0
"""On Windows the command says in one sentence that it does not run there, before anything of Unix is imported."""

from __future__ import annotations

import subprocess
import sys

AS_IF = """
import asyncio, os, shutil, subprocess, sys, tempfile, typer  # those of the library know Windows
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "uvloop", "syslog"):
    sys.modules[name] = None
from tidegate.cli.main import run
os.name = "nt"
sys.exit(run(sys.argv[1:]))
"""


def test_one_sentence_instead_of_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_IF, "serve"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("tidegate: does not run on Windows itself; WSL 2")
    assert len(done.stderr.splitlines()) == 1
