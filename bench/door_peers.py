# SPDX-License-Identifier: Apache-2.0
"""Servers of FTP and WebDAV for `bench.doors`: each starts on free ports over an empty directory, and ends.

A peer that is not there raises `Missing`; ``python -m bench.fetch`` gets those that need no installation.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import fetch
from bench.servers import Missing, free_port

USER, PASSWORD = "doorbench", "door-bench-pass-1"


@dataclass(frozen=True)
class Peer:
    """A running server.

    Attributes:
        name: in the table.
        pid: of its first process.
        port: in the clear; TLS by AUTH there too.
        home: the directory of files.
        user: who logs in; password likewise.
        base: path of `home` as clients see it, without a slash at the end.
        tls: False if it is measured without TLS.
        curl: options that curl needs with it.
        forks: True if it has a process for each connection, which counts once it has ended.
    """

    name: str
    pid: int
    port: int
    home: Path
    user: str = USER
    password: str = PASSWORD
    base: str = ""
    tls: bool = True
    curl: tuple[str, ...] = ()
    forks: bool = False


Start = Callable[[Path, Path], contextlib.AbstractContextManager[Peer]]
"""Takes a directory of its own and a file with a certificate and its key."""


@contextlib.contextmanager
def process(argv: list[str], port: int, log: Path, **environment: str) -> Iterator[int]:
    """A server, until it takes connections, and then its process id."""
    with log.open("wb") as output:
        running = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                break
            except OSError:
                if running.poll() is not None or time.monotonic() > end:
                    text = log.read_text(errors="replace")[-300:]
                    raise Missing(f"nothing listens: {text}") from None
                time.sleep(0.02)
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _home(work: Path) -> tuple[int, Path]:
    home = work / "home"
    home.mkdir(parents=True)
    return free_port(), home


@contextlib.contextmanager
def _tidegate(work: Path, sections: dict[str, object], port: int) -> Iterator[tuple[int, Path]]:
    """The product with one account that may everything, judged by the gate as any other."""
    home = work / "files" / USER
    home.mkdir(parents=True)
    settings = {
        "sftpd": {"bindings": [{"port": free_port(), "address": "127.0.0.1"}]},
        "httpd": {"bindings": []},
        "common": {"max_per_host_connections": 0},
        **sections,
    }
    (work / "tidegate.json").write_text(json.dumps(settings))
    command = [sys.executable, "-c", "from tidegate.cli.main import main; main()"]
    subprocess.run([*command, "initprovider", "-c", str(work)], check=True, capture_output=True)
    add = ["user", "add", USER, "-c", str(work), "--home", str(home), "-g", "/:*", "-g", "/closed:list"]
    subprocess.run(
        [*command, *add, "--password-stdin"], input=PASSWORD, text=True, check=True, capture_output=True
    )
    with process([*command, "serve", "-c", str(work)], port, work / "out") as pid:
        yield pid, home


# -- FTP ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def tidegate_ftp(work: Path, pem: Path) -> Iterator[Peer]:
    port = free_port()
    binding = {"port": port, "address": "127.0.0.1", "plain_login": True}
    binding |= {"certificate_file": str(pem), "certificate_key_file": str(pem)}
    section = {"bindings": [binding], "passive_port_range": {"start": 0, "end": 0}}
    work.mkdir(parents=True)
    with _tidegate(work, {"ftpd": section}, port) as (pid, home):
        yield Peer("Tidegate", pid, port, home)


@contextlib.contextmanager
def vsftpd(work: Path, pem: Path) -> Iterator[Peer]:
    """Anonymous, below one directory: no account of the system is needed. TLS 1.2: over 1.3 it cuts uploads."""
    root = fetch.vsftpd()
    if root is None or os.geteuid() != 0:
        raise Missing("not fetched, or not run as root")
    port, top = _home(work)
    home = top / "t"
    for directory in (work / "empty", home):
        directory.mkdir()
    shutil.chown(home, "daemon")
    config = work / "vsftpd.conf"
    config.write_text(
        f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\n"
        f"anonymous_enable=YES\nlocal_enable=NO\nftp_username=daemon\nno_anon_password=YES\n"
        f"anon_root={top}\nanon_umask=022\nwrite_enable=YES\nanon_upload_enable=YES\n"
        "anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_world_readable_only=NO\n"
        f"ssl_enable=YES\nallow_anon_ssl=YES\nforce_local_data_ssl=NO\nforce_local_logins_ssl=NO\n"
        f"require_ssl_reuse=NO\nssl_ciphers=HIGH\nrsa_cert_file={pem}\n"
        f"secure_chroot_dir={work}/empty\nseccomp_sandbox=NO\nxferlog_enable=NO\nmax_per_ip=0\nmax_clients=0\n"
    )
    with process([str(root / "usr/sbin/vsftpd"), str(config)], port, work / "out") as pid:
        yield Peer("vsftpd", pid, port, home, "anonymous", "", "/t", curl=("--tls-max", "1.2"), forks=True)


@contextlib.contextmanager
def proftpd(work: Path, pem: Path) -> Iterator[Peer]:
    """TLS by mod_tls, which takes no session up: clients that do would be refused otherwise."""
    root = fetch.proftpd()
    if root is None:
        raise Missing("not fetched")
    port, home = _home(work)
    people = work / "people"
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True
    ).stdout.strip()
    people.write_text(f"{USER}:{hashed}:{os.geteuid()}:{os.getegid()}::{home}:/bin/sh\n")
    people.chmod(0o600)
    config = work / "proftpd.conf"
    config.write_text(
        f"ServerType standalone\nServerName bench\nDefaultAddress 127.0.0.1\nPort {port}\nUseIPv6 off\n"
        f"Umask 022\nAuthOrder mod_auth_file.c\nAuthUserFile {people}\nRootLogin on\nDefaultRoot ~\n"
        f"ModulePath {root}/usr/lib/proftpd\nPidFile {work}/pid\nScoreboardFile {work}/score\n"
        f"SystemLog {work}/log\nTransferLog none\nWtmpLog off\nAllowOverwrite on\nMaxInstances none\n"
        "DelayEngine off\nUseReverseDNS off\nRequireValidShell off\n"
        f"LoadModule mod_tls.c\nTLSEngine on\nTLSRequired off\nTLSRSACertificateFile {pem}\n"
        f"TLSRSACertificateKeyFile {pem}\nTLSOptions NoSessionReuseRequired\nTLSProtocol TLSv1.2 TLSv1.3\n"
    )
    libraries = ":".join(str(path) for path in (root / "usr/lib").glob("*-linux-*"))
    argv = [str(root / "usr/sbin/proftpd"), "-n", "-q", "-c", str(config)]
    with process(argv, port, work / "out", LD_LIBRARY_PATH=libraries) as pid:
        yield Peer("ProFTPD", pid, port, home, forks=True)


_PYFTPDLIB = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
port, home, user, password = sys.argv[1:]
authorizer = DummyAuthorizer()
authorizer.add_user(user, password, home, perm="elradfmwMT")
FTPHandler.authorizer = authorizer
server = FTPServer(("127.0.0.1", int(port)), FTPHandler)
server.max_cons = 5000
server.serve_forever()
"""


