"""The servers that are compared. Each serves one directory to one user with one key, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

from bench import fetch

HERE = Path(__file__).parent
ALGORITHMS = (
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes128-ctr"
)


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def wait_port(address: str, port: int, process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"server ended with {process.returncode}: {process.args}")
        try:
            with socket.create_connection((address, port), 0.5) as probe:
                probe.recv(4)
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {address}:{port}")


class Missing(Exception):
    """A server, or what a row needs of it, is not there; the text says what."""


class Server:
    """A server under measurement."""

    name = ""
    cipher = "aes128-gcm@openssh.com"
    """The cipher that clients are told to choose where a row does not say."""

    def __init__(self, work: Path, files: Path, key: Path, address: str = "127.0.0.1") -> None:
        self.work = work / self.name.replace(" ", "-")
        self.work.mkdir(parents=True, exist_ok=True)
        self.files, self.key, self.address = files, key, address
        self.user = "root" if os.geteuid() == 0 else os.environ.get("USER", "bench")
        self.port = free_port(address)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def remote(self, path: str) -> str:
        """The client's name for a file of the served directory."""
        return f"{self.files}/{path}"

    def version(self) -> str:
        raise NotImplementedError

    def start(self) -> None:
        log = (self.work / "log").open("wb")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()
        wait_port(self.address, self.port, self.process)

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class OpenSSH(Server):
    name = "OpenSSH"

    def command(self) -> list[str]:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        host_key = self.work / "host"
        if not host_key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
        config = self.work / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress {self.address}\nHostKey {host_key}\nPidFile none\n"
            f"AuthorizedKeysFile {self.key}.pub\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
            f"Subsystem sftp internal-sftp\nLogLevel ERROR\nMaxStartups 2000\nMaxSessions 1000\nCiphers {ALGORITHMS}\n"
        )
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        return [sshd, "-D", "-e", "-f", str(config)]

    def version(self) -> str:
        return subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.strip()


class Tidegate(Server):
    name = "Tidegate"
    settings: ClassVar[dict[str, str]] = {}

    def command(self) -> list[str]:
        program = str(Path(sys.executable).with_name("tidegate"))
        environment = {
            "TIDEGATE_SFTPD__BINDINGS__0__PORT": str(self.port),
            "TIDEGATE_SFTPD__BINDINGS__0__ADDRESS": self.address,
            "TIDEGATE_HTTPD__BINDINGS__0__PORT": os.environ.get("TIDEGATE_HTTPD__BINDINGS__0__PORT", "0"),
            "TIDEGATE_COMMON__MAX_PER_HOST_CONNECTIONS": "0",
            **self.settings,
        }
        os.environ.update(environment)
        if not (self.work / "tidegate.db").exists():
            subprocess.run(
                [program, "initprovider", "-c", str(self.work)], check=True, stdout=subprocess.DEVNULL
            )
            # Policy is on: permissions in two directories, a quota and a bandwidth limit too high to bite.
            subprocess.run(
                [
                    program, "user", "add", self.user, "-c", str(self.work), "--home", str(self.files),
                    "--permission", "/:*", "--permission", "/never:list", "--public-key", f"{self.key}.pub",
                    "--quota-size", str(1 << 50), "--quota-files", "100000000",
                    "--upload-bandwidth", str(1 << 32), "--download-bandwidth", str(1 << 32),
                ],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        return [program, "serve", "-c", str(self.work), "--log-level", "info"]

    def remote(self, path: str) -> str:
        return f"/{path}"

    def version(self) -> str:
        import tidegate

        return tidegate.__version__


class TidegatePlain(Tidegate):
    name = "Tidegate, lane off"
    settings: ClassVar[dict[str, str]] = {"TIDEGATE_SFTPD__FAST_LANE": "false"}


class Script(Server):
    """A server in a few lines of Python, from `bench/peers/`."""

    script = ""

    def command(self) -> list[str]:
        return [
            sys.executable, str(HERE / "peers" / self.script), self.address, str(self.port), str(self.files), f"{self.key}.pub",
        ]  # fmt: skip

    def remote(self, path: str) -> str:
        return f"/{path}"


class AsyncsshServer(Script):
    name = "asyncssh"
    script = "asyncssh_server.py"

    def version(self) -> str:
        import asyncssh

        return asyncssh.__version__


class ParamikoServer(Script):
    name = "paramiko"
    script = "paramiko_server.py"

    def version(self) -> str:
        import paramiko

        return paramiko.__version__


class Rclone(Server):
    """The Go stack: x/crypto/ssh and pkg/sftp, which SFTPGo stands on too."""

    name = "rclone"

    def command(self) -> list[str]:
        program = fetch.rclone()
        if program is None:
            raise Missing("rclone is not there (python -m bench.fetch)")
        host_key = self.work / "host"
        if not host_key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
        return [
            str(program), "serve", "sftp", str(self.files), "--config", "", "--addr", f"{self.address}:{self.port}",
            "--key", str(host_key), "--authorized-keys", f"{self.key}.pub",
        ]  # fmt: skip

    def remote(self, path: str) -> str:
        return f"/{path}"

    def version(self) -> str:
        return _first_line([str(fetch.rclone()), "version"])


class ProFTPD(Server):
    """mod_sftp, which several commercial gateways stand on. It has AES in counter mode, and no AEAD cipher."""

    name = "ProFTPD"
    cipher = "aes128-ctr"

    def command(self) -> list[str]:
        root = fetch.proftpd()
        if root is None:
            raise Missing("ProFTPD is not there (python -m bench.fetch)")
        host_key, keys, people = self.work / "host", self.work / "keys", self.work / "people"
        if not host_key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
        with keys.open("wb") as stream:  # mod_sftp reads the form of RFC 4716
            subprocess.run(["ssh-keygen", "-e", "-f", f"{self.key}.pub"], stdout=stream, check=True)
        people.write_text(f"{self.user}:x:{os.geteuid()}:{os.getegid()}::{self.files}:/bin/sh\n")
        people.chmod(0o600)
        config = self.work / "proftpd.conf"
        both = (
            f"AuthUserFile {people}\nRootLogin on\nRequireValidShell off\nAllowOverwrite on\nDefaultRoot ~\n"
        )
        config.write_text(
            f"ServerType standalone\nServerName bench\nPort 0\nDefaultAddress {self.address}\nUser {self.user}\n"
            f"PidFile {self.work}/pid\nScoreboardFile {self.work}/score\nSystemLog {self.work}/system.log\n"
            "DelayEngine off\nUseIPv6 off\nUseReverseDNS off\nWtmpLog off\nTransferLog none\nMaxInstances none\n"
            f"ModulePath {root}/usr/lib/proftpd\nLoadModule mod_sftp.c\nAuthOrder mod_auth_file.c\n{both}"
            f"<VirtualHost {self.address}>\nPort {self.port}\nSFTPEngine on\nSFTPHostKey {host_key}\n"
            f"SFTPAuthorizedUserKeys file:{keys}\n{both}</VirtualHost>\n"
        )
        return [*self._program(root), "-n", "-q", "-c", str(config)]

    @staticmethod
    def _program(root: Path) -> list[str]:
        libraries = ":".join(str(path) for path in (root / "usr/lib").glob("*-linux-*"))
        return ["env", f"LD_LIBRARY_PATH={libraries}", str(root / "usr/sbin/proftpd")]

    def remote(self, path: str) -> str:
        return f"/{path}"

    def version(self) -> str:
        root = fetch.proftpd()
        assert root
        return _first_line([*self._program(root), "-v"])


def _first_line(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
