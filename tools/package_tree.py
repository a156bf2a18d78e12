"""Lays out what a package of a system holds: `tools/package_tree.py TREE RELEASE`, for the running Python.

An environment under /usr/lib/tidegate made of the release's wheels, in the form that `venv` gives it (the
system's interpreter by a link, and `pyvenv.cfg`), the unit, the configuration, manual pages and completion.
RELEASE has the directories `wheels` and `share` of a release. The same input gives the same tree.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "s3,azure,gcs,geoip,dnsbl,otel"
MINOR = sys.version_info.minor
PYTHON = f"/usr/bin/python3.{MINOR}"
HOME = "usr/lib/tidegate"
SCRIPT = f"""#!/{HOME}/bin/python -I
import sys
from tidegate.cli.main import main
sys.exit(main())
"""
PAGE = ROOT / "docs" / "how_to" / "run-under-systemd.md"
SETTINGS = ROOT / "deploy" / "debian" / "tidegate.toml"


def environment(tree: Path, wheels: Path) -> None:
    """The libraries and the command."""
    home = tree / HOME
    libraries = home / "lib" / f"python3.{MINOR}" / "site-packages"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"),
            *("--no-compile", "--find-links", str(wheels), "--target", str(libraries), f"tidegate[{EXTRAS}]"),
        ],
        check=True,
    )
    shutil.rmtree(libraries / "bin", ignore_errors=True)
    for record in libraries.glob("*.dist-info/direct_url.json"):
        record.unlink()
    # Only root may write there: compiled now, for all starts, and not checked against the sources.
    subprocess.run(
        [
            *(sys.executable, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"),
            *("-s", str(tree), "-p", "/", str(libraries)),
        ],
        check=True,
    )
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.{MINOR}\n", encoding="utf-8"
    )
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to(PYTHON)
    (home / "bin" / "tidegate").write_text(SCRIPT, encoding="utf-8")
    (home / "bin" / "tidegate").chmod(0o755)
    (tree / "usr" / "bin").mkdir()
    (tree / "usr" / "bin" / "tidegate").symlink_to(f"../../{HOME}/bin/tidegate")


def unit() -> str:
    """The unit of the guide, with the command where this package has it."""
    text = re.findall(r"```ini\n(\[Unit\]\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert "/opt/tidegate/bin/tidegate" in text
    return text.replace("/opt/tidegate/bin/tidegate", "/usr/bin/tidegate")


def system_files(tree: Path, share: Path, units: str) -> None:
    """Unit, configuration, manual pages and completion.

    Args:
        tree: the root of the package.
        share: of the release.
        units: directory of systemd's units, without a slash in front.
    """
    shutil.copytree(share, tree / "usr" / "share", dirs_exist_ok=True)
    for place, text in (
        (f"{units}/tidegate.service", unit()),
        ("etc/tidegate/tidegate.toml", SETTINGS.read_text(encoding="utf-8")),
    ):
        (tree / place).parent.mkdir(parents=True)
        (tree / place).write_text(text, encoding="utf-8")


def modes(tree: Path, programs: tuple[str, ...] = ()) -> None:
    """The same modes whatever the umask is.

    Args:
        tree: the root of the package.
        programs: names of more files that are run.
    """
    for path in tree.rglob("*"):
        if path.is_symlink():
            continue
        program = path.is_dir() or path.name in programs or path.parent.name == "bin"
        path.chmod(0o755 if program else 0o644)
    tree.chmod(0o755)


def main(tree: Path, release: Path) -> None:
    """The whole tree, for a package whose units are in /usr/lib/systemd/system."""
    environment(tree, release / "wheels")
    system_files(tree, release / "share", "usr/lib/systemd/system")
    modes(tree)
    (tree / "etc" / "tidegate").chmod(0o750)
    (tree / "etc" / "tidegate" / "tidegate.toml").chmod(0o640)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
