"""The clients that drive a measurement: OpenSSH's own, because people have it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.servers import Server


def options(server: Server, cipher: str = "") -> list[str]:
    """Options of OpenSSH's programs; behind the cipher may stand a blank and a MAC."""
    cipher, _, mac = (cipher or server.cipher).partition(" ")
    return [
        "-o", f"Port={server.port}", "-o", f"IdentityFile={server.key}", "-o", "IdentitiesOnly=yes",
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
        "-o", f"Ciphers={cipher}", "-o", "Compression=no", "-o", "PreferredAuthentications=publickey",
        "-o", f"MACs={mac or 'hmac-sha2-256-etm@openssh.com'}", "-F", "/dev/null",
    ]  # fmt: skip


def sftp_process(
    server: Server, batch: str, *, cipher: str = "", prefix: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*prefix, "sftp", "-q", *options(server, cipher), "-b", "-", f"{server.user}@{server.address}"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(batch.encode() + b"\n")
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[bytes], seconds: float = 600.0) -> None:
    _, error = process.communicate(timeout=seconds)
    if process.returncode:
        raise RuntimeError(f"client failed: {error.decode(errors='replace').strip()[-400:]}")


def sftp(server: Server, batch: str, **keywords: object) -> None:
    finish(sftp_process(server, batch, **keywords))  # type: ignore[arg-type]


def scp(server: Server, source: str, target: str, *, recursive: bool = False) -> None:
    """The protocol of the `scp` program of old; the server's name for a file begins with a colon."""
    there = f"{server.user}@{server.address}"
    words = [there + word if word.startswith(":") else word for word in (source, target)]
    finish(
        subprocess.Popen(
            ["scp", "-O", "-q", *(["-r"] if recursive else []), *options(server), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
    )  # fmt: skip


def make_key(folder: Path) -> Path:
    key = folder / "client_key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key
