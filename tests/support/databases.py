# SPDX-License-Identifier: Apache-2.0
"""Real PostgreSQL and MariaDB servers for tests: temporary, on free ports, shared by parallel workers.

`postgresql(root)` and `mariadb(root)` are context managers. The first user starts the server, the last one
ends it by its process id; a file lock below `root` keeps the count. Servers refuse to run as root, so they
run as their own system user then.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import ipaddress
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support import needs
from tests.support.ports import free_port

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tidegate-tests"

POSTGRES_BIN = max(
    (path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()),
    key=lambda path: int(path.parent.name),
    default=Path("/usr/lib/postgresql/bin"),
)
"""Debian and Ubuntu keep each major version in a directory of its own; the newest is taken."""

OLDEST_POSTGRES = CACHE / "postgresql-12.22.0"
"""The oldest version that is supported, unpacked by .ci/run; Debian has none that old."""

MYSQL = CACHE / "mysql"
"""MySQL itself with all its libraries, unpacked by .ci/run; Debian's stable releases have MariaDB alone."""

START_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True)
class Server:
    """A running database server.

    Attributes:
        certificate: the certificate authority (and server certificate) of its TLS.
    """

    kind: str
    pid: int
    port: int
    username: str
    password: str
    database: str
    directory: str
    certificate: str


def need(program: str | Path) -> str:
    """The path of a program; the test is skipped by name without it, or fails where CI=true."""
    return needs.program(program) or needs.absent(Path(program).name)


@contextlib.contextmanager
def postgresql(root: Path) -> Iterator[Server]:
    """A PostgreSQL server."""
    need(POSTGRES_BIN / "initdb")
    with _shared(root, "postgresql", _start_postgresql) as server:
        yield server


@contextlib.contextmanager
def mariadb(root: Path) -> Iterator[Server]:
    """A MariaDB server."""
    need("mariadbd")
    need("mariadb-install-db")
    with _shared(root, "mariadb", _start_mariadb) as server:
        yield server


@contextlib.contextmanager
def _shared(root: Path, kind: str, start: Callable[[], Server]) -> Iterator[Server]:
    state = root / f"{kind}.json"
    with _locked(root / f"{kind}.lock"):
        known = json.loads(state.read_text()) if state.exists() else None
        if known is None:
            known = {"users": 0, "server": asdict(start())}
        known["users"] += 1
        state.write_text(json.dumps(known))
    try:
        yield Server(**known["server"])
    finally:
        with _locked(root / f"{kind}.lock"):
            known = json.loads(state.read_text())
            known["users"] -= 1
            if known["users"]:
                state.write_text(json.dumps(known))
            else:
                state.unlink()
                _stop(Server(**known["server"]))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start_postgresql(binaries: Path = POSTGRES_BIN) -> Server:
    directory, owner = _directory("postgres")
    if binaries == OLDEST_POSTGRES / "bin":  # a cache below a home is closed to the server's user
        binaries = directory / "program" / "bin"
        shutil.copytree(OLDEST_POSTGRES, binaries.parent, symlinks=True)
    password, port = secrets.token_hex(8), free_port()
    data = directory / "data"
    (directory / "password").write_text(password)
    _certificate(directory)
    _own(directory, owner)
    _run(
        [
            *_as(owner),
            str(binaries / "initdb"),
            "--no-sync",
            "--auth=scram-sha-256",
            "--username=tide",
            f"--pwfile={directory / 'password'}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            f"--pgdata={data}",
        ],
        directory,
    )
    command = [*_as(owner), str(binaries / "postgres"), "-D", str(data)]
    command += _postgresql_settings(directory, port)
    pid = _spawn(command, directory, port)
    return Server(
        "postgresql", pid, port, "tide", password, "postgres", str(directory), str(directory / "server.crt")
    )


def _postgresql_settings(directory: Path, port: int) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(directory),
        "fsync": "off",
        "shared_buffers": "16MB",
        "max_connections": "60",
        "ssl": "on",
        "ssl_cert_file": str(directory / "server.crt"),
        "ssl_key_file": str(directory / "server.key"),
    }
    return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]