@contextlib.contextmanager
def pyftpdlib(work: Path, pem: Path) -> Iterator[Peer]:
    """Without TLS, which wants a library that is not among the tests' requirements."""
    del pem
    port, home = _home(work)
    argv = [sys.executable, "-c", _PYFTPDLIB, str(port), str(home), USER, PASSWORD]
    with process(argv, port, work / "out") as pid:
        yield Peer("pyftpdlib", pid, port, home, tls=False)


@contextlib.contextmanager
def rclone_ftp(work: Path, pem: Path) -> Iterator[Peer]:
    """Without TLS: with a certificate it speaks implicit TLS alone."""
    del pem
    port, home = _home(work)
    words = ["--addr", f"127.0.0.1:{port}", "--user", USER, "--pass", PASSWORD, "--dir-cache-time", "0s"]
    with process([_rclone(), "serve", "ftp", str(home), *words], port, work / "out") as pid:
        yield Peer("rclone", pid, port, home, tls=False)


@contextlib.contextmanager
def copyparty_ftp(work: Path, pem: Path) -> Iterator[Peer]:
    del pem
    port, home = _home(work)
    with _copyparty(work, home, free_port(), port) as pid:
        yield Peer("copyparty", pid, port, home, USER, PASSWORD, tls=False)


# -- WebDAV ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def tidegate_dav(work: Path, pem: Path) -> Iterator[Peer]:
    del pem
    port = free_port()
    work.mkdir(parents=True)
    section = {"bindings": [{"port": port, "address": "127.0.0.1", "plain_login": True}]}
    with _tidegate(work, {"webdavd": section}, port) as (pid, home):
        yield Peer("Tidegate", pid, port, home)


