# SPDX-License-Identifier: Apache-2.0
"""Stamps a build with its commit, and makes two builds of a commit equal byte for byte.

Everything else stands in `pyproject.toml`. Without git, or outside a clone (an unpacked sdist), the stamp
that is there stays. `sbom.cdx.json` beside this file, if there is one, goes into the wheel (PEP 770).
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT: Final = Path(__file__).resolve().parent
STAMP: Final = Path("tidegate") / "built.py"
SBOM: Final = "sbom.cdx.json"
FORM: Final = "%Y-%m-%dT%H:%M:%SZ"


def git(*words: str) -> str:
    """What git answers; empty if there is none, or this is no clone of its own."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def stamp() -> tuple[str, str]:
    """Commit and date of the clone that is built, or of the sdist; empty if nobody knows."""
    top = git("rev-parse", "--show-toplevel")
    if top and Path(top).resolve() == ROOT:
        commit, seconds = git("log", "-1", "--format=%H %ct").split()
        changed = git("status", "--porcelain", "--untracked-files=no")
        date = datetime.fromtimestamp(int(seconds), UTC).strftime(FORM)
        return f"{commit}-changed" if changed else commit, date
    text = (ROOT / "src" / STAMP).read_text(encoding="utf-8")
    return field(text, "COMMIT"), field(text, "DATE")


def field(text: str, name: str) -> str:
    """The value of a constant of the stamp."""
    found = re.search(rf'^{name}: Final = "([^"\n]*)"$', text, re.MULTILINE)
    assert found is not None, f"{STAMP} has no {name}"
    return found[1]


def write_stamp(path: Path) -> None:
    """Put commit and date into a copy of the stamp."""
    text = path.read_text(encoding="utf-8")
    for name, value in (("COMMIT", COMMIT), ("DATE", DATE)):
        text = re.sub(rf'^{name}: Final = "[^"\n]*"$', f'{name}: Final = "{value}"', text, flags=re.MULTILINE)
    path.unlink()  # it may be a hard link to the source
    path.write_text(text, encoding="utf-8")


class StampedModules(build_py):
    """Modules as they are installed."""

    def run(self) -> None:
        """Copy them with the same modes everywhere, and stamp the copy."""
        super().run()
        if self.editable_mode:
            return
        for name in self.get_outputs():
            Path(name).chmod(0o644)
        write_stamp(Path(self.build_lib) / STAMP)


class EqualSdist(sdist):
    """A source archive whose bytes depend on the commit alone."""

    def make_release_tree(self, base_dir: str, files: Any) -> None:
        """Stamp the copy of the sources."""
        super().make_release_tree(base_dir, files)
        write_stamp(Path(base_dir) / "src" / STAMP)

    def make_archive(self, base_name: str, *_: Any, base_dir: str, **__: Any) -> str:
        """Write entries in order, without owners, with the time of the commit."""
        target = f"{base_name}.tar.gz"
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        epoch = int(os.environ["SOURCE_DATE_EPOCH"])
        with (
            open(target, "wb") as raw,
            gzip.GzipFile("", "wb", 9, raw, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(found for found in Path(base_dir).rglob("*") if found.is_file()):
                entry = archive.gettarinfo(str(path))
                entry.mode = 0o755 if entry.mode & 0o100 else 0o644
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                entry.mtime = epoch
                entry.type = tarfile.REGTYPE
                with path.open("rb") as content:
                    archive.addfile(entry, content)
        return target


class DescribedWheel(bdist_wheel):
    """A wheel with its list of components."""

    def egg2dist(self, egginfo_path: str, distinfo_path: str) -> None:
        """Add the list as PEP 770 says, if one was made."""
        super().egg2dist(egginfo_path, distinfo_path)
        if (ROOT / SBOM).exists():
            place = Path(distinfo_path) / "sboms"
            place.mkdir()
            (place / "tidegate.cdx.json").write_bytes((ROOT / SBOM).read_bytes())


COMMIT, DATE = stamp()
if "SOURCE_DATE_EPOCH" not in os.environ:
    moment = datetime.strptime(DATE, FORM).replace(tzinfo=UTC) if DATE else datetime(2026, 1, 1, tzinfo=UTC)
    os.environ["SOURCE_DATE_EPOCH"] = str(int(moment.timestamp()))
os.umask(0o022)
setup(cmdclass={"build_py": StampedModules, "sdist": EqualSdist, "bdist_wheel": DescribedWheel})
