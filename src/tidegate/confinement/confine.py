# SPDX-License-Identifier: Apache-2.0
"""Starts a program where it reaches a few directories and nothing else.

This is a script, not a module to import: `tidegate.doors.ssh.programs.process` runs it with ``python -I -S``
in a process of its own, because what it does cannot be undone and must not happen between fork and exec of a
process with threads. It imports the standard library and `landlock`, which lies beside it. Argument: a
descriptor of a JSON document, see `Order`.

In this order:

1. umask and priority;
2. a mount, network and IPC namespace of its own whose root holds the given directories (below ``/home``),
   the system's programs read-only, and three devices. As root this needs CAP_SYS_ADMIN, otherwise user
   namespaces. Where the system refuses them this step is left out, unless the order says that it is required;
3. limits on resources; the account's user and group, if told, and no capability but those for owners and
   modes of files;
4. no_new_privs, and a Landlock ruleset (Linux 5.13): the given directories for reading or for writing, the
   system's programs for reading, and of these a few files for executing. No shell is among them;
5. death with the server (PR_SET_PDEATHSIG), then execve with the given environment.

If a step fails, its error is written to the descriptor ``report``, and nothing is started. Nothing written to
it, and its end, mean that the program runs; one line ``ok ...`` tells how it is confined before that.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if (
    not TYPE_CHECKING and __name__ == "__main__"
):  # nothing of ours is on the path of modules: it is beside this file
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import landlock
else:
    from tidegate.confinement import landlock

HOME: Final = "/home"
"""The directory that holds the directories in a namespace of its own."""

SYSTEM: Final = landlock.SYSTEM

DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/urandom")
CACHE: Final = "/etc/ld.so.cache"
"""The cache of the places of libraries; the only file of /etc that is there."""

STAGING: Final = ("/tmp", "/run", "/var", "/mnt", "/opt")  # noqa: S108  a mount point, nothing is written
"""Directories of which one is covered while the new root is put together."""

# linux/prctl.h
PR_SET_PDEATHSIG: Final = 1
PR_CAPBSET_DROP: Final = 24
# linux/sched.h
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# linux/mount.h
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 0x1, 0x2, 0x4
AT_RECURSIVE = 0x8000
AT_FDCWD = -100

NR_MOUNT_SETATTR = 442
"""The same on every architecture since Linux 5.6, but for alpha."""
NR_PIVOT_ROOT: Final = {
    "x86_64": 155, "aarch64": 41, "riscv64": 41, "armv7l": 218, "ppc64le": 203, "s390x": 217,
    "loongarch64": 41,
}  # fmt: skip

# linux/capability.h
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID = 0, 1, 3, 4
CAPABILITY_VERSION: Final = 0x20080522
LAST_CAPABILITY: Final = 63

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

Order = dict[str, Any]
"""``report``: descriptor. ``argv``: program and arguments (`absolute`); ``environment``. ``directories``: of
``{"path": relative to the home, "fd": descriptor, "writes": bool}``. ``execute``: files that may be executed.
``limits``: resource name to a number. ``umask``, ``nice``. ``uid``, ``gid``: -1 for as it is. ``chown``:
bool.
``landlock``, ``namespace``: "required", "possible" or (the namespace only) "none".
``server``: process id of the parent."""


class Refused(Exception):
    """A step that is required could not be done."""


def call(name: str, result: int) -> int:
    """The result of a system call; raises OSError if it is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Make one thing visible at another place, by the system call of that name."""
    call(
        f"mount {target}",
        libc.mount(
            os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
        ),
    )


def set_attributes(target: str, attributes: int, *, recursive: bool) -> None:
    """Add attributes (mount_setattr(2)), also to mounts that could not be changed otherwise."""
    block = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    call(
        "mount_setattr",
        libc.syscall(
            NR_MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), flags, block, ctypes.c_size_t(len(block))
        ),
    )


# -- a namespace of its own --------------------------------------------------------------------------------


def enter_namespace(order: Order) -> None:
    """Have a root of our own; OSError leaves the process as it was only before anything was mounted."""
    pivot = NR_PIVOT_ROOT.get(os.uname().machine)
    if pivot is None:
        raise OSError(f"no number of pivot_root for {os.uname().machine}")
    uid, gid = os.geteuid(), os.getegid()
    flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    if uid:
        flags |= CLONE_NEWUSER
    call("unshare", libc.unshare(flags))
    if uid:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    # Descriptors of the old namespace cannot be mounted: the same inode is opened anew in this one.
    again = [reopened(item["fd"]) for item in order["directories"]]
    staging = next(path for path in STAGING if os.path.isdir(path))
    system = [path for path in (*SYSTEM, *order.get("system", ())) if os.path.lexists(path)]
    opened = {path: os.open(path, os.O_PATH) for path in (*system, *DEVICES) if os.path.exists(path)}
    cache = b""
    with suppress(OSError), open(CACHE, "rb") as file:
        cache = file.read()
    mount("tmpfs", staging, "tmpfs", MS_NOSUID | MS_NODEV, "size=8m,nr_inodes=8k,mode=755")
    for path in system:
        if os.path.islink(path):
            os.symlink(os.readlink(path), staging + path)
        else:
            os.makedirs(staging + path)
            bind(opened[path], staging + path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    os.mkdir(f"{staging}/dev")
    for path in DEVICES:
        if path in opened:
            touch(staging + path)
            bind(opened[path], staging + path, MOUNT_ATTR_NOSUID)
    os.mkdir(f"{staging}/etc")
    with open(staging + CACHE, "wb") as file:
        file.write(cache)
    os.mkdir(staging + HOME)
    for item, fd in zip(order["directories"], again, strict=True):
        target = f"{staging}{HOME}/{item['path']}" if item["path"] else staging + HOME
        if not os.path.lexists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                os.mkdir(target)
            else:
                touch(target)
        quiet = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
        bind(fd, target, quiet if item["writes"] else quiet | MOUNT_ATTR_RDONLY)
        os.close(item["fd"])
        item["fd"] = os.open(target, os.O_PATH | os.O_CLOEXEC)
    for fd in (*again, *opened.values()):
        os.close(fd)
    os.chdir(staging)
    call("pivot_root", libc.syscall(pivot, b".", b"."))
    call("umount", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    set_attributes("/", MOUNT_ATTR_RDONLY, recursive=False)


def reopened(fd: int) -> int:
    """A descriptor of the same inode that belongs to the mounts of this process."""
    path = os.readlink(f"/proc/self/fd/{fd}")
    again = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    old, new = os.fstat(fd), os.fstat(again)
    if (old.st_dev, old.st_ino) != (new.st_dev, new.st_ino):
        raise Refused("the directory was moved")
    return again


def bind(fd: int, target: str, attributes: int) -> None:
    """Show what a descriptor leads to at another place."""
    mount(f"/proc/self/fd/{fd}", target, "", MS_BIND | MS_REC)
    set_attributes(target, attributes, recursive=True)


def touch(path: str) -> None:
    """An empty file to mount on."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


