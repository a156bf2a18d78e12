"""Builds the Debian package from a release: `tools/debian_package.py DIST`, with the Python minor it is for.

What it holds is laid out by `package_tree`. Two builds of a release are equal byte for byte.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from package_tree import MINOR, PYTHON, ROOT, environment, modes
from package_tree import system_files as common_files

SCRIPTS = ("postinst", "prerm", "postrm")


def possible() -> bool:
    """True where the tools are, and Debian's interpreter is of the minor version that runs this."""
    return shutil.which("dpkg-deb") is not None and Path(PYTHON).exists()


def system_files(tree: Path, dist: Path, version: str) -> None:
    """Unit, configuration, manual pages, completion and papers, where Debian has them."""
    common_files(tree, dist / "share", "lib/systemd/system")
    (tree / "usr/share/zsh/vendor-completions").mkdir(parents=True)
    shutil.move(tree / "usr/share/zsh/site-functions/_tidegate", tree / "usr/share/zsh/vendor-completions")
    (tree / "usr/share/zsh/site-functions").rmdir()
    for page in (tree / "usr" / "share" / "man" / "man1").iterdir():
        pack(page)
    papers = tree / "usr" / "share" / "doc" / "tidegate"
    papers.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "debian" / "copyright", papers)
    shutil.copy(dist / "tidegate.cdx.json", papers)
    shutil.copy(ROOT / "CHANGELOG.md", papers / "changelog")
    pack(papers / "changelog")
    lines = f"tidegate ({version}-1) stable; urgency=medium\n\n  * See changelog.gz.\n\n"
    (papers / "changelog.Debian").write_text(
        f"{lines} -- Tidegate maintainers <maintainers@tidegate.invalid>  Mon, 30 Nov 2026 00:00:00 +0000\n",
        encoding="utf-8",
    )
    pack(papers / "changelog.Debian")


def pack(path: Path) -> None:
    """Compress a file as Debian asks for, without name and time."""
    with open(f"{path}.gz", "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(path.read_bytes())
    path.unlink()


def control(tree: Path, version: str) -> None:
    """The package's own description and scripts."""
    source, target = ROOT / "deploy" / "debian", tree / "DEBIAN"
    size = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    target.mkdir()
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    text = (source / "control").read_text(encoding="utf-8")
    for name, value in (
        ("VERSION", version), ("ARCHITECTURE", architecture), ("MINOR", MINOR), ("SIZE", size),
    ):  # fmt: skip
        text = text.replace(f"@{name}@", str(value))
    (target / "control").write_text(text, encoding="utf-8")
    shutil.copy(source / "conffiles", target)
    for name in SCRIPTS:
        shutil.copy(source / name, target)


def make(dist: Path) -> Path:
    """Build the package of a release into its directory."""
    (wheel,) = dist.glob("tidegate-*.whl")
    version = wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory(prefix="tidegate-deb-") as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        environment(tree, dist / "wheels")
        system_files(tree, dist, version)
        control(tree, version)
        modes(tree, SCRIPTS)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", str(tree), str(dist)],
            check=True, stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch(wheel))},
        )  # fmt: skip
    return next(dist.glob("tidegate_*.deb"))


def epoch(wheel: Path) -> int:
    """The time of the commit, as the wheel's stamp tells it."""
    import zipfile
    from datetime import UTC, datetime

    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("tidegate/built.py").decode()
    date = re.findall(r'^DATE: Final = "(.+)"$', text, re.MULTILINE)[0]
    return int(datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


if __name__ == "__main__":
    print(make(Path(sys.argv[1]).resolve()))
