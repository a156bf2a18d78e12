# SPDX-License-Identifier: Apache-2.0
"""Random requests to OpenSSH's sftp-server and to our dialogue, over the same tree, compared answer by answer.

A seed makes one dialogue: requests over files, directories, links to all of them, and names that are not
there. What differs for good is in `LASTING`, with its reason; docs/reference/sftp.md tells the same.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import sftp_packets as p
from tests.support.sftp_peer import Peer

SERVER = "/usr/lib/openssh/sftp-server"
STEPS = 24
OK, EOF, NO_SUCH_FILE, DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8
_NAMES = ["OK", "EOF", "NO_SUCH_FILE", "DENIED", "FAILURE", "BAD_MESSAGE", "", "", "UNSUPPORTED"]
_DONE = ("OK", "handle")
OLD = 1_000_000_000
"""Times before it plus a year are set by requests; later ones are when something happened."""

FILES = ["f", "g", "d/x", "d/sub/y", "h1", "h2"]
DIRECTORIES = ["d", "d/sub", "e", "."]
LINKS = {"lf": "f", "ld": "d", "dang": "new", "loop": "loop", "d/up": "../g", "d/ls": "sub", "two": "lf"}
NEW = ["new", "n", "d/n", "d/sub/n", "e/n", "ld/n", "f/n", "no/n", "d/ls/n", "lf/n", "dang/n", "loop/n"]
ODD = ["ld/x", "d/ls/y", "./f", "d/../f", "d//x", "ld/../f", "e/.", "d/up", "d/./sub", "N" * 255, "N" * 256]
PATHS = [*FILES, *FILES, *DIRECTORIES, *LINKS, *NEW, *ODD]


def make_tree(root: Path, *, hard: bool) -> None:
    """Make the tree that every dialogue begins with; `hard` gives a file two names. The directory itself stays."""
    for path in root.iterdir():
        path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)
    root.chmod(0o755)
    (root / "d/sub").mkdir(parents=True)
    (root / "e").mkdir()
    for name in ("f", "g", "d/x", "d/sub/y", "h1"):
        (root / name).write_bytes(name.encode() * 5)
    (root / "f").chmod(0o640)
    if hard:
        os.link(root / "h1", root / "h2")
    else:
        (root / "h2").write_bytes(b"h2")
    for name, text in LINKS.items():
        (root / name).symlink_to(text)
    for name in (*FILES, "d/sub", "d", "e"):
        os.utime(root / name, (OLD, OLD))


def clear_outside(root: Path) -> None:
    """Remove what OpenSSH created beside its directory, through a link that led there: the next dialogue would see it."""
    for path in root.parent.iterdir():
        if path != root:
            path.unlink()


def leads_outside(root: Path, path: str) -> bool:
    """True if a path, with all links followed, is not in the tree; what it names need not exist."""
    return not Path(os.path.realpath(root / path)).is_relative_to(root.resolve())


def _time(seconds: float) -> object:
    return int(seconds) if seconds < OLD + 31_536_000 else "now"


def snapshot(root: Path, *, times: bool) -> dict[str, Any]:
    """Kind, mode, content and time of everything."""
    found: dict[str, Any] = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(directory, name)
            status = path.lstat()
            key = str(path.relative_to(root))
            if stat.S_ISLNK(status.st_mode):
                found[key] = f"-> {path.readlink()}"
            elif stat.S_ISDIR(status.st_mode):
                found[key] = ("directory", oct(status.st_mode & 0o7777))
            else:
                content = path.read_bytes() if status.st_size < 1 << 20 else status.st_size
                time = _time(status.st_mtime) if times else ""
                found[key] = (content, oct(status.st_mode & 0o7777), status.st_nlink, time)
    return found


@dataclass(frozen=True)
class Request:
    """One request; `slot` is the handle that it is about, by the number of the OPEN that made it."""

    verb: str
    build: Callable[..., bytes]
    args: tuple[Any, ...] = ()
    slot: int | None = None

    def __str__(self) -> str:
        words = [f"#{self.slot}"] if self.slot is not None else []
        return " ".join([self.verb, *words, *(repr(arg) for arg in self.args)])


def _extended(name: str, *fields: Callable[..., bytes]) -> Callable[..., bytes]:
    def build(rid: int, *args: Any) -> bytes:
        return p.extended(rid, name, b"".join(make(arg) for make, arg in zip(fields, args, strict=True)))

    return build


POSIX_RENAME = _extended("posix-rename@openssh.com", p.s, p.s)
HARDLINK = _extended("hardlink@openssh.com", p.s, p.s)
LSETSTAT = _extended("lsetstat@openssh.com", p.s, bytes)
EXPAND = _extended("expand-path@openssh.com", p.s)
FSYNC = _extended("fsync@openssh.com", p.s)


def _attributes(draw: random.Random) -> bytes:
    """Attributes of a SETSTAT; sizes are small, owners the one who runs the test."""
    size = draw.choice([0, 3, 9, 40]) if draw.random() < 0.4 else None
    mode = draw.choice([0o600, 0o644, 0o755, 0o400]) if draw.random() < 0.4 else None
    times = (OLD + 5, OLD + draw.randrange(9)) if draw.random() < 0.4 else None
    owner = (os.getuid(), os.getgid()) if draw.random() < 0.2 else None
    return p.attrs(size=size, owner=owner, mode=mode, times=times)


def _request(draw: random.Random, slots: list[int], *, published: bool) -> Request:
    """One request at random.

    Args:
        draw: of the dialogue.
        slots: the handles that are open.
        published: an upload takes the place of the file at CLOSE (modes 1 and 2): a new file, so that other
            names of the old one and other handles keep the old. One file is open at a time, no hard links.
    """
    path = draw.choice(PATHS)
    if slots and draw.random() < 0.55:
        slot = draw.choice(slots)
        offset, size = draw.choice([0, 2, 7, 40, 3000]), draw.choice([0, 1, 5, 90])
        verb = draw.choices(
            ["READ", "WRITE", "FSTAT", "FSETSTAT", "CLOSE", "READDIR", "fsync"], [5, 8, 3, 2, 4, 2, 1]
        )[0]
        if verb == "READ":
            return Request(verb, p.read, (offset, size), slot)
        if verb == "WRITE":
            return Request(verb, p.write, (offset, draw.randbytes(size)), slot)
        if verb == "FSETSTAT":
            return Request(verb, p.fsetstat, (_attributes(draw),), slot)
        build = {"FSTAT": p.fstat, "CLOSE": p.close, "READDIR": p.readdir, "fsync": FSYNC}[verb]
        return Request(verb, build, (), slot)
    verb = draw.choices(
        [
            *("OPEN", "OPENDIR", "STAT", "LSTAT", "SETSTAT", "REMOVE", "MKDIR", "RMDIR", "REALPATH"),
            *("RENAME", "READLINK", "SYMLINK", "posix-rename", "hardlink", "lsetstat"),
        ],
        [0 if published and slots else 14, 2, 4, 4, 4, 4, 3, 3, 1, 4, 2, 2, 4, 0 if published else 2, 1],
    )[0]
    other = draw.choice(PATHS)
    if verb == "OPEN":
        # CREAT, TRUNC and EXCL without WRITE mean nothing that the draft says.
        flags = draw.choice([1, 1, 2, 3, 10, 11, 26, 27, 42, 43, 6, 14, 58, 30])
        return Request(
            verb, p.open_, (path, flags, p.attrs(mode=0o640) if draw.random() < 0.3 else p.NO_ATTRS)
        )
    if verb == "SYMLINK":
        return Request(verb, p.symlink, (draw.choice(["f", "d", "nowhere", "d/x", "sub"]), path))
    if verb in ("RENAME", "posix-rename", "hardlink"):
        build = {"RENAME": p.rename, "posix-rename": POSIX_RENAME, "hardlink": HARDLINK}[verb]
        return Request(verb, build, (path, other))
    if verb in ("SETSTAT", "lsetstat"):
        return Request(verb, p.setstat if verb == "SETSTAT" else LSETSTAT, (path, _attributes(draw)))
    one = {
        "OPENDIR": p.opendir,
        "STAT": p.stat,
        "LSTAT": p.lstat,
        "REMOVE": p.remove,
        "MKDIR": p.mkdir,
        "RMDIR": p.rmdir,
        "REALPATH": p.realpath,
        "READLINK": p.readlink,
    }
    return Request(verb, one[verb], (path,))


class OpenSsh:
    """sftp-server over its pipes, working in one directory that has its parent to itself."""

    def __init__(self, process: asyncio.subprocess.Process, root: Path) -> None:
        self._process = process
        self._rid = 0
        self.root = root

    @classmethod
    async def start(cls, root: Path) -> OpenSsh:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(SERVER, cwd=root, stdin=pipe, stdout=pipe)
        server = cls(process, root)
        await server._exchange(p.init())
        return server

    async def _exchange(self, data: bytes) -> p.Reply:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(data)
        size = int.from_bytes(await self._process.stdout.readexactly(4), "big")
        return p.parse(await self._process.stdout.readexactly(size))

    async def ask(self, build: Callable[..., bytes], *args: object) -> p.Reply:
        self._rid += 1
        return await self._exchange(build(self._rid, *args))

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def _ask(side: OpenSsh | Peer, build: Callable[..., bytes], *args: object) -> p.Reply:
    """The answer; that of READDIR with all names."""
    reply = await side.ask(build, *args)
    while build is p.readdir and reply.kind == 104:
        more = await side.ask(build, *args)
        if more.kind != 104:
            break
        reply.names += more.names
    return reply


def shown(reply: p.Reply, root: Path | None) -> object:
    """The part of an answer that is compared; `root` is the prefix of OpenSSH's paths."""
    if reply.kind == 101:
        return _NAMES[reply.code]
    if reply.kind == 102:
        return "handle"
    if reply.kind == 103:
        return reply.data
    if reply.kind == 105:
        return _attrs(reply.attrs)
    if len(reply.names) == 1 and not reply.names[0].attrs:
        name = os.fsdecode(reply.names[0].name)
        if root is not None and Path(name).is_relative_to(root):
            name = f"/{Path(name).relative_to(root)}".removesuffix(".")
        return name
    return {os.fsdecode(entry.name): _attrs(entry.attrs) for entry in reply.names if entry.name != b".."}


