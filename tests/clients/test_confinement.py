# SPDX-License-Identifier: Apache-2.0
"""`confine.py` alone: programs that are let loose in it with any arguments reach what they were given.

As the user of the tests and, where that is root, as a normal user too; with a namespace of its own and without.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.programs import Done, run
from tests.support.running import wait_for

from tidegate.confinement import confine, landlock
from tidegate.doors.ssh.programs.installed import find

PYTHON = "/usr/bin/python3"  # one that every user may run
USERS = ["root", "nobody"] if os.geteuid() == 0 else [pwd.getpwuid(os.geteuid()).pw_name]
SECRET = b"the content of somebody else's file\n"


@dataclass(frozen=True)
class Place:
    """A home with two directories, and something beside it that belongs to the same user."""

    user: str
    namespace: str
    top: Path

    @property
    def home(self) -> Path:
        return self.top / "home"

    @property
    def outside(self) -> Path:
        return self.top / "outside"

    def order(
        self, program: str, argv: Sequence[str], *, writes: bool = True, **changes: Any
    ) -> dict[str, Any]:
        found = find(program)
        return {
            "program": found.path, "argv": list(argv), "environment": {"PATH": "/usr/bin:/bin"},
            "directories": [("mine", writes)], "execute": list(found.execute), "system": [],
            "limits": {"core": 0}, "umask": 0o022, "nice": 0, "uid": -1, "gid": -1, "chown": False,
            "landlock": "required", "namespace": self.namespace, **changes,
        }  # fmt: skip

    def script(self) -> Path:
        """Opens what an order names, and becomes `confine.py`; for whoever starts it as a program."""
        path = self.top / "start.py"
        path.write_text(
            "import json, os, sys\n"
            "order = json.loads(sys.argv[1])\n"
            "order['server'] = os.getppid()\n"
            f"home = {str(self.home)!r}\n"
            "order['home'] = os.open(home, os.O_PATH)\n"
            "order['directories'] = [\n"
            "    {'path': path, 'fd': os.open(os.path.join(home, path), os.O_PATH), 'writes': writes}\n"
            "    for path, writes in order['directories']\n"
            "]\n"
            "order['report'] = os.open(os.environ.get('REPORT', '/dev/null'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
            "for fd in (order['home'], order['report'], *(one['fd'] for one in order['directories'])):\n"
            "    os.set_inheritable(fd, True)\n"
            "document = os.memfd_create('order', 0)\n"
            "os.write(document, json.dumps(order).encode())\n"
            "os.lseek(document, 0, 0)\n"
            f"os.execv({PYTHON!r}, [{PYTHON!r}, '-I', '-S', {str(self.top / 'confine.py')!r}, str(document)])\n"
        )
        return path

    def words(self, order: dict[str, Any]) -> list[str]:
        become = (
            []
            if self.user != "nobody"
            else ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        )
        return [*become, PYTHON, str(self.script()), json.dumps(order)]

    def run(self, program: str, *arguments: str | Path, writes: bool = True, **changes: Any) -> Done:
        order = self.order(program, [program, *map(str, arguments)], writes=writes, **changes)
        return run(*self.words(order), env={"REPORT": str(self.top / "report")})

    @property
    def report(self) -> str:
        return (self.top / "report").read_text()

    def check(self) -> None:
        """Everything outside is as it was."""
        for directory in (self.outside, self.home / "theirs"):
            assert sorted(os.listdir(directory)) == ["secret", "sub"]
            found = (directory / "secret").stat()
            assert (directory / "secret").read_bytes() == SECRET
            assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, 1_000_000_000)
            assert os.listdir(directory / "sub") == []


@pytest.fixture(
    params=[(user, namespace) for user in USERS for namespace in ("required", "none")], ids="-".join
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    user, namespace = request.param
    top = Path(tempfile.mkdtemp(prefix="confine-"))
    top.chmod(0o755)
    made = Place(user, namespace, top)
    for module in (confine, landlock):
        shutil.copy(module.__file__, top)
    for directory in (made.outside, made.home / "theirs", made.home / "mine"):
        (directory / "sub").mkdir(parents=True)
        (directory / "secret").write_bytes(SECRET)
        (directory / "secret").chmod(0o640)
        os.utime(directory / "secret", ns=(1_000_000_000, 1_000_000_000))
    (top / "report").touch()
    if user == "nobody":
        subprocess.run(["chown", "-R", "nobody:nogroup", top], check=True)
    try:
        yield made
        made.check()
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(top)


PROBE = """
import json, os, sys, time
tries = json.loads(sys.argv[1])
results = []
for words in tries:
    name, *paths = words
    try:
        results.append([words, calls[name](*paths)])
    except OSError as error:
        results.append([words, f"refused {error.errno}"])
