# SPDX-License-Identifier: Apache-2.0
"""SFTP client libraries of other languages, run step by step.

Each program of ``tests/clients/foreign`` is started as ``PROGRAM HOST PORT USER password|key SECRET`` and logs in
with the defaults of its library. It reads one step a line, its words parted by tabs::

    put LOCAL REMOTE    get REMOTE LOCAL    list PATH        symlink TARGET LINK    readlink PATH
    rename OLD NEW      mkdir PATH          remove PATH      exec COMMAND           digest PATH (MINA)
    scpput LOCAL REMOTE                     scpget REMOTE LOCAL                     (both: `Client.scp`)

and answers the login and each step with one line: ``ok`` and values, or ``error``, the status of SFTP if the library
tells it, and a text.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.foreign_builds import (
    ERLANG,
    GO,
    JAVA,
    NODE,
    PERL,
    PHP,
    PYTHON,
    RUBY,
    RUST,
    SOURCES,
    C,
    Toolchain,
    Unavailable,
    built,
    jars,
)
from tests.support.needs import absent
from tests.support.running import Person

RUN_SECONDS = 60
"""Seconds that a program may take for all of its steps."""


@dataclass(frozen=True, slots=True)
class Client:
    """One library as people use it.

    Args:
        name: for tests and messages.
        library: name and version, for people.
        toolchain: builds it.
        argv: the command, given the directory of what was built.
        key: the kind of key that it logs in with, the file's name; empty where it cannot use one.
        lacks: steps that the library has no call for; ``password`` if it takes none, ``status`` if it does not
            tell the status of SFTP, ``rekey`` if it hangs, with any server, when keys are exchanged again.
        files: files of the system that it needs.
        small: number of small files that it moves one after the other in reasonable time.
        scp: it speaks SCP, or its users do by its channels.
    """

    name: str
    library: str
    toolchain: Toolchain
    argv: Callable[[Path], Sequence[str]]
    key: str = "id_ed25519"
    lacks: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    small: int = 300
    scp: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Programs and files without which it cannot be built or run."""
        return (*self.toolchain.programs, *self.files)

    def can(self, *steps: str) -> bool:
        """True if it lacks none of these."""
        return self.lacks.isdisjoint(steps)


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of a program."""

    done: bool
    values: tuple[str, ...] = ()
    status: int | None = None
    text: str = ""


def _program(kept: Path) -> list[str]:
    return [str(kept / "client")]


def _jvm(steps: str, without: str = "jsch-0.") -> Callable[[Path], list[str]]:
    options = [
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-Xshare:auto",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
    ]
    return lambda kept: ["java", *options, "-cp", jars(kept, without), "Steps", steps]


def _script(folder: str, interpreter: str, file: str, *words: str) -> Callable[[Path], list[str]]:
    return lambda kept: [interpreter, str((kept if folder == "node" else SOURCES / folder) / file), *words]


def _installed(pattern: str) -> str:
    """The first file of a pattern, or the pattern itself."""
    return next((str(path) for path in sorted(Path("/").glob(pattern.removeprefix("/")))), pattern)


def _python(library: str) -> Callable[[Path], list[str]]:
    return lambda kept: [str(kept / "venv" / "bin" / "python"), str(kept / "main.py"), library]


NO_LINKS = frozenset({"symlink", "readlink"})
GEMS = tuple(
    _installed(f"{place}/specifications/{name}-*.gemspec")
    for place, name in (
        ("/usr/share/rubygems-integration/all", "net-sftp"),
        ("/usr/lib/*/rubygems-integration/*", "ed25519"),
    )
)
CLIENTS = (
    Client("go", "pkg/sftp 1.13.12 on x/crypto 0.59.0", GO, _program),
    Client("russh", "russh-sftp 3.0.1 on russh 0.65.1", RUST, _program),
    Client("jsch", "JSch 2.28.8", JAVA, _jvm("JschSteps"), scp=True),
    Client("jsch-old", "JSch 0.1.55", JAVA, _jvm("JschSteps", "jsch-2."), key="id_ecdsa", scp=True),
    Client("sshj", "sshj 0.40.0", JAVA, _jvm("SshjSteps"), scp=True),
    Client("mina", "Apache MINA SSHD 2.20.0", JAVA, _jvm("MinaSteps")),
    Client("vfs", "Apache Commons VFS 2.10.0 on JSch 2.28.8", JAVA, _jvm("VfsSteps"), lacks=NO_LINKS),
    # Its sockets keep Nagle's algorithm: it takes 0.1 s a file from OpenSSH's server too.
    Client("ssh2js", "Node ssh2 1.17.0", NODE, _script("node", "node", "main.js", "ssh2"), small=20),
    Client(
        "ssh2js-old", "Node ssh2 0.8.9", NODE, _script("node", "node", "main.js", "ssh2-old"), lacks=frozenset({"rekey"})
    ),
    Client(
        "phpseclib3", "phpseclib 3.0", PHP, _script("php", "php", "main.php", "phpseclib3"),
        files=("/usr/share/php/phpseclib3/autoload.php",),
    ),
    Client(
        "phpseclib2", "phpseclib 2.0", PHP, _script("php", "php", "main.php", "phpseclib"),
        key="id_rsa", files=("/usr/share/php/phpseclib/autoload.php",),
    ),
    Client(
        "php-ssh2", "PHP ssh2 1.3 on libssh2 1.10", PHP, _script("php", "php", "main.php", "ssh2"),
        lacks=frozenset({"status"}), files=(_installed("/etc/php/*/mods-available/ssh2.ini"),), scp=True,
    ),
    Client("paramiko-old", "paramiko 2.12.0", PYTHON, _python("paramiko")),
    Client("asyncssh-old", "asyncssh 2.5.0", PYTHON, _python("asyncssh")),
    Client(
        "erlang", "Erlang/OTP 25 ssh 4.15", ERLANG, _script("erlang", "escript", "main.escript"),
        files=(_installed("/usr/lib/erlang/lib/ssh-*"),),
    ),
    Client("libssh", "libssh 0.10.6", C, _program, scp=True),
    Client("ruby", "Ruby net-sftp 4.0 on net-ssh 7.0", RUBY, _script("ruby", "ruby", "main.rb"), files=GEMS),
    Client(
        "perl", "Net::SFTP::Foreign 1.93 on OpenSSH", PERL, _script("perl", "perl", "main.pl"),
        lacks=frozenset({"password", "exec"}), files=("/usr/share/perl5/Net/SFTP/Foreign.pm",),
    ),
)  # fmt: skip


# -- running -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """The answers of a program: `login`, then one for each step."""

    login: Answer
    steps: tuple[Answer, ...] = ()
    errors: str = ""

    def ok(self) -> Run:
        """The login and all steps went well."""
        bad = [answer for answer in (self.login, *self.steps) if not answer.done]
        assert not bad, f"{bad[:3]}\n{self.errors[-2000:]}"
        return self


def usable(client: Client) -> Path:
    """The directory of a built client; ends the test by name where its libraries cannot be fetched."""
    try:
        return built(client.toolchain)
    except Unavailable as error:
        absent(f"the libraries of {client.library}: {error}")


def run(client: Client, person: Person, *steps: Sequence[str | Path], home: Path, password: str = "") -> Run:
    """Log in as somebody, by key or by a password, and do steps.

    Args:
        home: a directory for what the library may want to write or read of its user.

    Raises:
        AssertionError: the program does not end in time, or with other answers than it should.
    """
    method, secret = ("password", password) if password else ("key", str(person.key))
    argv = [*client.argv(usable(client)), "127.0.0.1", str(person.port), person.name, method, secret]
    text = "".join("\t".join(str(word) for word in step) + "\n" for step in steps)
    environment = {**os.environ, "HOME": str(home), "SSH_AUTH_SOCK": "", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            timeout=RUN_SECONDS,
            env=environment,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{client.library} hangs after {error.stdout!r} {error.stderr!r}") from error
    answers = [_answer(line.split("\t")) for line in done.stdout.splitlines()]
    wanted = 1 + len(steps) if answers and answers[0].done else 1
    assert done.returncode == 0 and len(answers) == wanted, (
        f"{client.library}: exit {done.returncode}, {len(answers)} answers of {wanted}\n"
        f"{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    )
    return Run(answers[0], tuple(answers[1:]), done.stderr)


def _answer(words: list[str]) -> Answer:
    if words[0] == "ok":
        return Answer(True, tuple(words[1:]))
    assert words[0] == "error" and len(words) == 3, words
    return Answer(False, (), int(words[1]) if words[1] else None, words[2])