def _attrs(attrs: dict[str, Any]) -> dict[str, Any]:
    """Sizes and times of directories and links are the file system's, or of what was done before."""
    found = {"mode": oct(attrs["mode"]), "uid": attrs["uid"], "gid": attrs["gid"]}
    if stat.S_ISREG(attrs["mode"]):
        found |= {"size": attrs["size"], "mtime": _time(attrs["mtime"])}
    return found


def _without_times(told: object) -> object:
    if isinstance(told, dict):
        return {name: _without_times(value) for name, value in told.items() if name != "mtime"}
    return told


@dataclass(frozen=True)
class Difference:
    """One answer that differs."""

    request: Request
    theirs: object
    ours: object
    mode: int
    account: str = ""
    outside: bool = False
    """The path is one that OpenSSH follows out of its tree."""

    def __str__(self) -> str:
        return f"{self.request}: OpenSSH {self.theirs}, here {self.ours}"


@dataclass
class Dialogue:
    """One dialogue with both; `differences` are those that `lasting` gives no reason for."""

    seed: int
    mode: int
    openssh: OpenSsh
    peer: Peer
    home: Path
    lasting: Callable[[Difference], str]
    account: str = ""
    history: list[str] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)
    timed: bool = False
    """Times were set while a file was open: here they count at CLOSE, whatever is written after them, since requests
    may overtake each other; there every write counts. They are not compared any more."""

    async def run(self) -> str:
        """Run the dialogue; returns the first difference, empty if there is none."""
        draw = random.Random(self.seed)
        clear_outside(self.openssh.root)
        make_tree(self.openssh.root, hard=self.mode == 0)
        make_tree(self.home, hard=self.mode == 0)
        handles: dict[int, tuple[bytes, bytes, str]] = {}
        problem, listing = "", False
        for number in range(STEPS):
            request = _request(draw, list(handles), published=self.mode > 0)
            if listing:  # what has changed since OPENDIR may be seen or not
                request = Request("READDIR", p.readdir, (), number - 1)
            problem = await self._step(number, request, handles)
            if problem:
                break
            listing = request.verb == "OPENDIR" and number in handles
        for slot in list(handles):
            closed = await self._step(STEPS, Request("CLOSE", p.close, (), slot), handles)
            problem = problem or closed
        if problem == "apart":  # a lasting difference changed one of the trees
            return ""
        if not problem:
            theirs = snapshot(self.openssh.root, times=not self.timed)
            ours = snapshot(self.home, times=not self.timed)
            names = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
            if names:
                lines = [f"{name}: OpenSSH {theirs.get(name)}, here {ours.get(name)}" for name in names]
                problem = "at the end " + "; ".join(lines)
        if problem:
            return f"seed {self.seed} mode {self.mode}: {problem}\n  " + "\n  ".join(self.history)
        return ""

    async def _step(self, number: int, request: Request, handles: dict[int, tuple[bytes, bytes, str]]) -> str:
        theirs_args, our_args = request.args, request.args
        if request.slot is not None:
            their_handle, our_handle, _ = handles[request.slot]
            theirs_args, our_args = (their_handle, *request.args), (our_handle, *request.args)
        theirs = await _ask(self.openssh, request.build, *theirs_args)
        ours = await _ask(self.peer, request.build, *our_args)
        if request.verb == "CLOSE":
            assert request.slot is not None
            del handles[request.slot]
        if "SETSTAT" in request.verb.upper() and request.args[-1][3] & 8 and handles:
            self.timed = True
        said, told = (
            _without_times(shown(reply, root)) if self.timed else shown(reply, root)
            for reply, root in ((theirs, self.openssh.root), (ours, None))
        )
        self.history.append(f"{number} {request}: {said}" + ("" if said == told else f" / {told}"))
        if theirs.kind == ours.kind == 102:
            handles[number] = (theirs.handle, ours.handle, str(request.args[0]))
        elif theirs.kind == 102:
            await self.openssh.ask(p.close, theirs.handle)
        elif ours.kind == 102:
            await self.peer.ask(p.close, ours.handle)
        if "SETSTAT" in request.verb.upper() and said != "OK" and request.args[-1][3] not in (0, 1, 2, 4, 8):
            return "apart"  # what a SETSTAT of several things that fails has changed until then: nothing here
        if said == told:
            return ""
        path = request.args[0] if request.args and request.slot is None else ""
        outside = leads_outside(self.openssh.root, path)
        difference = Difference(request, said, told, self.mode, self.account, outside)
        reason = self.lasting(difference)
        if not reason:
            return str(difference)
        self.reasons.add(reason)
        return "apart" if (said in _DONE) != (told in _DONE) else ""
