# SPDX-License-Identifier: Apache-2.0
"""The product itself: ``tidegate serve`` as a process of its own, with accounts in its SQLite database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import asyncssh
from tests.support.fork_server import COMMAND, Forked
from tests.support.ports import free_port

from tidegate.cli.provider import opened
from tidegate.model import Account
from tidegate.server.wiring import password_hasher

START_SECONDS = 30
STOP_SECONDS = 20
HIDDEN = ".tidegate-"
"""The beginning of the names of unfinished uploads."""


@dataclass(frozen=True)
class Person:
    """An account of a running server and what its owner has."""

    server: Running
    name: str
    password: str
    key: Path
    """private key file"""
    home: Path

    @property
    def port(self) -> int:
        return self.server.port

    def leftovers(self) -> list[Path]:
        """Hidden files of unfinished uploads in the home."""
        return leftovers(self.home)

    def connect(self, **options: Any) -> Any:
        """asyncssh's client, without this machine's keys, agent or configuration."""
        return asyncssh.connect(
            "127.0.0.1",
            self.port,
            **{
                "username": self.name,
                "client_keys": [str(self.key)],
                "known_hosts": None,
                "config": None,
                "agent_path": None,
                "gss_host": None,
                **options,
            },
        )


class Running:
    """One ``tidegate serve``. Life: made, `start`, `stop` or `kill`, `start` again...

    Args:
        directory: for configuration, database, log and homes; made if missing.
        fast_lane: ``sftpd.fast_lane``.
        grace_time: ``--grace-time``, seconds.
        settings: further sections of the configuration file.
        descriptors: ``ulimit -n`` of the process, soft and hard; 0 leaves it.
        environment: further variables of the process.
        command: the program; the usual one is started with its modules loaded (`fork_server`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        fast_lane: bool = True,
        grace_time: int = 0,
        settings: dict[str, dict[str, Any]] | None = None,
        descriptors: int = 0,
        environment: dict[str, str] | None = None,
        command: Sequence[str] = COMMAND,
        log_level: str = "debug",
    ) -> None:
        self.log_level = log_level
        self.command = command
        self.environment = environment or {}
        self.limit = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors else []
        self.directory = directory
        self.homes = directory / "homes"
        self.log_file = directory / "tidegate.log"
        self.grace_time = grace_time
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.output = ""
        self.expected_errors: list[str] = []
        self._log_lines: list[dict[str, Any]] = []
        self._log_read = self._log_inode = 0
        self.homes.mkdir(parents=True)
        self.key = directory / "client_key"
        make_key(self.key)
        make_key(directory / "id_ed25519")
        self.secrets = {
            self.key.read_text().splitlines()[2],
            self.key.with_suffix(".pub").read_text().split()[1],
            (directory / "id_ed25519").read_text().splitlines()[2],
        }
        sections: dict[str, dict[str, Any]] = {
            "common": {"max_per_host_connections": 0, "max_total_connections": 1000},
            "sftpd": {
                "fast_lane": fast_lane,
                "host_keys": ["id_ed25519"],
                "enabled_ssh_commands": ["*"],
            },
            "httpd": {"bindings": []},
            "data_provider": {
                "password_hashing": {
                    "argon2_options": {"memory": 64, "iterations": 1, "parallelism": 1},
                    "bcrypt_options": {"cost": 4},  # refusals take as long as bcrypt two steps above it
                }
            },
        }
        if os.geteuid() != 0:
            sections["sandbox"] = {"core_dumps": True}  # else tests may not look into /proc of the process
        for name, section in (settings or {}).items():
            sections.setdefault(name, {}).update(section)
        self.configure(sections)

    def configure(self, sections: dict[str, dict[str, Any]]) -> None:
        """Write the configuration file."""
        self.sections = sections
        (self.directory / "tidegate.json").write_text(json.dumps(sections))

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it and wait for the line that says where it listens."""
        for _ in range(3):  # another process may take the port in between
            self.port = free_port()
            environ = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
            words = ["serve", "-c", str(self.directory), "--log-level", self.log_level]
            words += ["--grace-time", str(self.grace_time)]
            options: dict[str, Any] = {
                "env": {
                    **environ,
                    **self.environment,
                    "TIDEGATE_SFTPD__BINDINGS__0__PORT": str(self.port),
                    "TIDEGATE_SFTPD__BINDINGS__0__ADDRESS": "127.0.0.1",
                },
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
            }
            process: subprocess.Popen[str]
            if self.command is COMMAND and not self.limit:
                process = Forked(words, **options)
            else:
                process = subprocess.Popen([*self.limit, *self.command, *words], **options)
            assert process.stdout is not None
            guard = threading.Timer(START_SECONDS, process.kill)
            guard.start()
            line = process.stdout.readline()
            guard.cancel()
            if line == f"tidegate: SSH on port {self.port}\n":
                self.process = process
                return self
            process.kill()
            _, err = process.communicate()
            if "cannot listen" not in err:
                raise AssertionError(f"serve did not start: {line!r} {err}")
        raise AssertionError("no free port found")

    def send(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal; it must take it well, and must have nothing to complain about."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=STOP_SECONDS + self.grace_time)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"serve did not stop: {err}\n{self.tail()}") from None
        self.output += out + err
        assert process.returncode == 0, f"exit code {process.returncode}: {err}\n{self.tail()}"
        assert "Traceback" not in err, err
        self.check_log()

    def kill(self) -> None:
        """kill -9."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate()

    def check_log(self) -> None:
        """No line of an error but those that were expected, no traceback, and no secret of anybody."""
        bad = [
            line
            for line in self.lines()
            if (line["level"] == "error" or "Traceback" in str(line))
            and not any(text in line.get("message", "") for text in self.expected_errors)
        ]
        assert not bad, bad[:3]
        text = self.log_file.read_text()
        assert not [secret for secret in self.secrets if secret in text]

    def tail(self) -> str:
        """The end of the log, for messages."""
        return "\n".join(self.log_file.read_text().splitlines()[-20:]) if self.log_file.exists() else ""

    # -- looking -----------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def descriptors(self) -> int:
        """Open file descriptors but for those of the database, whose pool grows and shrinks (Linux)."""
        found = 0
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found += "tidegate.db" not in os.readlink(f"/proc/{self.pid}/fd/{name}")
        return found

    def resident(self) -> int:
        """Bytes of memory in use (Linux)."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def lines(self, sender: str = "", **fields: object) -> list[dict[str, Any]]:
        """Lines of the log, of a sender, with these fields."""
        with open(self.log_file, "rb") as file:
            if os.fstat(file.fileno()).st_ino != self._log_inode:  # rotated
                self._log_inode, self._log_read = os.fstat(file.fileno()).st_ino, 0
            file.seek(self._log_read)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._log_read += len(whole)
        self._log_lines += [json.loads(text) for text in whole.splitlines()]
        return [
            line
            for line in self._log_lines
            if (not sender or line["sender"] == sender)
            and all(line.get(name) == value for name, value in fields.items())
        ]

    def wait_line(self, sender: str, **fields: object) -> dict[str, Any]:
        """The first line of a sender with these fields, as soon as it is there."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = self.lines(sender, **fields)
            return bool(found)

        wait_for(look, f"no line {sender} {fields}: {self.tail() if self.process else ''}")
        return found[0]

    # -- accounts ----------------------------------------------------------------------------------------

    def account(self, name: str = "", **fields: Any) -> Person:
        """Add an account with a key and a password; it may do everything unless `fields` say otherwise."""
        return self.accounts([{"username": name, **fields}])[0]

    def accounts(self, documents: Sequence[dict[str, Any]]) -> list[Person]:
        """Add several; see `account`."""
        people = []
        public = self.key.with_suffix(".pub").read_text().strip()
        for fields in documents:
            name = fields.get("username") or f"u{secrets.token_hex(4)}"
            home = self.homes / name
            home.mkdir(exist_ok=True)
            people.append(Person(self, name, f"p{secrets.token_urlsafe(12)}", self.key, home))

        async def add() -> None:
            async with opened(self.directory, "tidegate", create=True) as desk:
                for person, fields in zip(people, documents, strict=True):
                    account = {
                        "public_keys": (public,),
                        "home_dir": str(person.home),
                        "permissions": {"/": ("*",)},
                        **fields,
                        "username": person.name,
                        "password": password_hasher(desk.loaded)(person.password),
                    }
                    self.secrets |= {person.password, account["password"]}
                    await desk.provider.add_user(Account(**account))

        in_thread(add)
        return people

    def stored(self, name: str) -> Account:
        """The account as the database has it."""
        found: list[Account | None] = []

        async def get() -> None:
            async with opened(self.directory, "tidegate", quiet=True) as desk:
                found.append(await desk.provider.user(name))

        in_thread(get)
        assert found[0] is not None
        return found[0]


def in_thread(work: Callable[[], Any]) -> None:
    """Run a coroutine function to its end, from a test that may or may not have a loop of its own."""
    failure: list[BaseException] = []

    def call() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(30)
    if failure:
        raise failure[0]


@contextlib.contextmanager
def running(directory: Path, **options: Any) -> Iterator[Running]:
    """A server that is stopped, and judged, at the end."""
    server = Running(directory, **options)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.kill()


def make_key(path: Path) -> None:
    """A fresh ed25519 key pair in OpenSSH files."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(path)
    key.write_public_key(path.with_suffix(".pub"))
    path.chmod(0o600)


def leftovers(directory: Path) -> list[Path]:
    """Hidden files of unfinished uploads anywhere below."""
    return [
        Path(os.fsdecode(folder)) / os.fsdecode(name)
        for folder, _, names in os.walk(os.fsencode(directory))
        for name in names
        if name.startswith(HIDDEN.encode())
    ]


def wait_for(condition: Callable[[], bool], message: str, seconds: float = 10) -> None:
    """Look again and again until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message)
        time.sleep(0.01)
