"""Builds a release from a clean clone into dist/ and checks it; `make release` runs it in .venv-release.

Everything is built twice from two clones, and has to be equal byte for byte.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import debian_package
import one_file
from requirements_of import requirements

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("s3", "azure", "gcs", "geoip", "dnsbl", "otel")
"""Of the package; what only tests and checks need is in no list of components."""

SBOM = "sbom.cdx.json"
PIP = ("-m", "pip", "--disable-pip-version-check")


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    """Run a program and return what it prints; its messages are shown if it fails."""
    done = subprocess.run(list(map(str, words)), cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def clone(target: Path) -> Path:
    """The commit that is checked out, and nothing else of this tree."""
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, target)
    return target


def fetch_wheels(tree: Path, wheels: Path, python: str = sys.executable) -> None:
    """Pinned wheels of all that the package needs, for one Python; no source archives."""
    wheels.mkdir(parents=True, exist_ok=True)
    run(
        *(python, *PIP, "download", "--quiet", "--dest", wheels, "--only-binary", ":all:"),
        *("--constraint", "constraints.txt", *needed(tree)),
        cwd=tree,
    )


def needed(tree: Path) -> list[str]:
    """Requirements of the package and its extras, without what tests and checks need."""
    return [*requirements(root=tree), *requirements(*EXTRAS, root=tree)]


def describe(tree: Path, wheels: Path, place: Path) -> None:
    """Write the list of components (CycloneDX) into a clone: what is installed from these wheels, offline."""
    environment = place / "components"
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    pip = (python, *PIP)
    run(*pip, "install", "--quiet", "--no-index", "--find-links", wheels, *needed(tree), cwd=tree)
    run(*pip, "uninstall", "--quiet", "--yes", "setuptools", "pip")
    run(
        *(sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", "pyproject.toml"),
        *("--mc-type", "application", "--output-reproducible", "--output-format", "JSON"),
        *("--output-file", SBOM, python),
        cwd=tree,
    )
    document = json.loads((tree / SBOM).read_text(encoding="utf-8"))
    document["metadata"]["component"]["version"] = version(tree)
    (tree / SBOM).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def version(tree: Path) -> str:
    """The one place of the version, read without importing the package."""
    text = (tree / "src" / "tidegate" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def build(tree: Path, target: Path) -> list[Path]:
    """The source archive, and the wheel made from the archive."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, tree)
    return sorted(target.iterdir())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def step(text: str) -> Iterator[None]:
    print(f"{text} ...", flush=True)
    yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=ROOT / "dist", help="made anew")
    parser.add_argument("--without-wheels", action="store_true", help="the two archives only")
    options = parser.parse_args()
    if changed := run("git", "status", "--porcelain"):
        sys.exit(f"The tree holds changes; a release is made of a commit:\n{changed}")
    target: Path = options.target.resolve()
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="tidegate-release-") as name:
        place = Path(name)
        trees = [clone(place / which / "tidegate") for which in ("first", "second")]
        if not options.without_wheels:
            with step("fetching wheels"):
                fetch_wheels(trees[0], target / "wheels")
            with step("listing components"):
                describe(trees[0], target / "wheels", place)
                shutil.copy(trees[0] / SBOM, trees[1])
                shutil.copy(trees[0] / SBOM, target / "tidegate.cdx.json")
        with step("building twice"):
            built, again = (build(tree, place / f"out-{number}") for number, tree in enumerate(trees))
        for one, other in zip(built, again, strict=True):
            if digest(one) != digest(other):
                sys.exit(f"two builds differ: {one.name}")
        with step("checking"):
            run(sys.executable, "-m", "twine", "check", "--strict", *built)
        target.mkdir(parents=True, exist_ok=True)
        if not options.without_wheels:
            with step("writing manual pages and completions"):
                run(
                    *("env", f"PYTHONPATH={next(one for one in built if one.suffix == '.whl')}"),
                    *(place / "components" / "bin" / "python", trees[0] / "tools" / "man_pages.py"),
                    target / "share",
                )
        for one in built:
            shutil.copy(one, target)
            if one.suffix == ".whl" and (target / "wheels").exists():
                shutil.copy(one, target / "wheels")
        if not options.without_wheels:
            pythons = one_file.interpreters()
            with step(f"making one file for {len(pythons)} Pythons"):
                for python in pythons:
                    fetch_wheels(trees[0], place / "wheels", python)
                shutil.copy(next(target.glob("*.whl")), place / "wheels")
                one_file.make(place / "wheels", EXTRAS, pythons, target / "tidegate", place / "cache")
    if not options.without_wheels and debian_package.possible():
        with step("building the Debian package"):
            debian_package.make(target)
    sums = [
        f"{digest(path)}  {path.relative_to(target)}" for path in sorted(target.rglob("*")) if path.is_file()
    ]
    (target / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")
    print(f"{len(sums)} files in {target}, their digests in SHA256SUMS")


if __name__ == "__main__":
    main()
