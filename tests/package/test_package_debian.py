# SPDX-License-Identifier: Apache-2.0
"""The Debian package in a system of its own: installed, run as its user, removed, purged."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.package.conftest import ROOT, TOOLS, Release, run, without_network
from tests.support.needs import absent
from tests.support.ports import free_port

from tidegate import __version__

SUITE = "bookworm"
START_SECONDS = 120
STATE = Path("var/lib/tidegate")


class System:
    """A minimal Debian in a directory; programs see its /proc in a mount namespace that ends with them."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def words(self, *words: str | Path, user: str = "root") -> list[str]:
        inside = ["chroot", f"--userspec={user}:{user}", str(self.place), *map(str, words)]
        return [
            "unshare",
            "--mount",
            "sh",
            "-c",
            f'mount -t proc proc {self.place}/proc && exec "$@"',
            "sh",
            *inside,
        ]

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


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if os.geteuid() != 0:
        absent("root")
    kept = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tidegate-tests" / f"debian-{SUITE}"
    )
    if not (kept / "usr" / "bin" / "python3").exists():
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        run("debootstrap", "--variant=minbase", "--include=python3,adduser", SUITE, kept, mirror())
    place = tmp_path_factory.mktemp("system") / "root"
    run("cp", "-a", "--reflink=auto", kept, place)
    yield System(place)
    shutil.rmtree(place)


@pytest.fixture
def package(release: Release) -> Path:
    (found,) = release.place.glob("tidegate_*.deb")
    return found


@pytest.mark.needs("dpkg-deb")
def test_it_is_the_same_when_it_is_built_again(release: Release, package: Path, tmp_path: Path) -> None:
    again = tmp_path / "dist"
    again.mkdir()
    for name in ("wheels", "share", "tidegate.cdx.json", release.wheel.name):
        (again / name).symlink_to(release.place / name)
    run(TOOLS / "python", ROOT / "tools" / "debian_package.py", again)
    assert (again / package.name).read_bytes() == package.read_bytes()


@pytest.mark.needs("debootstrap", "chroot", "unshare", "sftp", "ssh-keygen")
def test_it_is_installed_run_as_its_user_removed_and_purged(
    system: System, package: Path, tmp_path: Path
) -> None:
    root = system.place
    shutil.copy(package, root / "tidegate.deb")
    system.run("dpkg", "--install", "/tidegate.deb")
    assert system.run("tidegate", "version").startswith(f"Tidegate {__version__}, commit ")
    assert (root / "usr/share/man/man1/tidegate-user-add.1.gz").exists()
    assert "tidegate" in (root / "usr/share/bash-completion/completions/tidegate").read_text()
    assert (root / STATE).stat().st_mode & 0o777 == 0o700
    assert (root / "etc/tidegate/tidegate.toml").stat().st_mode & 0o777 == 0o640
    unit = (
        root / "lib/systemd/system/tidegate.service"
    ).read_text()  # the guide's, which another test verifies
    assert f"ExecStart=/usr/bin/tidegate serve --config-dir /{STATE} " in unit

    tidegate = ("tidegate", "-c", f"/{STATE}")
    command, *place = tidegate
    system.run(command, "check", *place, user="tidegate")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    shutil.copy(tmp_path / "key.pub", root / "key.pub")
    (root / "key.pub").chmod(0o644)
    system.run(
        command, "user", "add", "ada", *place, "--create", "-g", "/:*", "-k", "/key.pub", user="tidegate"
    )
    transfer(system, tmp_path)
    home = root / "srv/sftp/ada"
    assert (home / "up").read_bytes() == (tmp_path / "up").read_bytes()
    owner = int(system.run("id", "-u", "tidegate"))
    assert (home / "up").stat().st_uid == owner != 0

    (root / "etc/tidegate/tidegate.toml").write_text(
        (root / "etc/tidegate/tidegate.toml").read_text() + "# mine\n"
    )
    system.run("dpkg", "--install", "/tidegate.deb")  # over itself, as an upgrade does
    assert "# mine" in (root / "etc/tidegate/tidegate.toml").read_text()

    system.run("dpkg", "--remove", "tidegate")
    assert not (root / "usr/bin/tidegate").is_symlink()
    assert not (root / "usr/lib/tidegate").exists()
    assert (root / STATE / "tidegate.db").exists()
    assert (root / "etc/tidegate/tidegate.toml").exists()

    system.run("dpkg", "--purge", "tidegate")
    assert not (root / STATE).exists()
    assert not (root / "etc/tidegate").exists()
    assert (home / "up").stat().st_uid == owner
    assert int(system.run("id", "-u", "tidegate")) == owner  # else somebody new would get the files

    system.run("dpkg", "--install", "/tidegate.deb")
    shutil.rmtree(home)
    system.run("dpkg", "--purge", "tidegate")
    assert "tidegate" not in (root / "etc/passwd").read_text()


def transfer(system: System, tmp_path: Path) -> None:
    """The server of the package, as its user, and a file up and down by OpenSSH's client."""
    port = free_port()
    environment = system.environment(
        TIDEGATE_SFTPD__BINDINGS__0__PORT=str(port),
        TIDEGATE_SFTPD__BINDINGS__0__ADDRESS="127.0.0.1",
        TIDEGATE_HTTPD__BINDINGS="[]",
    )
    words = system.words("tidegate", "serve", "-c", f"/{STATE}", "-l", "-", user="tidegate")
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


@pytest.mark.needs("dpkg-deb")
def test_the_package_says_which_python_it_is_for(package: Path) -> None:
    depends = run("dpkg-deb", "--field", package, "Depends")
    assert re.search(rf"\bpython3\.{sys.version_info.minor}\b", depends)
    assert run("dpkg-deb", "--field", package, "Version").strip() == f"{__version__}-1"
    listed = run("dpkg-deb", "--contents", package)
    assert not [line for line in listed.splitlines() if not re.match(r"\S+ root/root ", line)]


@pytest.mark.needs("rpmspec")
def test_the_spec_for_rpm_is_read() -> None:
    shown = run("rpmspec", "--parse", ROOT / "deploy" / "rpm" / "tidegate.spec")
    assert f"Version:        {__version__}" in shown
