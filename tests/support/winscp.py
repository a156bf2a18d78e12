# SPDX-License-Identifier: Apache-2.0
"""A client as WinSCP is in SCP mode: the lines that it sends and how it reads the answers, carried by OpenSSH's ssh.

WinSCP runs on Windows only. The lines are those of its own table of commands, the reading of answers follows
its ReceiveLine, RemoveLastLine, SCPResponse, SCPSource and SCPSink (ScpFileSystem.cpp).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.programs import SSH
from tests.support.running import Person

FIRST = "WinSCP: this is begin-of-file"
LAST = "WinSCP: this is end-of-file"
SECONDS = 30


class WinScp:
    """A session in SCP mode. Lines of standard error are kept beside those of the command that they came with."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._got = b""
        self.errors = b""
        self.return_var = "0"

    # -- bytes -----------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def send_line(self, line: str | bytes) -> None:
        self.send(os.fsencode(line) + b"\n")

    def _more(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        until = time.monotonic() + SECONDS
        streams = [self._process.stdout, self._process.stderr]
        while time.monotonic() < until:
            for stream in select.select(streams, [], [], 0.2)[0]:
                data = os.read(stream.fileno(), 1 << 16)
                if stream is self._process.stdout:
                    if not data:
                        raise EOFError(self.errors)
                    self._got += data
                    return
                if not data:
                    streams.remove(stream)
                self.errors += data
        raise AssertionError(f"nothing came: {self._got!r} {self.errors!r}")

    def wait_error(self, text: str) -> None:
        """Standard error has a text, or gets it: ssh passes on its two streams each for itself."""
        assert self._process.stderr is not None
        until = time.monotonic() + SECONDS
        while text not in self.errors.decode():
            assert time.monotonic() < until, (text, self.errors)
            if select.select([self._process.stderr], [], [], 0.2)[0]:
                self.errors += os.read(self._process.stderr.fileno(), 1 << 16)

    def receive(self, size: int) -> bytes:
        while len(self._got) < size:
            self._more()
        data, self._got = self._got[:size], self._got[size:]
        return data

    def line(self) -> str:
        while b"\n" not in self._got:
            self._more()
        line, _, self._got = self._got.partition(b"\n")
        return os.fsdecode(line)

    # -- commands --------------------------------------------------------------------------------------

    def last(self, line: str) -> tuple[str, int] | None:
        """The text before the mark of the end, and the status; None if there is no such mark."""
        head, mark, rest = line.partition(f"{LAST}:")
        return (head, int(rest)) if mark and re.fullmatch(r"-?[0-9]+", rest) else None

    def output(self) -> tuple[int, list[str]]:
        """Status and lines of a command that was sent."""
        found = []
        while True:
            line = self.line()
            if (last := self.last(line)) is not None:
                if last[0]:
                    found.append(last[0])
                return last[1], found
            found.append(line)

    def run(self, command: str) -> tuple[int, list[str]]:
        """Send a command as WinSCP does, and wait for its end."""
        self.errors = b""
        end = f'echo "{LAST}:{self.return_var}"'
        self.send_line(f"{command} ; {end}" if command else end)
        return self.output()

    def ok(self, command: str) -> list[str]:
        status, found = self.run(command)
        assert status == 0, (command, status, found, self.errors)
        return found

    def start_up(self) -> None:
        """All that is done before a directory is shown."""
        assert self.run("") == (0, [])
        for name in ("status", "?"):
            found = self.ok(f'echo "${name}"')
            if len(found) == 1 and re.fullmatch("[0-9]+", found[0]):
                self.return_var = f"${name}"
                break
        assert self.return_var == "$?"
        assert "UTF-8" in self.ok("printenv LANG")[0]
        for name in (
            "ls",
            "echo",
            "pwd",
            "cd",
            "groups",
            "scp",
            "rm",
            "mv",
            "mkdir",
            "chmod",
            "chgrp",
            "chown",
        ):
            self.run(f'unalias "{name}"')
        for name in ("LANG", "LANGUAGE", "LC_CTYPE", "LC_ALL", "HUMAN_BLOCKS"):
            self.ok(f'unset "{name}"')
        assert len(self.ok("groups")) == 1

    # -- files -----------------------------------------------------------------------------------------

    def _first_line(self) -> None:
        assert self.line() == FIRST

    def response(self) -> None:
        """SCPResponse."""
        kind = self.receive(1)
        if kind != b"\0":
            text = self.line()
            last = self.last(os.fsdecode(kind) + text)
            raise ScpError(kind, f"status {last[1]}" if last else text)

    def begin(self, command: str) -> None:
        self.errors = b""
        self.send_line(f'echo "{FIRST}" ; {command} ; echo "{LAST}:{self.return_var}"')
        self._first_line()

    def upload(self, path: Path, directory: str, options: str = "-p") -> int:
        """One file or directory into a directory; returns the status."""
        self.begin(f'scp -r {options} -d -t "{directory}"')
        self.response()
        self._source(path)
        self.send_line("E")
        self.response()
        status, found = self.output()
        assert found == []
        return status

    def _source(self, path: Path) -> None:
        found = path.stat()
        if path.is_dir():
            self.send_line(f"D0755 0 {path.name}")
            self.response()
            for inner in sorted(path.iterdir()):
                self._source(inner)
            self.send_line("E")
            self.response()
            return
        self.send_line(f"T{int(found.st_mtime)} 0 {int(found.st_atime)} 0")
        self.response()
        self.send_line(f"C0644 {found.st_size} {path.name}")
        self.response()
        self.send(path.read_bytes())
        self.send(b"\0")
        self.response()

    def download(self, name: str, directory: Path) -> int:
        """A file or directory into a directory of the client's; returns the status."""
        self.begin(f'scp -r -p -d -f "{name}"')
        self.send(b"\0")
        return self._sink(directory)

    def _sink(self, top: Path) -> int:
        places = [top]
        while True:
            line = self.line()
            if (last := self.last(line)) is not None:
                return last[1]
            kind, rest = line[0], line[1:]
            if kind in "\1\2":
                raise ScpError(kind.encode(), rest)
            if kind == "E":
                places.pop()
            elif kind == "T":
                assert re.fullmatch(r"[0-9]+ 0 [0-9]+ 0", rest)
            else:
                _, size, name = rest.split(" ", 2)
                assert "/" not in name
                if kind == "D":
                    places.append(places[-1] / name)
                    places[-1].mkdir(exist_ok=True)
                else:
                    assert kind == "C"
                    self.send(b"\0")
                    (places[-1] / name).write_bytes(self.receive(int(size)))
                    self.response()
            self.send(b"\0")


class ScpError(Exception):
    """The other side of a copy said that it failed."""


@contextlib.contextmanager
def winscp(person: Person) -> Iterator[WinScp]:
    """A shell channel without a terminal, as WinSCP opens it."""
    process = subprocess.Popen(
        ["ssh", "-T", *SSH, "-i", str(person.key), "-p", str(person.port), f"{person.name}@127.0.0.1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield WinScp(process)
    finally:
        process.kill()
        process.communicate()