@contextlib.contextmanager
def oldest_postgresql() -> Iterator[Server]:
    """A server of the oldest version of PostgreSQL that is supported, for one test."""
    need(OLDEST_POSTGRES / "bin" / "postgres")
    server = _start_postgresql(OLDEST_POSTGRES / "bin")
    try:
        yield server
    finally:
        _stop(server)


@contextlib.contextmanager
def mariadb_in_lower_case() -> Iterator[Server]:
    """A MariaDB server with lower_case_table_names=1, for one test."""
    need("mariadbd")
    server = _start_mariadb("--lower-case-table-names=1")
    try:
        yield server
    finally:
        _stop(server)


@contextlib.contextmanager
def mysql() -> Iterator[Server]:
    """A MySQL server, which MariaDB is not, for one test."""
    need(MYSQL / "usr" / "sbin" / "mysqld")
    server = _start_mysql()
    try:
        yield server
    finally:
        _stop(server)


def _start_mysql() -> Server:
    directory, owner = _directory("mysql")
    password, port = secrets.token_hex(8), free_port()
    _certificate(directory)
    (directory / "first.sql").write_text(
        "CREATE DATABASE tide CHARACTER SET utf8mb4;\n"
        f"CREATE USER 'tide'@'%' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON *.* TO 'tide'@'%' WITH GRANT OPTION;\n"
    )
    shutil.copytree(MYSQL, directory / "program", symlinks=True)  # a cache below a home is closed to its user
    _own(directory, owner)
    program = directory / "program"
    libraries = f"{program}/usr/lib/x86_64-linux-gnu:{program}/usr/lib/mysql/private"
    # Its libraries are newer than those of the system, and so is its loader.
    command = [
        *_as(owner),
        str(program / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        *("--library-path", libraries, str(program / "usr/sbin/mysqld"), "--no-defaults"),
        f"--datadir={directory / 'data'}",
        f"--lc-messages-dir={program / 'usr/share/mysql'}",
        f"--character-sets-dir={program / 'usr/share/mysql/charsets'}",
        "--secure-file-priv=NULL",
    ]
    _run([*command, "--initialize-insecure"], directory)
    command += [
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={directory / 'sock'}",
        f"--pid-file={directory / 'pid'}",
        f"--init-file={directory / 'first.sql'}",
        f"--ssl-ca={directory / 'server.crt'}",
        f"--ssl-cert={directory / 'server.crt'}",
        f"--ssl-key={directory / 'server.key'}",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--mysqlx=OFF",
    ]
    pid = _spawn(command, directory, port)
    return Server("mysql", pid, port, "tide", password, "tide", str(directory), str(directory / "server.crt"))


def _start_mariadb(*more: str) -> Server:
    directory, owner = _directory("mysql")
    password, port = secrets.token_hex(8), free_port()
    _certificate(directory)
    (directory / "first.sql").write_text(
        "CREATE DATABASE tide CHARACTER SET utf8mb4;\n"
        f"CREATE USER 'tide'@'%' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON *.* TO 'tide'@'%' WITH GRANT OPTION;\n"
    )
    _own(directory, owner)
    _run(
        [
            *_as(owner),
            need("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={directory / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ],
        directory,
    )
    command = [
        *_as(owner),
        need("mariadbd"),
        "--no-defaults",
        f"--datadir={directory / 'data'}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={directory / 'sock'}",
        f"--pid-file={directory / 'pid'}",
        f"--init-file={directory / 'first.sql'}",
        f"--ssl-cert={directory / 'server.crt'}",
        f"--ssl-key={directory / 'server.key'}",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M",
        "--skip-name-resolve",
        "--skip-log-bin",
        *more,
    ]
    pid = _spawn(command, directory, port)
    return Server("mysql", pid, port, "tide", password, "tide", str(directory), str(directory / "server.crt"))


def _directory(system_user: str) -> tuple[Path, str]:
    """A new directory that the server's user may own (pytest's own are closed to it)."""
    directory = Path(tempfile.mkdtemp(prefix=f"tidegate-{system_user}-"))
    (directory / "home").mkdir()
    return directory, system_user if os.geteuid() == 0 else ""


def _own(directory: Path, owner: str) -> None:
    (directory / "server.key").chmod(0o600)
    if owner:
        person = pwd.getpwnam(owner)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, person.pw_uid, person.pw_gid)


def _as(owner: str) -> list[str]:
    """The words that make a command run as another user."""
    if not owner:
        return []
    person = pwd.getpwnam(owner)
    return [
        need("setpriv"),
        f"--reuid={person.pw_uid}",
        f"--regid={person.pw_gid}",
        "--clear-groups",
    ]


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env=_environment(directory),
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout.decode()} {done.stderr.decode()}")


def _spawn(command: list[str], directory: Path, port: int, *, postgres: bool = False) -> int:
    """Start a server that outlives this worker; returns its process id once it answers."""
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=_environment(directory),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            line.settimeout(1)
            # MariaDB greets; PostgreSQL answers an SSL request with one letter.
            if postgres or any("postgres" in word for word in command):
                line.sendall(bytes.fromhex("0000000804d2162f"))
            if line.recv(1) and _is_ready(directory):
                process.returncode = 0  # whoever is last ends it by id
                _guard(process.pid, directory)
                return process.pid
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise RuntimeError(f"no answer from {command}: {(directory / 'log').read_text()[-2000:]}")


def _is_ready(directory: Path) -> bool:
    """True unless PostgreSQL still starts: it answers the first letter before it takes connections."""
    text = (directory / "log").read_text(errors="replace")
    return "database system is ready" in text or "PostgreSQL" not in text


def _guard(pid: int, directory: Path) -> None:
    """End a server whose test run was killed before it could: watch the process that all workers hang on."""
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    watch = (
        'while kill -0 "$1" && kill -0 "$2"; do sleep 1; done; '
        'kill -0 "$1" || { kill -INT "$2"; kill -TERM "$2"; sleep 3; rm -rf "$3"; }'
    )
    guard = subprocess.Popen(
        ["/bin/sh", "-c", watch, "watch", str(run), str(pid), str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    guard.returncode = 0  # it ends by itself once the server is gone


def _environment(directory: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(directory / "home"), "LC_ALL": "C"}


def _stop(server: Server) -> None:
    sign = signal.SIGINT if server.kind == "postgresql" else signal.SIGTERM
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid, sign)
    deadline = time.monotonic() + STOP_SECONDS
    while _alive(server.pid):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    shutil.rmtree(server.directory, ignore_errors=True)


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextlib.contextmanager
def postgresql_replica(primary: Server) -> Iterator[Server]:
    """A streaming replica of a running PostgreSQL server, for one test."""
    directory, owner = _directory("postgres")
    port, data = free_port(), directory / "data"
    for name in ("server.crt", "server.key"):
        shutil.copy(Path(primary.directory) / name, directory / name)
    _own(directory, owner)
    address = (
        f"host=127.0.0.1 port={primary.port} user={primary.username} password={primary.password} "
        "application_name=tidegate_replica"
    )
    _run(
        [
            *_as(owner),
            str(POSTGRES_BIN / "pg_basebackup"),
            f"--dbname={address}",
            f"--pgdata={data}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        ],
        directory,
    )
    command = [*_as(owner), str(POSTGRES_BIN / "postgres"), "-D", str(data)]
    command += _postgresql_settings(directory, port)
    pid = _spawn(command, directory, port)
    replica = replace(primary, pid=pid, port=port, directory=str(directory))
    try:
        yield replica
    finally:
        _stop(replica)


@contextlib.contextmanager
def pgbouncer(server: Server, *, pool_size: int) -> Iterator[Server]:
    """PgBouncer in front of a PostgreSQL server, pooling transactions over few connections, for one test."""
    program = need("pgbouncer")
    directory, owner = _directory("postgres")
    port = free_port()
    (directory / "users").write_text(f'"{server.username}" "{server.password}"\n')
    (directory / "ini").write_text(
        "[databases]\n"
        f"* = host=127.0.0.1 port={server.port}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {directory / 'users'}\n"
        f"pool_mode = transaction\ndefault_pool_size = {pool_size}\nmax_client_conn = 200\n"
    )
    (directory / "server.key").touch()
    _own(directory, owner)
    pid = _spawn([*_as(owner), program, str(directory / "ini")], directory, port, postgres=True)
    pooler = replace(server, pid=pid, port=port, directory=str(directory))
    try:
        yield pooler
    finally:
        _stop(pooler)