print(json.dumps(results))
"""

CALLS = """
import os, subprocess
def write(path, flags=0):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    return os.write(fd, b"x")
def read(path):
    with open(path, "rb") as file:
        return len(file.read())
def execute(path):
    pid = os.fork()
    if not pid:
        try:
            os.execv(path, [path, "-c", "exit 0"])
        except OSError:
            os._exit(126)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 126:
        raise PermissionError(13, "refused")
calls = {
    "read": read,
    "list": lambda path: len(os.listdir(path)),
    "stat": lambda path: os.stat(path).st_size,
    "write": write,
    "append": lambda path: write(path, os.O_APPEND),
    "create": lambda path: write(path, os.O_CREAT | os.O_EXCL),
    "truncate": lambda path: os.truncate(path, 0),
    "link": os.link,
    "symlink": os.symlink,
    "rename": os.rename,
    "replace": os.replace,
    "remove": os.remove,
    "rmdir": os.rmdir,
    "mkdir": os.mkdir,
    "chmod": lambda path: os.chmod(path, 0o666),
    "utime": lambda path: os.utime(path, (5, 5)),
    "chown": lambda path: os.chown(path, 12345, -1),
    "mkfifo": os.mkfifo,
    "mknod": lambda path: os.mknod(path, 0o20644, os.makedev(1, 3)),
    "execute": execute,
    "kill": lambda pid: os.kill(int(pid), 0),
}
"""


def probe(
    place: Place, tries: Sequence[Sequence[object]], *, writes: bool = True, **changes: Any
) -> list[str]:
    """Do things in the confinement; returns those that were not refused."""
    words = [[str(word) for word in one] for one in tries]
    order = place.order(
        "python3", ["python3", "-I", "-S", "-c", CALLS + PROBE, json.dumps(words)], writes=writes
    )
    order |= changes
    done = run(*place.words(order), env={"REPORT": str(place.top / "report")}).ok()
    return [" ".join(one) for one, result in json.loads(done.out) if not str(result).startswith("refused")]


def elsewhere(place: Place) -> Iterator[tuple[Path, list[str]]]:
    """Each directory outside, and the ways to name it, one of them by a link in the home."""
    link = place.home / "mine" / "link"
    for directory in (place.outside, place.home / "theirs"):
        link.symlink_to(directory)
        yield directory, [str(directory), f"mine/../{directory.name}", f"../{directory.name}", "mine/link"]
        link.unlink()


def test_a_program_reads_and_writes_what_it_was_given(place: Place) -> None:
    tries = [
        ("read", "mine/secret"),
        ("create", "mine/sub/made"),
        ("rename", "mine/sub/made", "mine/moved"),
        ("link", "mine/moved", "mine/sub/link"),
        ("symlink", "../moved", "mine/sub/soft"),
        ("read", "mine/sub/soft"),
        ("append", "mine/moved"),
        ("chmod", "mine/moved"),
        ("utime", "mine/moved"),
        ("mkdir", "mine/sub/deep"),
        ("rmdir", "mine/sub/deep"),
        ("replace", "mine/sub/link", "mine/secret"),
        ("truncate", "mine/moved"),
        ("remove", "mine/sub/soft"),
    ]

    assert len(probe(place, tries)) == len(tries)
    assert f"namespace={'own' if place.namespace == 'required' else 'none'}" in place.report


def test_a_program_reads_nothing_else(place: Place) -> None:
    for directory, names in elsewhere(place):
        tries = [("read", f"{name}/secret") for name in names] + [("list", name) for name in names]
        tries += [
            ("list", path) for path in ("..", ".", "/", "/root", "/etc", "/home", "/proc", "/var", "/tmp")
        ]
        tries += [("read", path) for path in ("/etc/passwd", "/proc/self/environ", "/proc/1/cmdline")]
        assert probe(place, tries) == [], directory


def test_a_program_changes_nothing_else(place: Place) -> None:
    for _, names in elsewhere(place):
        tries: list[tuple[str, ...]] = []
        for name in names:
            tries += [(call, f"{name}/secret") for call in ("write", "append", "truncate", "remove")]
            tries += [(call, f"{name}/made") for call in ("create", "mkdir", "mkfifo")]
            tries += [(call, "mine/secret", f"{name}/made") for call in ("link", "rename", "symlink")]
            tries += [("replace", "mine/secret", f"{name}/secret"), ("rmdir", f"{name}/sub")]
            tries += [(call, f"{name}/secret", "mine/stolen") for call in ("link", "rename")]
        assert probe(place, tries) == []
        place.check()


def test_attributes_outside_are_out_of_reach_in_a_namespace(place: Place) -> None:
    """Landlock does not speak of modes, owners and times: what holds then is the user (see ADR 46)."""
    for _, names in elsewhere(place):
        tries = [
            (call, f"{name}/secret")
            for name in names
            for call in (("chmod", "utime", "chown", "stat") if place.namespace == "required" else ("chown",))
        ]
        assert probe(place, tries) == []
        place.check()


def test_a_program_that_reads_changes_nothing(place: Place) -> None:
    tries = [(call, "mine/secret") for call in ("write", "append", "truncate", "remove")]
    tries += [(call, "mine/made") for call in ("create", "mkdir", "mkfifo")]
    tries += [
        ("rmdir", "mine/sub"),
        ("rename", "mine/secret", "mine/made"),
        ("link", "mine/secret", "mine/made"),
    ]
    tries += [("symlink", "secret", "mine/made")]
    if place.namespace == "required":  # the mount is read-only
        tries += [("chmod", "mine/secret"), ("utime", "mine/secret")]

    assert probe(place, tries, writes=False) == []
    assert probe(place, [("read", "mine/secret"), ("list", "mine")], writes=False) == [
        "read mine/secret",
        "list mine",
    ]
    assert sorted(os.listdir(place.home / "mine")) == ["secret", "sub"]


def test_no_other_program_is_executed_and_nobody_is_signalled(place: Place) -> None:
    mine = place.home / "mine" / "tool"
    shutil.copy("/bin/true", mine)
    mine.chmod(0o755)
    tries = [("execute", path) for path in ("/bin/sh", "/bin/true", "/usr/bin/id", "mine/tool", mine)]
    tries += [("kill", pid) for pid in (1, os.getpid(), os.getppid())]

    assert probe(place, tries) == []


def test_no_device_and_no_privilege(place: Place) -> None:
    tries = [("mknod", "mine/null"), ("mkfifo", "mine/pipe"), ("chown", "mine/secret")]
    assert probe(place, tries) == []
    if place.user == "root":
        assert probe(place, [("chown", "mine/sub")], chown=True) == ["chown mine/sub"]


def test_limits_hold(place: Place) -> None:
    done = place.run("dd", "if=/dev/zero", "of=mine/made", "bs=1000", "count=100", limits={"fsize": 5000})

    assert done.status in (-25, 1, 153)
    assert (place.home / "mine" / "made").stat().st_size <= 5000


def test_what_cannot_be_started_is_told(place: Place) -> None:
    order = place.order("cat", ["cat", "mine/secret"]) | {"program": "/nowhere"}

    assert run(*place.words(order), env={"REPORT": str(place.top / "report")}).status == 126
    assert "error" in place.report


def alive(pid: int) -> bool:
    """True while a process runs; one that nobody has waited for yet does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_program_dies_with_whoever_started_it(place: Place) -> None:
    """Killed, its parent closes no pipe of it: only the kernel tells."""
    order = place.order("sleep", ["sleep", "600"])
    starts = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"
    parent = subprocess.Popen(
        [PYTHON, "-c", starts, *place.words(order)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "REPORT": str(place.top / "report")},
    )  # fmt: skip
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "it never began")
    finally:
        parent.kill()
        parent.communicate()
    wait_for(lambda: not alive(pid), "it goes on")


