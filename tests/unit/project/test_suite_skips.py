# SPDX-License-Identifier: Apache-2.0
"""Tests that may be left out, and why: programs by the one helper that fails in CI, the rest by this list."""

import re
from pathlib import Path

import pytest
from tests.support import needs

TESTS = Path(__file__).resolve().parents[2]
HELPER = TESTS / "support" / "needs.py"
SKIP = re.compile(r'(?:pytest\.skip\(\s*|skipif\(.*?reason=)f?"([^"]+)"', re.DOTALL)

REASONS = {
    "made again within one millisecond",
    "/dev/shm is missing",
    "no second file system",
    "the file system has no ACLs",
    "owners are set by root only",
    "only root mounts",
    "mounting is not allowed here",
    "the system clears the bits for everybody but root",
    "mounting a tmpfs needs root",
    "mounting a tmpfs is not allowed here",
    "dropping rights needs root",
    "FUSE is not usable here",
    "FUSE is not available",
    "FUSE refuses to mount here",
    "uvloop",
    "changes its user",
    "ulimit -n of a process of its own",
    "needs addresses of 127.0.0.0/8",
    "looks into /proc",
    "only Linux has TCP_QUICKACK and tells what is on its way",
    "the client imports cgi, which Python 3.13 dropped",
    "the kernel has no Landlock",
    "network namespaces need root",
    "network namespaces are not allowed here",
    "no MySQL is unpacked here (.ci/run takes it from Debian's unstable)",
}
"""Of the system that the tests run on. None is a program that could be installed, but for MySQL, of which
Debian's stable release has no package."""


def test_every_skip_is_by_the_helper_or_listed() -> None:
    found = {
        reason: path.name
        for path in TESTS.rglob("*.py")
        if path not in (HELPER, Path(__file__))
        for reason in SKIP.findall(path.read_text(encoding="utf-8"))
    }

    assert {reason: name for reason, name in found.items() if reason not in REASONS} == {}
    assert REASONS - found.keys() == set(), "no test has that reason any more"


def test_what_is_absent_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    assert needs.missing("no-such-program")
    assert needs.missing("/no/such/file")
    assert needs.missing("lib:no-such-library")
    assert not needs.missing("sh")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs no-such-program"):
        needs.absent("no-such-program")
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="needs no-such-program"):
        needs.absent("no-such-program")
