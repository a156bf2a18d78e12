# SPDX-License-Identifier: Apache-2.0
"""A script that starts a program under what a systemd unit asks for, as far as that needs no systemd.

``python as_unit.py UNIT PROGRAM [ARGUMENT...]``. Applied are SystemCallFilter, RestrictAddressFamilies, RestrictNamespaces
(unshare and setns), MemoryDenyWriteExecute, CapabilityBoundingSet (none), NoNewPrivileges, LimitNOFILE, LimitCORE, Environment and UMask;
and as root ProtectSystem=strict, where the directories of WRITABLE (separated by colons) take the place of ReadWritePaths.
Needs libseccomp, which systemd uses, and its groups of system calls by ``systemd-analyze syscall-filter``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
EQUAL = 4
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_MDWE = 38, 24, 65
CAPABILITY_VERSION = 0x20080522
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE, MS_REMOUNT, MS_RDONLY = 0x1000, 0x4000, 0x40000, 0x20, 0x1

libc = ctypes.CDLL(None, use_errno=True)


class Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_uint),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def settings(unit: str) -> dict[str, list[str]]:
    """The values of each key in a unit file, in their order."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            found.setdefault(key, []).append(value)
    return found


def groups() -> dict[str, list[str]]:
    """systemd's groups of system calls: names of calls and of other groups."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, list[str]] = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            members = found.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.append(line.strip())
    return found


def allowed(lines: list[str]) -> set[str]:
    """The system calls that remain after all lines of SystemCallFilter."""
    known = groups()

    def calls(name: str) -> set[str]:
        return set().union(*map(calls, known[name])) if name.startswith("@") else {name}

    result = calls("@default")
    for line in lines:
        takes = line.startswith("~")
        named = set().union(*map(calls, line.removeprefix("~").split()))
        result = result - named if takes else result | named
    return result


def filter_calls(names: set[str], families: list[str]) -> None:
    """Refuse all other system calls with EPERM, from now on."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(REFUSE)))
    for name in names - {"socket", "unshare", "setns"}:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert library.seccomp_rule_add(context, ctypes.c_uint32(ALLOW), number, 0) == 0, name
    number = library.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        compare = Comparison(0, EQUAL, int(getattr(socket, family)), 0)
        done = library.seccomp_rule_add_array(
            context, ctypes.c_uint32(ALLOW), number, 1, ctypes.byref(compare)
        )
        assert done == 0, family
    assert library.seccomp_load(context) == 0


def protect_system(writable: list[str]) -> None:
    """Everything but these directories, /dev and /proc becomes read-only, in a namespace of its own."""
    assert libc.unshare(CLONE_NEWNS) == 0
    assert libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) == 0
    for path in writable:
        assert libc.mount(path.encode(), path.encode(), None, ctypes.c_ulong(MS_BIND), None) == 0
    kept = [*writable, "/dev", "/proc", "/sys"]
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in points:
        if not any(point == path or point.startswith(f"{path}/") for path in kept):
            flags = ctypes.c_ulong(MS_BIND | MS_REMOUNT | MS_RDONLY)
            assert libc.mount(None, point.encode(), None, flags, None) == 0, point


def drop_capabilities() -> None:
    """No capability is left, and none can come back."""
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    assert libc.capset(header, (ctypes.c_uint32 * 6)()) == 0


def main() -> None:
    found = settings(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ.update(line.split("=", 1) for line in found["Environment"])
    os.umask(int(found["UMask"][-1], 8))
    files = min(int(found["LimitNOFILE"][-1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (int(found["LimitCORE"][-1]),) * 2)
    names = allowed(found["SystemCallFilter"])
    assert found["ProtectSystem"] == ["strict"] and found["CapabilityBoundingSet"] == [""]
    if os.geteuid() == 0:
        protect_system(os.environ["WRITABLE"].split(":"))
    drop_capabilities()
    assert found["NoNewPrivileges"] == ["true"]
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if found["MemoryDenyWriteExecute"] == ["true"]:
        libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)  # since Linux 6.3; systemd does it by the filter
    filter_calls(names, found["RestrictAddressFamilies"][-1].split())
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