@contextlib.contextmanager
def wsgidav(work: Path, pem: Path) -> Iterator[Peer]:
    del pem
    port, home = _home(work)
    words = ["--host", "127.0.0.1", "--port", str(port), "--root", str(home), "--auth", "anonymous", "-q"]
    argv = [sys.executable, "-m", "wsgidav.server.server_cli", *words, "--no-config"]
    with process(argv, port, work / "out") as pid:
        yield Peer("wsgidav", pid, port, home)


@contextlib.contextmanager
def rclone_dav(work: Path, pem: Path) -> Iterator[Peer]:
    del pem
    port, home = _home(work)
    words = ["--addr", f"127.0.0.1:{port}", "--user", USER, "--pass", PASSWORD, "--dir-cache-time", "0s"]
    with process([_rclone(), "serve", "webdav", str(home), *words], port, work / "out") as pid:
        yield Peer("rclone", pid, port, home)


@contextlib.contextmanager
def copyparty_dav(work: Path, pem: Path) -> Iterator[Peer]:
    del pem
    port, home = _home(work)
    with _copyparty(work, home, port, 0) as pid:
        yield Peer("copyparty", pid, port, home)


@contextlib.contextmanager
def apache(work: Path, pem: Path) -> Iterator[Peer]:
    """mod_dav_fs with the event MPM, as www-data where this runs as root."""
    del pem
    root = fetch.apache()
    program = Path("/usr/sbin/apache2") if root is None else root / "usr/sbin/apache2"
    if not program.exists():
        raise Missing("not fetched")
    port, home = _home(work)
    modules = program.parents[1] / "lib/apache2/modules"
    lines = [
        f"LoadModule {name}_module {modules}/mod_{name}.so"
        for name in ("mpm_event", "authz_core", "dav", "dav_fs")
    ]
    lines += [
        f"ServerRoot {work}", f"Listen 127.0.0.1:{port}", "ServerName localhost", f"PidFile {work}/pid",
        f"ErrorLog {work}/error", f"DavLockDB {work}/locks", f"DocumentRoot {home}", "MaxKeepAliveRequests 0",
        f"<Directory {home}>\nDav On\nRequire all granted\n</Directory>",
    ]  # fmt: skip
    if os.geteuid() == 0:
        lines += ["User www-data", "Group www-data"]
        for path in (work, home):
            shutil.chown(path, "www-data", "www-data")
    (work / "apache.conf").write_text("\n".join(lines) + "\n")
    libraries = "" if root is None else ":".join(str(path) for path in (root / "usr/lib").glob("*-linux-*"))
    argv = [str(program), "-D", "FOREGROUND", "-f", str(work / "apache.conf")]
    with process(argv, port, work / "out", LD_LIBRARY_PATH=libraries) as pid:
        yield Peer("Apache mod_dav", pid, port, home)


# -- both --------------------------------------------------------------------------------------------------


def _rclone() -> str:
    found = fetch.rclone()
    if found is None:
        raise Missing("not fetched")
    return str(found)


@contextlib.contextmanager
def _copyparty(work: Path, home: Path, web: int, ftp: int) -> Iterator[int]:
    python = fetch.copyparty()
    if python is None:
        raise Missing("not fetched")
    words = [
        "-i",
        "127.0.0.1",
        "-p",
        str(web),
        "-a",
        f"{USER}:{PASSWORD}",
        "--usernames",
        "--http-only",
        "-q",
    ]
    words += ["-v", f"{home}::rwmda,{USER}", "--no-thumb", "--hist", str(work / "hist"), "--daw", "-j1"]
    if ftp:
        words += ["--ftp", str(ftp)]
    environment = {"XDG_CONFIG_HOME": str(work), "HOME": str(work)}
    with process([str(python), "-m", "copyparty", *words], ftp or web, work / "out", **environment) as pid:
        yield pid


FTP: dict[str, Start] = {
    "Tidegate": tidegate_ftp,
    "vsftpd": vsftpd,
    "ProFTPD": proftpd,
    "pyftpdlib": pyftpdlib,
    "rclone": rclone_ftp,
    "copyparty": copyparty_ftp,
}
DAV: dict[str, Start] = {
    "Tidegate": tidegate_dav,
    "Apache mod_dav": apache,
    "wsgidav": wsgidav,
    "rclone": rclone_dav,
    "copyparty": copyparty_dav,
}
