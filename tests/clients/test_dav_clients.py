# SPDX-License-Identifier: Apache-2.0
"""WebDAV clients as they come: what they store and fetch, in the clear and by TLS, is compared byte by byte."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.dav_world import DavServer, dav_server
from tests.support.needs import absent, missing
from tests.support.running import Person


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    with dav_server(tmp_path_factory.mktemp("dav")) as made:
        yield made


@pytest.fixture
def person(server: DavServer) -> Iterator[Person]:
    fresh = server.account()
    yield fresh
    assert fresh.leftovers() == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of several sizes, and names that are not easy."""
    root = tmp_path / "tree"
    (root / "inner" / "empty").mkdir(parents=True)
    (root / "large").write_bytes(os.urandom(5_000_000))
    (root / "none").write_bytes(b"")
    for index in range(20):
        (root / "inner" / f"file {index}").write_bytes(os.urandom(index * 100))
    (root / "café & co #1 100%.txt").write_bytes(b"name")
    return root


def run(
    *words: str | Path, text: str = "", environment: dict[str, str] | None = None, cwd: Path | None = None
) -> str:
    if missing(str(words[0])):
        absent(str(words[0]))
    done = subprocess.run(
        [str(word) for word in words],
        input=text,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def same(one: Path, two: Path) -> None:
    """Both trees hold the same files with the same content."""

    def content(root: Path) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
            for path in root.rglob("*")
        }

    assert content(one) == content(two)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_curl(server: DavServer, person: Person, tree: Path, tmp_path: Path, secure: bool) -> None:
    url = server.url(secure=secure)
    curl = ["curl", "-sS", "-f", "-u", f"{person.name}:{person.password}", "--cacert", server.certificate]
    run(*curl, "-X", "MKCOL", f"{url}/d/")
    run(*curl, "-T", tree / "large", f"{url}/d/f")
    run(*curl, f"{url}/d/f", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tree / "large").read_bytes()
    run(*curl, "-r", "5-14", f"{url}/d/f", "-o", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == (tree / "large").read_bytes()[5:15]
    (tmp_path / "half").write_bytes((tree / "large").read_bytes()[:1_000_000])
    run(*curl, "-C", "-", f"{url}/d/f", "-o", tmp_path / "half")
    assert (tmp_path / "half").read_bytes() == (tree / "large").read_bytes()
    chunked = [*curl, "-H", "Transfer-Encoding: chunked", "-H", "Expect:"]
    run(*chunked, "-T", tree / "large", f"{url}/d/chunked")
    assert (person.home / "d" / "chunked").read_bytes() == (tree / "large").read_bytes()
    listed = run(*curl, "-X", "PROPFIND", "-H", "Depth: 1", f"{url}/d/")
    assert "<D:href>/d/f</D:href>" in listed
    run(*curl, "-X", "DELETE", f"{url}/d/")
    assert list(person.home.iterdir()) == []


def rclone_remote(server: DavServer, person: Person, vendor: str) -> dict[str, str]:
    """Variables that make ``R:`` a remote for rclone."""
    hidden = run("rclone", "obscure", "-", text=person.password).strip()
    settings = {"TYPE": "webdav", "URL": server.url(), "VENDOR": vendor, "USER": person.name, "PASS": hidden}
    made = {f"RCLONE_CONFIG_R_{name}": value for name, value in settings.items()}
    return {**made, "RCLONE_CONFIG": "/dev/null"}


@pytest.mark.needs("rclone")
@pytest.mark.parametrize("vendor", ["other", "owncloud", "nextcloud"])
def test_rclone(server: DavServer, person: Person, tree: Path, tmp_path: Path, vendor: str) -> None:
    os.utime(tree / "none", (1_577_934_245, 1_577_934_245))
    remote = rclone_remote(server, person, vendor)
    run("rclone", "copy", "--create-empty-src-dirs", tree, "R:up", environment=remote)
    same(tree, person.home / "up")
    if vendor != "other":
        assert (person.home / "up" / "none").stat().st_mtime == 1_577_934_245
    run("rclone", "moveto", "R:up", "R:moved", environment=remote)
    run("rclone", "copyto", "R:moved/large", "R:copy", environment=remote)
    run("rclone", "copy", "--create-empty-src-dirs", "R:moved", tmp_path / "down", environment=remote)
    same(tree, tmp_path / "down")
    assert (person.home / "copy").read_bytes() == (tree / "large").read_bytes()
    assert "Free:" in run("rclone", "about", "R:", environment=remote)
    run("rclone", "purge", "R:moved", environment=remote)
    assert [path.name for path in person.home.iterdir()] == ["copy"]