@pytest.mark.needs("rsync")
def test_rsync_with_any_arguments_changes_nothing_outside(place: Place) -> None:
    """The client decides what its server is started with; nothing looks at the words here."""
    source = place.top / "source"
    (source / "link").mkdir(parents=True)
    (source / "link" / "secret").write_bytes(b"overwritten")
    (source / "link" / "made").write_bytes(b"made")
    wrapper = place.top / "wrapper"
    order = place.order("rsync", ["ARGV"])
    words = place.words(order)
    wrapper.write_text(
        f"#!{PYTHON}\nimport json, os, sys\nwords = {words!r}\n"
        "order = json.loads(words[-1])\norder['argv'] = sys.argv[2:]\n"
        f"os.environ['REPORT'] = {str(place.top / 'report')!r}\n"
        "os.execvp(words[0], [*words[:-1], json.dumps(order)])\n"
    )
    wrapper.chmod(0o755)
    out = place.outside
    for directory in (out,):
        link = place.home / "mine" / "link"
        for words in (
            ["-rK", f"{source}/", "h:mine/"],
            ["-rR", "--no-implied-dirs", f"{source}/./link/secret", f"{source}/./link/made", "h:mine/"],
            ["-r", f"{source}/link/", f"h:{directory}/"],
            ["-r", f"{source}/link/", f"h:mine/../{directory.name}/"],
            ["-r", "--inplace", f"{source}/link/secret", f"h:{directory}/secret"],
            ["-r", f"--temp-dir={directory}", f"{source}/", "h:mine/"],
            ["-r", "--delay-updates", f"--partial-dir={directory}/made", f"{source}/", "h:mine/"],
            ["-r", "-M", f"--log-file={directory}/made", f"{source}/", "h:mine/"],
            ["-r", "-b", f"--backup-dir={directory}/made", f"{source}/", "h:mine/"],
            ["-r", "--rsync-path", f"rsync --log-file={directory}/made", f"{source}/", "h:mine/"],
        ):
            shutil.rmtree(place.home / "mine")
            (place.home / "mine").mkdir()
            link.symlink_to(directory)
            if place.user == "nobody":
                subprocess.run(["chown", "-hR", "nobody:nogroup", place.home / "mine"], check=True)
            run("rsync", "-e", wrapper, *words)
            place.check()
        back = place.top / "back"
        for words in (
            ["-aL", "h:mine/", back],
            ["-a", f"h:{directory}/", back],
            ["-aR", "--no-implied-dirs", "h:mine/link/secret", back],
            ["-a", "-M--filter=merge " + shlex.quote(f"{directory}/secret"), "h:mine/", back],
            ["-a", f"--files-from=:{directory}/secret", "h:/", back],
        ):
            run("rsync", "-e", wrapper, *words)
        found = [Path(folder) / name for folder, _, names in os.walk(back) for name in names]
        assert not [path for path in found if not path.is_symlink() and path.read_bytes() == SECRET]