# -- rights of the process -----------------------------------------------------------------------------------


def drop(order: Order) -> None:
    """Become the account's user, and keep no capability but those for owners and modes."""
    uid, gid = order["uid"], order["gid"]
    if os.geteuid() == 0 and (uid > 0 or gid > 0):
        os.setgroups([])
        if gid > 0:
            os.setresgid(gid, gid, gid)
        if uid > 0:
            os.setresuid(uid, uid, uid)
    keep = set()
    if os.geteuid() == 0:
        keep = {CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID}
        if order["chown"]:
            keep.add(CAP_CHOWN)
    with suppress(OSError):
        for capability in range(LAST_CAPABILITY + 1):
            if capability not in keep:
                call("prctl", libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    mask = sum(1 << capability for capability in keep & held())
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    call("capset", libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)))


def held() -> set[int]:
    """Capabilities that the process may use."""
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    data = ctypes.create_string_buffer(24)
    call("capget", libc.capget(header, data))
    numbers = struct.unpack("=6I", data.raw)
    mask = numbers[1] | numbers[4] << 32
    return {bit for bit in range(LAST_CAPABILITY + 1) if mask >> bit & 1}


def restrict(order: Order, version: int) -> None:
    """Enforce a Landlock ruleset on this process."""
    ruleset = landlock.Ruleset(
        version, network=True, scopes=landlock.SCOPE_ABSTRACT_SOCKETS | landlock.SCOPE_SIGNALS
    )
    for item in order["directories"]:
        ruleset.allow(item["fd"], landlock.CHANGE if item["writes"] else landlock.READ)
    ruleset.allow_paths((*SYSTEM, *order.get("system", ()), CACHE), landlock.READ)
    ruleset.allow_paths(order["execute"], landlock.EXECUTE | landlock.READ)
    ruleset.allow_paths(DEVICES, landlock.READ_FILE | landlock.WRITE_FILE)
    ruleset.enforce()


