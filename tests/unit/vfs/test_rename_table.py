# SPDX-License-Identifier: Apache-2.0
"""RENAME and posix-rename, every kind of source onto every kind of target, beside rename(2) and OpenSSH.

The same tree is made for each; status codes and what is there afterwards are compared. What differs for
good is in `LASTING`, with its reason; docs/reference/sftp.md tells the same.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import sftp_packets as packets
from tests.support.vfs_world import World, p, vfs_world

from tidegate.doors.sftp.status import code_of
from tidegate.errors import TidegateError
from tidegate.vfs.session import Session

SERVER = "/usr/lib/openssh/sftp-server"
OTHER_DISK = Path("/dev/shm")
OK, NO_SUCH_FILE, FAILURE, BAD_MESSAGE = 0, 2, 4, 5

SOURCES = ["f", "e", "d", "h1", "lf", "ld", "dang", "no", "d/sub", "d/x", "ld/x"]
TARGETS = [
    *("f", "g", "e", "e2", "d", "h1", "h2", "lf", "ld", "dang", "no", "no/x"),
    *("d/new", "d/sub", "d/sub/new", "d/x", "e/new", "f/new", "ld/new", "lf/new", "dang/new"),
]
PAIRS = [(source, target) for source in SOURCES for target in TARGETS]


def make_tree(root: Path) -> None:
    """Files, an empty and a full directory, two names of one file, links to a file, a directory, nothing."""
    (root / "d/sub").mkdir(parents=True)
    for name in ("e", "e2"):
        (root / name).mkdir()
    for name in ("f", "g", "h1", "d/x", "d/sub/y"):
        (root / name).write_bytes(name.encode())
    os.link(root / "h1", root / "h2")
    for name, text in (("lf", "f"), ("ld", "d"), ("dang", "nowhere")):
        (root / name).symlink_to(text)


def snapshot(root: Path) -> dict[str, Any]:
    """Everything that is there: text of links, content of files, directories."""
    found: dict[str, Any] = {}
    todo = [""]
    while todo:
        directory = todo.pop()
        for entry in os.scandir(root / directory):
            name = f"{directory}/{entry.name}"[not directory :]
            if entry.is_symlink():
                found[name] = f"-> {os.readlink(entry.path)}"
            elif entry.is_dir():
                found[name] = "directory"
                todo.append(name)
            else:
                found[name] = Path(entry.path).read_bytes()
    return found


class Tree:
    """The tree at one place, made anew only after it was changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.whole = False

    def prepare(self) -> None:
        if not self.whole:
            shutil.rmtree(self.root, ignore_errors=True)
            make_tree(self.root)
            self.whole = True

    def look(self) -> dict[str, Any]:
        found = snapshot(self.root)
        self.whole = found == WHOLE
        return found


WHOLE = {
    **{name: name.encode() for name in ("f", "g", "h1", "d/x", "d/sub/y")},
    "h2": b"h1",
    **dict.fromkeys(("d", "d/sub", "e", "e2"), "directory"),
    "lf": "-> f",
    "ld": "-> d",
    "dang": "-> nowhere",
}


def rename2(source: Path, target: Path) -> int | str:
    """rename(2): 0 or the name of the error."""
    try:
        os.rename(source, target)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return OK


