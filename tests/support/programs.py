# SPDX-License-Identifier: Apache-2.0
"""Client programs that people have, pointed at an account of a running server."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fork_server import COMMAND, Forked
from tests.support.running import Person

SECONDS = 60
"""Seconds that a program may take."""

SSH = [
    "-F", "none",
    "-o", "UserKnownHostsFile=/dev/null",
    "-o", "StrictHostKeyChecking=no",
    "-o", "IdentitiesOnly=yes",
    "-o", "LogLevel=ERROR",
]  # fmt: skip


@dataclass(frozen=True)
class Done:
    """The end of a program."""

    argv: Sequence[str | bytes]
    status: int
    out: bytes
    err: bytes

    def ok(self) -> Done:
        """It ended well."""
        assert self.status == 0, f"{self.argv}: {self.status}\n{self.out[-2000:]!r}\n{self.err[-2000:]!r}"
        return self

    def failed(self, text: str) -> Done:
        """It did not, and said why."""
        assert self.status != 0, f"{self.argv} went well: {self.out!r}"
        assert text.encode() in self.out + self.err, f"{text!r} not in {self.out!r} {self.err!r}"
        return self


def run(
    *argv: str | bytes | Path, stdin: bytes = b"", seconds: float = SECONDS, cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> Done:  # fmt: skip
    """Run a program; it is killed if it takes too long. `COMMAND` is forked where that can be done."""
    words = [str(word) if isinstance(word, Path) else word for word in argv]
    environ = {**os.environ, "SSH_AUTH_SOCK": "", "LC_ALL": "C.UTF-8", **(env or {})}
    whose: Any = subprocess.Popen
    if words[: len(COMMAND)] == COMMAND:
        words, whose = words[len(COMMAND) :], Forked
    with whose(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=environ
    ) as process:
        try:
            out, err = process.communicate(stdin, seconds)
        except BaseException:
            process.kill()
            raise
    return Done(words, process.returncode, out, err)


# -- OpenSSH -----------------------------------------------------------------------------------------------


def sftp(
    person: Person, *lines: str | bytes, cwd: Path | None = None, seconds: float = SECONDS, options: Sequence[str] = (),
) -> Done:  # fmt: skip
    """OpenSSH's sftp with a batch of commands; it stops at the first that fails, unless it begins with -."""
    batch = b"\n".join(os.fsencode(line) for line in lines) + b"\n"
    return run(
        "sftp", *SSH, "-i", person.key, "-P", str(person.port), *options, "-b", "-", f"{person.name}@127.0.0.1",
        stdin=batch, cwd=cwd, seconds=seconds,
    )  # fmt: skip


def scp(
    person: Person, *words: str | bytes | Path, cwd: Path | None = None, old: bool = False,
    seconds: float = SECONDS,
) -> Done:  # fmt: skip
    """OpenSSH's scp over SFTP, or over SCP if `old`; a word that begins with : is a path on the server."""
    where = f"{person.name}@127.0.0.1".encode()
    argv = [
        where + os.fsencode(word) if os.fsencode(word).startswith(b":") else os.fsencode(word)
        for word in words
    ]
    way = "-O" if old else "-s"
    return run("scp", *SSH, way, "-i", person.key, "-P", str(person.port), *argv, cwd=cwd, seconds=seconds)


def ssh(person: Person, command: str) -> Done:
    """OpenSSH's ssh with a command."""
    return run("ssh", *SSH, "-i", person.key, "-p", str(person.port), f"{person.name}@127.0.0.1", command)


def ssh_command(person: Person) -> str:
    """OpenSSH's ssh as rsync and git start it."""
    return " ".join(["ssh", "-a", "-x", *SSH, "-i", str(person.key), "-p", str(person.port)])


def rsync(person: Person, *words: str | Path, cwd: Path | None = None, seconds: float = SECONDS) -> Done:
    """Rsync; a word that begins with : is a path on the server."""
    argv = [f"{person.name}@127.0.0.1{word}" if str(word).startswith(":") else word for word in words]
    return run("rsync", "-e", ssh_command(person), *argv, cwd=cwd, seconds=seconds)