# -- all of it -----------------------------------------------------------------------------------------------


def confine(order: Order) -> str:
    """Everything but execve; returns how the process is confined."""
    os.umask(order["umask"])
    os.nice(order["nice"])
    version = landlock.version()
    if not version and order["landlock"] == "required":
        raise Refused("this system has no Landlock")
    place = "none"
    if order["namespace"] != "none":
        place = entered(order)
    if place == "none":
        order["base"] = os.readlink(f"/proc/self/fd/{order['home']}")
        os.fchdir(order["home"])
    else:
        order["base"] = HOME
        os.chdir(HOME)
    os.close(order["home"])
    for name, value in order["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    drop(order)
    landlock.forbid_new_privileges()
    if version:
        restrict(order, version)
    for item in order["directories"]:
        os.close(item["fd"])
    die_with(order["server"])
    return f"ok landlock={version} namespace={place}"


def die_with(server: int) -> None:
    """Have the kernel kill this process, and what it executes, when the server ends, however that ends.

    The signal is forgotten when user, group or capabilities change (prctl(2)), so this comes after `drop`.
    """
    call("prctl", libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
    if os.getppid() != server:  # it ended before the signal was asked for
        raise Refused("the server has ended")


def entered(order: Order) -> str:
    """Try the namespace in a child first: a half-made one cannot be left."""
    if order["namespace"] != "required":
        child = os.fork()
        if not child:
            with suppress(BaseException):
                enter_namespace(order)
                os._exit(0)
            os._exit(1)
        if os.waitpid(child, 0)[1]:
            return "none"
    try:
        enter_namespace(order)
    except OSError as error:
        raise Refused(f"no namespace of its own: {error.strerror or error}") from error
    return "own"


def absolute(order: Order, word: str | list[str]) -> str:
    """A word of the program; a list holds a path that is to be absolute."""
    return word if isinstance(word, str) else f"{order['base']}/{word[0]}".rstrip("/")


def main() -> None:
    """Confine this process and execute the program."""
    with open(int(sys.argv[1]), encoding="ascii") as file:
        order: Order = json.load(file)
    report: int = order["report"]
    try:
        how = confine(order)
        os.write(report, f"{how}\n".encode())
        os.set_inheritable(report, False)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and so would the program
            signal.signal(number, signal.SIG_DFL)
        argv = [os.fsencode(absolute(order, word)) for word in order["argv"]]
        environment = {os.fsencode(key): os.fsencode(text) for key, text in order["environment"].items()}
        # That is what this script is for; the words were taken apart by us.
        os.execve(order["program"], argv, environment)  # noqa: S606
    except (OSError, Refused, KeyError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        os.write(report, f"error {text}\n".encode("utf-8", "replace"))
        os._exit(126)


if __name__ == "__main__":
    main()
