# SPDX-License-Identifier: Apache-2.0
"""A minimal Debian in a directory, and what every package of a system has to do in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import threading
from pathlib import Path

from tests.package.conftest import run, without_network
from tests.support.needs import absent
from tests.support.ports import free_port

from tidegate import __version__

SUITE = "bookworm"
START_SECONDS = 120
STATE = Path("var/lib/tidegate")


class System:
    """A minimal Debian in a directory; programs see its /proc in a mount namespace that ends with them.

    Args:
        place: the directory.
        read_only: its root cannot be written, save for these directories.
        network: False gives each program a network of its own, with nothing but 127.0.0.1.
    """

    def __init__(
        self, place: Path, read_only: tuple[str, ...] | None = None, *, network: bool = True
    ) -> None:
        self.place = place
        self._read_only = read_only
        self._network = network

    def words(self, *words: str | Path, user: str = "root") -> list[str]:
        inside = ["chroot", f"--userspec={user}:{user}", str(self.place), *map(str, words)]
        mounts = [f"mount -t proc proc {self.place}/proc"]
        if self._read_only is not None:
            mounts = [f"mount --bind {self.place} {self.place}", *mounts]
            mounts += [f"mount --bind {self.place}{name} {self.place}{name}" for name in self._read_only]
            mounts += [f"mount -o remount,bind,ro {self.place}"]
        namespaces = ["--mount"]
        if not self._network:
            namespaces, mounts = ["--mount", "--net"], ["ip link set lo up", *mounts]
        return ["unshare", *namespaces, "sh", "-c", f'{" && ".join(mounts)} && exec "$@"', "sh", *inside]

    def run(self, *words: str | Path, user: str = "root", **extra: str) -> str:
        return run(*self.words(*words, user=user), env=self.environment(**extra))

    @staticmethod
    def environment(**extra: str) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            **extra,
        }


def mirror() -> str:
    """The mirror that this machine takes the packages of the suite from."""
    words = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages")
    found = [line.split()[0] for line in run(*words).splitlines() if line.split()[1:] == [SUITE]]
    return found[0] if found else absent(f"packages of {SUITE}")


def copied(place: Path) -> System:
    """A new system, from one that is kept between runs; needs root."""
    if os.geteuid() != 0:
        absent("root")
    kept = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tidegate-tests" / f"debian-{SUITE}"
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    # Several workers need it; one makes it, and it has its name once it is whole.
    with open(kept.with_name(f"{kept.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "usr" / "bin" / "python3").exists():
            making = kept.with_name(f"{kept.name}.part")
            for left in (kept, making):
                shutil.rmtree(left, ignore_errors=True)
            run("debootstrap", "--variant=minbase", "--include=python3,adduser", SUITE, making, mirror())
            making.rename(kept)
    run("cp", "-a", "--reflink=auto", kept, place)
    return System(place)


def serves(system: System, tmp_path: Path) -> Path:
    """Look at an installed package, and move files of an account as its own user; returns the account's home."""
    root = system.place
    assert system.run("tidegate", "version").startswith(f"Tidegate {__version__}, commit ")
    assert "tidegate" in (root / "usr/share/bash-completion/completions/tidegate").read_text()
    assert "tidegate" in (root / "usr/share/fish/vendor_completions.d/tidegate.fish").read_text()
    (page,) = (root / "usr/share/man/man1").glob("tidegate-user-add.1*")
    assert page.stat().st_size
    assert (root / STATE).stat().st_mode & 0o777 == 0o700
    assert (root / "etc/tidegate/tidegate.toml").stat().st_mode & 0o777 == 0o640
    assert (root / "etc/tidegate").stat().st_mode & 0o777 == 0o750
    # Of the guide; another test verifies it.
    unit = (root / "lib/systemd/system/tidegate.service").read_text()
    assert f"ExecStart=/usr/bin/tidegate serve --config-dir /{STATE} " in unit
    system.run("tidegate", "check", "-c", f"/{STATE}", user="tidegate")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    shutil.copy(tmp_path / "key.pub", root / "key.pub")
    (root / "key.pub").chmod(0o644)
    add = ("tidegate", "user", "add", "ada", "-c", f"/{STATE}", "--create", "-g", "/:*", "-k", "/key.pub")
    system.run(*add, user="tidegate")
    serve = ("tidegate", "serve", "-c", f"/{STATE}", "-l", "-")
    transfer(system, serve, tmp_path, TIDEGATE_HTTPD__BINDINGS="[]")
    home = root / "srv/sftp/ada"
    assert (home / "up").read_bytes() == (tmp_path / "up").read_bytes()
    owner = int(system.run("id", "-u", "tidegate"))
    assert (home / "up").stat().st_uid == owner != 0
    return home


def transfer(system: System, serve: tuple[str, ...], tmp_path: Path, **settings: str) -> None:
    """The server as its user, and a file of `ada` up and down by OpenSSH's client."""
    port = free_port()
    environment = system.environment(
        TIDEGATE_SFTPD__BINDINGS__0__PORT=str(port),
        TIDEGATE_SFTPD__BINDINGS__0__ADDRESS="127.0.0.1",
        **settings,
    )
    words = system.words(*serve, user="tidegate")
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        guard = threading.Timer(START_SECONDS, server.kill)
        guard.start()
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == f"tidegate: SSH on port {port}\n"
            (tmp_path / "up").write_bytes(os.urandom(200_000))
            (tmp_path / "batch").write_text(f"put {tmp_path}/up up\nget up {tmp_path}/down\n")
            run(
                *("sftp", "-P", str(port), "-i", tmp_path / "key", "-o", "StrictHostKeyChecking=no"),
                *("-o", f"UserKnownHostsFile={tmp_path}/hosts", "-b", tmp_path / "batch", "ada@127.0.0.1"),
                env=without_network(),
            )
        finally:
            guard.cancel()
            server.terminate()
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
