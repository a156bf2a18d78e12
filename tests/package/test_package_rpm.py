# SPDX-License-Identifier: Apache-2.0
"""The package for RPM, built of the spec by rpm's own programs, linted, and used in a minimal system.

The system is Debian's: no Fedora is to be had here. What Fedora's macros say is said by `MACROS`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.package.conftest import ROOT, TOOLS, Release, run
from tests.package.systems import STATE, System, serves

from tidegate import __version__

SPEC = ROOT / "deploy" / "rpm" / "tidegate.spec"
MINOR = f"3.{sys.version_info.minor}"
MACROS = {
    "__python3": str(TOOLS / "python"),
    "python3_version": MINOR,
    "_unitdir": "/usr/lib/systemd/system",
    "_sharedstatedir": "/var/lib",
    "_binary_payload": "w1.zstdio",
    "systemd_post()": ":",
    "systemd_preun()": ":",
    "systemd_postun_with_restart()": ":",
}
DEFINED = [word for name, value in MACROS.items() for word in ("--define", f"{name} {value}")]


@pytest.fixture(scope="module")
def package(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("rpm")
    sources = top / "SOURCES"
    sources.mkdir()
    (sources / release.sdist.name).symlink_to(release.sdist)
    files = sources / f"tidegate-{__version__}-files.tar.gz"
    run("tar", "-cf", files, "-I", "gzip -1", "-C", release.place, "wheels", "share")
    run("rpmbuild", "-bb", "--nodeps", "--define", f"_topdir {top}", *DEFINED, SPEC)
    (found,) = (top / "RPMS").rglob("*.rpm")
    return found


@pytest.mark.needs("rpmbuild", "rpm")
def test_it_says_what_it_is_and_what_it_needs(package: Path) -> None:
    told = run("rpm", "-qp", "--queryformat", "%{NAME} %{VERSION} %{LICENSE}\n", package)
    assert told == f"tidegate {__version__} Apache-2.0\n"
    needs = run("rpm", "-qp", "--requires", package).splitlines()
    assert f"python(abi) = {MINOR}" in needs
    # Libraries of the environment are its own matter; the first line of the command leads into it.
    assert not [line for line in needs if re.match(r"lib.*\.so|/usr/lib/tidegate", line)]
    provides = {line.split()[0] for line in run("rpm", "-qp", "--provides", package).splitlines()}
    assert provides == {"tidegate", "tidegate(x86-64)", "config(tidegate)"}
    assert run("rpm", "-qp", "--configfiles", package).split() == ["/etc/tidegate/tidegate.toml"]
    owners = run("rpm", "-qp", "--queryformat", "[%{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]", package)
    others = {line for line in owners.splitlines() if not line.startswith("root:root ")}
    assert others == {
        f"tidegate:tidegate /{STATE}", f"tidegate:tidegate /{STATE}/tidegate.toml",
        "root:tidegate /etc/tidegate", "root:tidegate /etc/tidegate/tidegate.toml",
    }  # fmt: skip


@pytest.mark.needs("rpmlint", "rpmbuild")
def test_rpmlint_finds_no_fault(package: Path) -> None:
    said = run("rpmlint", "-c", SPEC.parent / "rpmlint.toml", SPEC, package)
    assert re.search(r"\b0 errors, 0 warnings\b", said), said


@pytest.mark.needs("rpmbuild", "rpm", "debootstrap", "chroot", "unshare", "sftp", "ssh-keygen")
def test_it_is_installed_run_as_its_user_upgraded_and_removed(
    system: System, package: Path, tmp_path: Path
) -> None:
    root = system.place
    at = ("rpm", "--root", root, "--nodeps")  # that system's database knows no Python
    run(*at, "--install", package)
    home = serves(system, tmp_path)

    settings = root / "etc/tidegate/tidegate.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    run(*at, "--upgrade", "--replacepkgs", package)
    assert "# mine" in settings.read_text()

    run(*at, "--erase", "tidegate")
    assert not (root / "usr/bin/tidegate").is_symlink()
    assert not (root / "usr/lib/tidegate").exists()
    assert "# mine" in (root / "etc/tidegate/tidegate.toml.rpmsave").read_text()
    assert (root / STATE / "tidegate.db").exists()
    assert (home / "up").exists()