class OpenSsh:
    """OpenSSH's sftp-server, spoken to by hand."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._rid = 0
        self._send(packets.init())

    def _send(self, data: bytes) -> bytes:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()
        (size,) = struct.unpack(">I", self.process.stdout.read(4))
        return self.process.stdout.read(size)

    def rename(self, source: Path, target: Path, *, replace: bool) -> int:
        self._rid += 1
        if replace:
            body = packets.s("posix-rename@openssh.com") + packets.s(str(source)) + packets.s(str(target))
            data = packets.packet(200, packets.u32(self._rid) + body)
        else:
            data = packets.packet(
                18, packets.u32(self._rid) + packets.s(str(source)) + packets.s(str(target))
            )
        reply = packets.parse(self._send(data))
        assert reply.rid == self._rid
        return reply.code

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def openssh() -> Iterator[OpenSsh]:
    server = OpenSsh()
    yield server
    server.close()


async def ours(session: Session, source: str, target: str, *, replace: bool) -> int:
    try:
        await session.rename(p(source), p(target), replace=replace)
    except TidegateError as error:
        return code_of(error)
    return OK


def lasting(target: str, theirs: int, mine: int, *, replace: bool) -> str:
    """The reason for which an outcome differs from OpenSSH's for good; empty if there is none."""
    if theirs == BAD_MESSAGE and mine == FAILURE:
        return "EINVAL: a directory below itself is no malformed message"
    if theirs == NO_SUCH_FILE and mine == FAILURE:
        return "ENOTDIR: a directory onto what is none; both exist"
    if not replace and target == "dang" and theirs == OK and mine == FAILURE:
        return "the draft: RENAME never replaces; OpenSSH follows the link and finds nothing"
    return ""


@pytest.mark.needs(SERVER)
@pytest.mark.parametrize("replace", [True, False], ids=["posix-rename", "rename"])
@pytest.mark.parametrize("place", ["home", "folder", "disk"])
async def test_every_outcome(tmp_path: Path, openssh: OpenSsh, place: str, replace: bool) -> None:
    """Within the home, into a folder on the same file system, and into one on another."""
    disk = OTHER_DISK / f"{tmp_path.name}-{os.getpid()}"
    if place == "disk" and (not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev):
        pytest.skip("no second file system")
    try:
        async with vfs_world(tmp_path / "w") as world:
            mount = world.mount("v", "/v")
            folder = world.folder_dir("v")
            if place == "disk":
                disk.mkdir()
                folder.parent.mkdir(parents=True)
                folder.symlink_to(disk)
            world.account(virtual_folders=(mount,))
            session = await world.login()
            sides = Sides(world, session, openssh, tmp_path, apart=place != "home")
            differences = []
            for source, target in PAIRS:
                differences += await sides.compare(source, target, replace=replace)
            assert differences == []
    finally:
        shutil.rmtree(disk, ignore_errors=True)


class Sides:
    """The tree as the kernel, OpenSSH and Tidegate have it; twice for each, if a rename leads into a folder."""

    def __init__(self, world: World, session: Session, openssh: OpenSsh, base: Path, *, apart: bool) -> None:
        self.session = session
        self.openssh = openssh
        self.target_root = "/v/t" if apart else "/t"
        roots = {
            "kernel": [base / "kernel/a", base / "kernel/b"],
            "openssh": [base / "openssh/a", base / "openssh/b"],
            "mine": [world.home() / "t", world.folder_dir("v") / "t"],
        }
        self.trees = {name: [Tree(root) for root in ends[: 1 + apart]] for name, ends in roots.items()}

    def _begin(self, name: str, source: str, target: str) -> tuple[Path, Path]:
        ends = self.trees[name]
        for tree in ends:
            tree.prepare()
        return ends[0].root / source, ends[-1].root / target

    def _look(self, name: str) -> list[dict[str, Any]]:
        return [tree.look() for tree in self.trees[name]]

    async def compare(self, source: str, target: str, *, replace: bool) -> list[str]:
        """One rename; how it differs."""
        self._begin("mine", source, target)
        code = await ours(self.session, f"/t/{source}", f"{self.target_root}/{target}", replace=replace)
        tree = self._look("mine")
        theirs = self.openssh.rename(*self._begin("openssh", source, target), replace=replace)
        found = []
        agree = self._look("openssh") == tree
        if (code != theirs or not agree) and not lasting(target, theirs, code, replace=replace):
            found.append(f"{source} -> {target}: OpenSSH {theirs}, here {code}; trees agree: {agree}")
        if replace:
            word = rename2(*self._begin("kernel", source, target))
            agree = self._look("kernel") == tree
            if (word == OK) != (code == OK) or not agree:
                found.append(f"{source} -> {target}: rename(2) {word}, here {code}; trees agree: {agree}")
        return found