def git(
    *words: str | Path, person: Person | None = None, cwd: Path | None = None, seconds: float = SECONDS,
    env: dict[str, str] | None = None,
) -> Done:  # fmt: skip
    """Git without anybody's configuration; a word that begins with : is a path on the server."""
    url = "" if person is None else f"ssh://{person.name}@127.0.0.1:{person.port}"
    argv = [f"{url}{str(word)[1:]}" if str(word).startswith(":/") else word for word in words]
    environ = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_SSH_COMMAND": "false" if person is None else ssh_command(person),
        "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com",
        "GIT_TERMINAL_PROMPT": "0",
    }  # fmt: skip
    return run("git", *argv, cwd=cwd, env={**environ, **(env or {})}, seconds=seconds)


# -- others ------------------------------------------------------------------------------------------------


def rclone(person: Person, command: str, *words: str | Path, seconds: float = SECONDS) -> Done:
    """Rclone; a word that begins with : is a path on the server."""
    remote = f":sftp,host=127.0.0.1,port={person.port},user={person.name},key_file={person.key}"
    argv = [f"{remote}{word}" if str(word).startswith(":") else str(word) for word in words]
    return run("rclone", "--config", "", "--retries", "1", command, *argv, seconds=seconds)


def lftp(person: Person, *commands: str, home: Path, seconds: float = SECONDS) -> Done:
    """Lftp with commands; those after the first that fails are left out (cmd:fail-exit hangs in 4.9.2)."""
    connect = f"ssh -a -x {' '.join(SSH)} -i {person.key}"
    script = "; ".join(
        [
            "set net:max-retries 1",
            "set net:timeout 20",
            f'set sftp:connect-program "{connect}"',
            f"open -u {person.name},none -p {person.port} sftp://127.0.0.1",
            " && ".join(commands),
        ]
    )
    return run("lftp", "--norc", "-c", script, env={"HOME": str(home)}, cwd=home, seconds=seconds)


def curl(person: Person, *words: str | Path, path: str = "/") -> Done:
    """Curl at an sftp URL."""
    return run(
        "curl", "--silent", "--show-error", "--insecure", "--user", f"{person.name}:",
        "--key", person.key, "--pubkey", person.key.with_suffix(".pub"), *words,
        f"sftp://127.0.0.1:{person.port}{path}",
    )  # fmt: skip


@contextlib.contextmanager
def sshfs(person: Person, mount: Path, *options: str) -> Iterator[Path]:
    """The account's files, mounted; FUSE has to be usable."""
    mount.mkdir(exist_ok=True)
    done = run(
        "sshfs", f"{person.name}@127.0.0.1:/", mount, "-p", str(person.port), *SSH[2:], "-F", "none",
        "-o", f"IdentityFile={person.key}", *options,
    ).ok()  # fmt: skip
    try:
        yield mount
    finally:
        done = run("fusermount3", "-u", mount)
        if done.status:
            run("fusermount3", "-u", "-z", mount)
    done.ok()


def has_fuse() -> bool:
    """True if file systems can be mounted here."""
    return os.access("/dev/fuse", os.R_OK | os.W_OK)


# -- files -------------------------------------------------------------------------------------------------


def digest(path: Path | bytes) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def random_file(path: Path | bytes, size: int, seed: int = 0) -> str:
    """A file of bytes that do not repeat; returns its SHA-256."""
    data = hashlib.shake_128(f"{path!r} {seed}".encode()).digest(min(size, 1 << 20))
    with open(path, "wb") as file:
        left = size
        while left > 0:
            file.write(data[:left])
            left -= len(data)
            data = data[1:] + data[:1]
    return digest(path)


def tree(directory: Path) -> dict[bytes, str]:
    """Relative path to digest (a directory's is empty) of everything below."""
    root = os.fsencode(directory)
    found: dict[bytes, str] = {}
    for folder, folders, names in os.walk(root):
        for name in folders:
            found[os.path.relpath(os.path.join(folder, name), root)] = ""
        for name in names:
            found[os.path.relpath(os.path.join(folder, name), root)] = digest(os.path.join(folder, name))
    return found
