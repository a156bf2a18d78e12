# SPDX-License-Identifier: Apache-2.0
"""Every permission against every operation, over the wire.

Each operation is tried with one permission alone and with all but one. What has to come out is written down
here by hand, independent of the table that the gate works with; that the two name the same intents is
checked too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import sftp_packets as p
from tests.support.raw_sftp import RawSftp, raw_sftp
from tests.support.running import Person, Running, wait_for

from tidegate.model import Permission
from tidegate.policy.requirements import REQUIREMENTS

OK, EOF, DENIED = 0, 1, 3

EVERY = (
    "list", "download", "upload", "overwrite", "delete", "delete_files", "delete_dirs", "rename", "rename_files",
    "rename_dirs", "create_dirs", "create_symlinks", "chmod", "chown", "chtimes", "copy",
)  # fmt: skip
"""Every permission but ``*``."""

GRANTS = {
    "*": ("*",),
    "none": ("copy",),  # a directory has to have one; this one opens nothing by itself
    **{name: (name,) for name in EVERY},
    **{f"all but {name}": tuple(other for other in EVERY if other != name) for name in EVERY},
}


async def _opened(raw: RawSftp, path: str, flags: int | str) -> p.Reply:
    reply = await raw.ask(p.open_, path, flags)
    if reply.kind == 102:
        return await raw.ask(p.close, reply.handle)
    return reply


async def _listed(raw: RawSftp) -> p.Reply:
    reply = await raw.ask(p.opendir, "/in")
    if reply.kind == 102:
        return await raw.ask(p.close, reply.handle)
    return reply


@dataclass(frozen=True)
class Operation:
    """One thing that a client can do.

    Attributes:
        intent: what the log calls it.
        needs: each element is a choice of permissions, of which one is needed; all elements have to be met.
            The first of a choice is the one that the refusal names.
        path: the path that the log names.
        act: does it.
    """

    intent: str
    needs: tuple[tuple[str, ...], ...]
    path: str
    act: Callable[[RawSftp], Awaitable[p.Reply]]


FILES, DIRS = ("delete", "delete_files"), ("delete", "delete_dirs")
MOVE_FILE, MOVE_DIR = ("rename", "rename_files"), ("rename", "rename_dirs")

OPERATIONS = {
    "list": Operation("list", (("list",),), "/in", _listed),
    "stat": Operation("stat", (("list",),), "/in/f", lambda raw: raw.ask(p.stat, "/in/f")),
    "lstat": Operation("stat", (("list",),), "/in/l", lambda raw: raw.ask(p.lstat, "/in/l")),
    "readlink": Operation("readlink", (("list",),), "/in/l", lambda raw: raw.ask(p.readlink, "/in/l")),
    "digest": Operation(
        "checksum", (("list",),), "/in/f",
        lambda raw: raw.ask(p.extended, "check-file-name", p.s("/in/f") + p.s("md5") + p.u64(0) + p.u64(0) + p.u32(0)),
    ),
    "download": Operation("download", (("download",),), "/in/f", lambda raw: _opened(raw, "/in/f", "r")),
    "upload": Operation("upload", (("upload",),), "/in/new", lambda raw: _opened(raw, "/in/new", "w")),
    "upload exclusively": Operation("upload", (("upload",),), "/in/new", lambda raw: _opened(raw, "/in/new", "x")),
    "overwrite": Operation("overwrite", (("overwrite",),), "/in/f", lambda raw: _opened(raw, "/in/f", "w")),
    "resume": Operation("overwrite", (("overwrite",),), "/in/f", lambda raw: _opened(raw, "/in/f", 2)),
    "append": Operation("overwrite", (("overwrite",),), "/in/f", lambda raw: _opened(raw, "/in/f", "a")),
    "read and write": Operation(
        "overwrite", (("overwrite",),), "/in/f", lambda raw: _opened(raw, "/in/f", "r+")
    ),
    "truncate": Operation(
        "overwrite", (("overwrite",),), "/in/f", lambda raw: raw.ask(p.setstat, "/in/f", p.attrs(size=3))
    ),
    "remove": Operation("delete_file", (FILES,), "/in/f", lambda raw: raw.ask(p.remove, "/in/f")),
    "remove a link": Operation("delete_file", (FILES,), "/in/l", lambda raw: raw.ask(p.remove, "/in/l")),
    "rmdir": Operation("delete_dir", (DIRS,), "/in/d", lambda raw: raw.ask(p.rmdir, "/in/d")),
    "rename a file": Operation("rename_file", (MOVE_FILE,), "/in/f", lambda raw: raw.ask(p.rename, "/in/f", "/in/new")),
    "rename over a file": Operation(
        "rename_file", (MOVE_FILE, ("overwrite",)), "/in/f",
        lambda raw: raw.ask(p.extended, "posix-rename@openssh.com", p.s("/in/f") + p.s("/in/g")),
    ),
    "rename a directory": Operation(
        "rename_dir", (MOVE_DIR,), "/in/d", lambda raw: raw.ask(p.rename, "/in/d", "/in/new")
    ),
    "mkdir": Operation("mkdir", (("create_dirs",),), "/in/new", lambda raw: raw.ask(p.mkdir, "/in/new")),
    "symlink": Operation("symlink", (("create_symlinks",),), "/in/f", lambda raw: raw.ask(p.symlink, "f", "/in/new")),
    "hard link": Operation(
        "hardlink", (("create_symlinks",),), "/in/f",
        lambda raw: raw.ask(p.extended, "hardlink@openssh.com", p.s("/in/f") + p.s("/in/new")),
    ),
    "chmod": Operation("chmod", (("chmod",),), "/in/f", lambda raw: raw.ask(p.setstat, "/in/f", p.attrs(mode=0o600))),
    "chown": Operation(
        "chown", (("chown",),), "/in/f",
        lambda raw: raw.ask(p.setstat, "/in/f", p.attrs(owner=(os.geteuid(), os.getegid()))),
    ),
    "chtimes": Operation(
        "chtimes", (("chtimes",),), "/in/f", lambda raw: raw.ask(p.setstat, "/in/f", p.attrs(times=(1, 2)))
    ),
    "chmod, chown and chtimes at once": Operation(
        "chtimes", (("chtimes",), ("chmod",), ("chown",)), "/in/f",
        lambda raw: raw.ask(
            p.setstat, "/in/f", p.attrs(mode=0o600, owner=(os.geteuid(), os.getegid()), times=(1, 2))
        ),
    ),
    "copy": Operation(
        "copy", (("copy",), ("download",), ("upload",)), "/in/f",
        lambda raw: raw.ask(p.extended, "copy-file", p.s("/in/f") + p.s("/in/new") + b"\0"),
    ),
    "copy over a file": Operation(
        "copy", (("copy",), ("download",), ("overwrite",)), "/in/f",
        lambda raw: raw.ask(p.extended, "copy-file", p.s("/in/f") + p.s("/in/g") + b"\1"),
    ),
    "space": Operation(
        "space", (("list", "upload"),), "/in", lambda raw: raw.ask(p.extended, "statvfs@openssh.com", p.s("/in"))
    ),
    "realpath": Operation("", (), "/in", lambda raw: raw.ask(p.realpath, "/in/f")),
}  # fmt: skip


UNSEEN = {"overwrite": "upload", "rename_dir": "rename_file"}
"""Intents that the log may give where the object was not looked at."""


def expected_refusal(operation: Operation, granted: tuple[str, ...]) -> str:
    """The permission that the refusal names; empty if nothing is refused."""
    have = set(granted)
    if "*" in have:
        return ""
    if {"delete_files", "delete_dirs"} <= have:
        have.add("delete")
    if {"rename_files", "rename_dirs"} <= have:
        have.add("rename")
    for choice in operation.needs:
        if not have & set(choice):
            if choice == ("overwrite",) and operation.intent == "overwrite" and operation.path == "/in/f":
                # Who may neither create nor replace is not told whether the file exists.
                return "overwrite" if "upload" in have else "upload or overwrite"
            return choice[0]
    return ""


def lay_out(home: Path) -> None:
    """The same few things in /in before each operation."""
    place = home / "in"
    shutil.rmtree(place, ignore_errors=True)
    (place / "d").mkdir(parents=True)
    (place / "f").write_bytes(b"content of f")
    (place / "g").write_bytes(b"content of g")
    (place / "l").symlink_to("f")


def look(home: Path) -> list[tuple[object, ...]]:
    """All that an operation could have changed."""
    found: list[tuple[object, ...]] = []
    for path in sorted((home / "in").iterdir()):
        at = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found.append((path.name, at.st_mode, at.st_size, at.st_mtime_ns, at.st_ino, at.st_nlink, content))
    return found


async def try_all(person: Person, granted: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Do everything; returns what the log has to say about what was refused."""
    refused: list[tuple[str, str, str]] = []
    async with raw_sftp(person) as raw:
        for name, operation in OPERATIONS.items():
            lay_out(person.home)
            before = look(person.home)
            reply = await operation.act(raw)
            missing = expected_refusal(operation, granted)
            if not missing:
                assert reply.kind != 101 or reply.code == OK, (name, granted, reply)
                continue
            assert (reply.kind, reply.code) == (101, DENIED), (name, granted, reply)
            texts = {f"permission: {word} on /in" for word in missing.split(" or ")}
            if name == "truncate":
                texts = {"permission: overwrite on /in"}
            assert reply.text in texts, (name, granted, reply)
            assert look(person.home) == before, (name, granted)
            several = name in {
                "read and write",
                "chmod, chown and chtimes at once",
            }  # one request, more intents
            intent = missing if several and missing in REQUIREMENTS else operation.intent
            refused.append((intent, operation.path, reply.text))
    return refused


