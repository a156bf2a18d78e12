# SPDX-License-Identifier: Apache-2.0
"""Questions at a terminal: a password twice, and a confirmation."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time

import pytest

ASK = """
import sys
from tidegate.cli.terminal import confirm, read_password
from tidegate.errors import InvalidArgument
try:
    if sys.argv[1] == "password":
        print("GOT", read_password("user ana", stdin=False, file=None))
    else:
        confirm("remove user ana?", yes=False)
        print("GOT agreement")
except InvalidArgument as error:
    print("REFUSED", error)
"""


def dialogue(what: str, *turns: tuple[str, str]) -> str:
    """Ask on a terminal of its own; `turns` are questions and what is typed. Returns all that was shown."""
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", "--wait", sys.executable, "-c", ASK, what]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen, place, deadline = b"", 0, time.monotonic() + 30
        left = list(turns)
        try:
            while time.monotonic() < deadline:
                if left and (found := seen.find(left[0][0].encode(), place)) >= 0:
                    place = found + len(left[0][0])
                    os.write(ours, left.pop(0)[1].encode() + b"\n")
                if not select.select([ours], [], [], 0.5)[0]:
                    continue
                with contextlib.suppress(OSError):  # EIO: the other end is closed
                    if data := os.read(ours, 4096):
                        seen += data
                        continue
                break
        finally:
            os.close(ours)
        assert process.wait(timeout=10) == 0
    assert not left, seen
    return seen.decode()


@pytest.mark.parametrize(
    ("first", "again", "end"),
    [
        ("s3cret wörd", "s3cret wörd", "GOT s3cret wörd"),
        ("s3cret word", "s3cret wurd", "REFUSED the two passwords differ"),
        ("s3cret word", "", "REFUSED the two passwords differ"),
        ("", None, "REFUSED the password is empty"),
    ],
)
def test_a_password_is_asked_for_twice_and_not_shown(first: str, again: str | None, end: str) -> None:
    turns = [("Password for user ana: ", first), *([] if again is None else [("Again: ", again)])]
    shown = dialogue("password", *turns)
    assert shown.rstrip().endswith(end)
    assert shown.count("s3cret") == ("GOT" in end)  # typed without echo


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y", True), (" YES ", True), ("", False), ("n", False), ("yess", False)]
)
def test_only_a_yes_is_a_yes(typed: str, agreed: bool) -> None:
    shown = dialogue("confirm", ("remove user ana? [y/N] ", typed))
    assert ("GOT agreement" in shown) is agreed
    assert ("REFUSED nothing was changed" in shown) is not agreed
