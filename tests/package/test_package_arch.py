# SPDX-License-Identifier: Apache-2.0
"""The package for Arch, built of the recipe by makepkg, and used by pacman in a minimal system.

The system is Debian's: no Arch is to be had here. What pacman's hooks of systemd do is done by the same programs.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.package.conftest import ROOT, TOOLS, Release, run, without_network
from tests.package.systems import STATE, System, serves

from tidegate import __version__

RECIPE = ROOT / "deploy" / "arch" / "PKGBUILD"
NOT_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""makepkg refuses root; in a namespace of its own the same rights bear another number."""


@pytest.fixture(scope="module")
def package(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("arch")
    shutil.copy(RECIPE, place)
    shutil.copy(release.sdist, place)
    files = place / f"tidegate-{__version__}-files.tar.gz"
    run("tar", "-cf", files, "-I", "gzip -1", "-C", release.place, "wheels", "share")
    (place / "bin").mkdir()
    (place / "bin" / "python").write_text(f'#!/bin/sh\nexec {TOOLS / "python"} "$@"\n')
    (place / "bin" / "python").chmod(0o755)
    environment = without_network(PATH=f"{place / 'bin'}:/usr/bin:/bin", PKGEXT=".pkg.tar")
    run(*NOT_ROOT, "makepkg", "--nodeps", cwd=place, env=environment)
    (found,) = place.glob("*.pkg.tar")
    return found


@pytest.fixture
def pacman(system: System, tmp_path: Path) -> tuple[str | Path, ...]:
    """Words that begin a command on the packages of that system."""
    root, settings = system.place, tmp_path / "pacman.conf"
    settings.write_text("[options]\nArchitecture = auto\nSigLevel = Never\nLocalFileSigLevel = Never\n")
    (root / "var/lib/pacman").mkdir(parents=True, exist_ok=True)
    return (
        *("pacman", "--root", root, "--dbpath", root / "var/lib/pacman", "--config", settings),
        *("--cachedir", tmp_path, "--hookdir", tmp_path, "--logfile", tmp_path / "log", "--noconfirm"),
    )


@pytest.mark.needs("makepkg", "fakeroot", "pacman")
def test_it_says_what_it_is_and_what_it_needs(package: Path) -> None:
    told = run("tar", "-xOf", package, ".PKGINFO").splitlines()
    minor = sys.version_info.minor
    for line in (
        f"pkgver = {__version__}-1", "license = Apache-2.0", "backup = etc/tidegate/tidegate.toml",
        f"depend = python>=3.{minor}", f"depend = python<3.{minor + 1}",
    ):  # fmt: skip
        assert line in told
    listed = run("tar", "--numeric-owner", "-tvf", package).splitlines()
    assert not [line for line in listed if line.split()[1] != "0/0"]
    assert os.fspath(ROOT) not in "\n".join(listed)


@pytest.mark.needs(
    *("makepkg", "fakeroot", "pacman", "systemd-sysusers", "systemd-tmpfiles"),
    *("debootstrap", "chroot", "unshare", "sftp", "ssh-keygen"),
)
def test_it_is_installed_run_as_its_user_upgraded_and_removed(
    system: System, package: Path, pacman: tuple[str | Path, ...], tmp_path: Path
) -> None:
    root = system.place

    def install() -> None:
        run(*pacman, "--upgrade", "--nodeps", "--nodeps", package)
        run("systemd-sysusers", f"--root={root}", "tidegate.conf")
        run("systemd-tmpfiles", f"--root={root}", "--create", "tidegate.conf")

    install()
    home = serves(system, tmp_path)
    assert (root / "usr/share/licenses/tidegate/LICENSE").exists()

    settings = root / "etc/tidegate/tidegate.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    install()
    assert "# mine" in settings.read_text()
    assert settings.stat().st_mode & 0o777 == 0o640

    run(*pacman, "--remove", "tidegate")
    assert not (root / "usr/bin/tidegate").is_symlink()
    assert not (root / "usr/lib/tidegate").exists()
    assert "# mine" in (root / "etc/tidegate/tidegate.toml.pacsave").read_text()
    assert (root / STATE / "tidegate.db").exists()
    assert (home / "up").exists()
