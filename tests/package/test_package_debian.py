# SPDX-License-Identifier: Apache-2.0
"""The Debian package in a system of its own: installed, run as its user, removed, purged."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from tests.package.conftest import ROOT, TOOLS, Release, run
from tests.package.systems import STATE, System, serves

from tidegate import __version__


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
    home = serves(system, tmp_path)
    owner = (home / "up").stat().st_uid
    assert "tidegate" in (root / "usr/share/zsh/vendor-completions/_tidegate").read_text()

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


@pytest.mark.needs("dpkg-deb")
def test_the_package_says_which_python_it_is_for(package: Path) -> None:
    depends = run("dpkg-deb", "--field", package, "Depends")
    assert re.search(rf"\bpython3\.{sys.version_info.minor}\b", depends)
    assert run("dpkg-deb", "--field", package, "Version").strip() == f"{__version__}-1"
    listed = run("dpkg-deb", "--contents", package)
    assert not [line for line in listed.splitlines() if not re.match(r"\S+ root/root ", line)]