async def test_every_permission_against_every_operation(server: Running):
    people = server.accounts([{"permissions": {"/": ("*",), "/in": granted}} for granted in GRANTS.values()])
    for (name, granted), person in zip(GRANTS.items(), people, strict=True):
        refused = await try_all(person, granted)
        wait_for(
            lambda person=person, refused=refused: (
                len(server.lines("refused", username=person.name)) >= len(refused)
            ),
            f"{name}: not every refusal is logged",
        )
        lines = server.lines("refused", username=person.name)
        assert len(lines) == len(refused)
        for line, (intent, path, text) in zip(lines, refused, strict=True):
            assert (line["virtual_path"], line["text"]) == (path, text)
            # What is refused whatever the object is, is refused before anybody looks at it.
            assert line["intent"] in {intent, UNSEEN.get(intent)}
            assert line["rule"] == "permissions[/in]"
            assert (line["protocol"], line["ip"]) == ("SFTP", "127.0.0.1")


def test_the_table_covers_everything():
    assert {"*", *EVERY} == {permission.value for permission in Permission}
    assert {operation.intent for operation in OPERATIONS.values()} - {""} == {
        intent.value for intent in REQUIREMENTS
    } - {"lock", "properties"}, "WebDAV alone has these"


async def test_the_nearest_directory_decides(server: Running):
    person = server.account(
        permissions={
            "/": ("list",),
            "/in": ("list", "upload"),
            "/in/deep": ("download", "list"),
            "/none": ("copy",),
        }
    )
    for folder in ("in", "in/deep", "in/other", "none", "elsewhere"):
        (person.home / folder).mkdir(parents=True, exist_ok=True)
        (person.home / folder / "f").write_bytes(b"x")
    expected = {
        "/in": ("w", OK, DENIED), "/in/other": ("w", OK, DENIED), "/in/deep": ("w", DENIED, OK),
        "/elsewhere": ("w", DENIED, DENIED), "/none": ("w", DENIED, DENIED), "": ("w", DENIED, None),
    }  # fmt: skip
    async with raw_sftp(person) as raw:
        for folder, (flags, upload, download) in expected.items():
            reply = await _opened(raw, f"{folder}/new", flags)
            assert reply.code == upload, folder
            if download is not None:
                assert (await _opened(raw, f"{folder}/f", "r")).code == download, folder
        assert (await raw.ask(p.rename, "/in/f", "/in/deep/g")).code == DENIED
        # by another road to the same place
        assert (await _opened(raw, "/in/deep/../../in/./f", "r")).code == DENIED
        assert (await _opened(raw, "//in//deep//../f", "r")).code == DENIED
        assert (await _opened(raw, "/in/deep/f", "r")).code == OK


@pytest.mark.parametrize("path", ["/in/new", "/in/f"])
async def test_a_drop_box_shows_nothing(server: Running, path: str):
    """An account that may only upload learns nothing of what is there: neither names nor content, nor if it exists."""
    person = server.account(permissions={"/": ("upload",)})
    lay_out(person.home)
    async with raw_sftp(person) as raw:
        for build, args in ((p.stat, ()), (p.lstat, ()), (p.readlink, ()), (p.open_, ("r",)), (p.remove, ())):
            reply = await raw.ask(build, path, *args)
            assert (reply.kind, reply.code) == (101, DENIED), (build, reply)
        assert (await raw.ask(p.opendir, "/in")).code == DENIED
