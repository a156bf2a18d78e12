# SPDX-License-Identifier: Apache-2.0
"""A release: stamped, equal when built again, with its components listed, installed without a network."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.package.conftest import ROOT, TOOLS, Release, run, without_network

from tidegate import __version__

COMMIT = run("git", "-C", ROOT, "rev-parse", "HEAD").strip()


def test_digests_cover_every_file_and_hold(release: Release) -> None:
    listed = dict(
        reversed(line.split("  ")) for line in (release.place / "SHA256SUMS").read_text().splitlines()
    )
    there = {
        str(path.relative_to(release.place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in release.place.rglob("*") if path.is_file() and path.name != "SHA256SUMS"
    }  # fmt: skip
    assert listed == there


def test_the_wheel_holds_the_list_of_components_and_the_data_files(release: Release) -> None:
    with zipfile.ZipFile(release.wheel) as wheel:
        names = set(wheel.namelist())
        inside = f"tidegate-{__version__}.dist-info/sboms/tidegate.cdx.json"
        document = json.loads(wheel.read(inside))
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["version"] == __version__
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )  # fmt: skip
    listed = {part["name"].lower().replace("_", "-"): part["version"] for part in document["components"]}
    assert {"asyncssh", "cryptography", "aiobotocore", "maxminddb"} <= set(listed)
    assert {name: pins[name] for name in listed} == listed
    ours = [str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.html")]
    assert ours and set(ours) <= names


def test_the_source_archive_builds_the_same_wheel_without_git(release: Release, tmp_path: Path) -> None:
    with tarfile.open(release.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    run(
        *(TOOLS / "python", "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "again"),
        tmp_path / f"tidegate-{__version__}",
        env=without_network(PATH=str(tmp_path)),
    )
    (again,) = (tmp_path / "again").iterdir()
    assert again.read_bytes() == release.wheel.read_bytes()


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_it_is_installed_from_a_folder_and_tells_its_commit(
    release: Release, tmp_path: Path, installer: str
) -> None:
    wheels = release.place / "wheels"
    if installer == "pip":
        run(sys.executable, "-m", "venv", tmp_path / "env")
        run(
            *(
                tmp_path / "env" / "bin" / "pip",
                "install",
                "--no-index",
                "--find-links",
                wheels,
                "tidegate[s3]",
            ),
            env=without_network(),
        )
        command = tmp_path / "env" / "bin" / "tidegate"
    else:
        run(
            *(TOOLS / "uv", "tool", "install", "--offline", "--no-index", "--find-links", wheels),
            *("--python", sys.executable, "tidegate"),
            env=without_network(
                UV_TOOL_DIR=str(tmp_path / "tools"),
                UV_TOOL_BIN_DIR=str(tmp_path / "bin"),
                UV_CACHE_DIR=str(tmp_path / "cache"),
                UV_LINK_MODE="copy",
            ),
        )
        command = tmp_path / "bin" / "tidegate"

    shown = run(command, "version", cwd=tmp_path, env=without_network(PATH=str(tmp_path)))

    assert shown.startswith(f"Tidegate {__version__}, commit {COMMIT[:12]}, built 20")
    told = json.loads(run(command, "version", "--json", cwd=tmp_path, env=without_network()))
    assert told["commit"] == COMMIT


def test_a_tree_with_changes_is_refused(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    run("git", "clone", "--quiet", ROOT, tree)
    (tree / "README.md").write_text("changed")
    done = subprocess.run(
        [str(TOOLS / "python"), str(tree / "tools" / "release.py"), "--target", str(tmp_path / "dist")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "a release is made of a commit" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_what_is_built_from_a_tree_with_changes_says_so(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    run("git", "clone", "--quiet", ROOT, tree)
    (tree / "README.md").write_text("changed")
    run(TOOLS / "python", "setup.py", "--quiet", "build_py", "--build-lib", tmp_path / "lib", cwd=tree)
    assert f'COMMIT: Final = "{COMMIT}-changed"' in (tmp_path / "lib" / "tidegate" / "built.py").read_text()
    assert 'COMMIT: Final = ""' in (tree / "src" / "tidegate" / "built.py").read_text()
