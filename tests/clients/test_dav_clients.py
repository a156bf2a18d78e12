# SPDX-License-Identifier: Apache-2.0
"""WebDAV clients as they come: what they store and fetch, in the clear and by TLS, is compared byte by byte."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import webdav4.client as webdav4_client
from tests.support.dav_world import DavServer, dav_server
from tests.support.foreign_builds import FTP, WEBDAV, Toolchain, Unavailable, built
from tests.support.needs import absent, missing
from tests.support.object_servers import ObjectServer
from tests.support.running import Person

from tidegate.model import StorageConfig


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


def of(toolchain: Toolchain) -> Path:
    """The programs of other languages, built if need be."""
    for program in toolchain.programs:
        if missing(program):
            absent(program)
    try:
        return built(toolchain)
    except Unavailable as error:
        absent(f"the clients of tests/clients/foreign/{toolchain.folder}: {error}")


@pytest.mark.parametrize("vendor", ["owncloud", "nextcloud"])
def test_a_newer_rclone(server: DavServer, person: Person, tree: Path, tmp_path: Path, vendor: str) -> None:
    """As `nextcloud` it wants addresses of Nextcloud's own, for files in parts, unless it sends them whole."""
    rclone = of(FTP) / "venv" / "bin" / "rclone"
    os.utime(tree / "none", (1_577_934_245, 1_577_934_245))
    (tree / "larger").write_bytes(os.urandom(12_000_000))  # than the parts that it would send
    remote = rclone_remote(server, person, vendor)
    if vendor == "nextcloud":
        remote["RCLONE_CONFIG_R_NEXTCLOUD_CHUNK_SIZE"] = "0"
    run(rclone, "copy", "--create-empty-src-dirs", tree, "R:up", environment=remote)
    same(tree, person.home / "up")
    run(rclone, "check", "--download", tree, "R:up", environment=remote)
    run(rclone, "sync", "R:up", tmp_path / "down", "--create-empty-src-dirs", environment=remote)
    same(tree, tmp_path / "down")
    assert (person.home / "up" / "none").stat().st_mtime == 1_577_934_245


def test_node_webdav(server: DavServer, person: Person) -> None:
    script = of(WEBDAV) / "main.js"
    assert run("node", script, server.url(), person.name, person.password).strip() == "ok"


@pytest.mark.needs("litmus")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_litmus(server: DavServer, tmp_path: Path, secure: bool) -> None:
    person = server.account()
    words = [f"{server.url(secure=secure)}/", person.name, person.password]
    said = run("litmus", "-k", *words, cwd=tmp_path)
    found = re.findall(r"summary for `(\w+)': of (\d+) tests run: (\d+) passed, (\d+) failed", said)
    assert {name: int(ran) for name, ran, _, _ in found} == {
        "basic": 16,
        "copymove": 13,
        "props": 30,
        "locks": 41,
        "http": 3 if secure else 4,
    }
    assert all(ran == passed for _, ran, passed, _ in found)
    assert "WARNING" not in said


@pytest.mark.needs("cadaver")
def test_cadaver(server: DavServer, person: Person, tree: Path, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine localhost login {person.name} password {person.password}\n")
    (tmp_path / ".netrc").chmod(0o600)
    script = f"""open {server.url()}/
        mkcol d
        put {tree}/large d/large
        lock d/large
        put {tree}/none d/large2
        propset d/large colour blue
        propget d/large colour
        copy d/large copied
        unlock d/large
        move copied moved
        get moved {tmp_path}/back
        ls d
        delete moved
        rmcol d
        quit
    """
    said = run("cadaver", text=script, environment={"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"})
    assert "blue" in said
    assert "failed" not in said
    assert (tmp_path / "back").read_bytes() == (tree / "large").read_bytes()
    assert list(person.home.iterdir()) == []


@pytest.mark.needs("mount.davfs")
def test_davfs2(server: DavServer, person: Person, tree: Path, tmp_path: Path) -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        absent("/dev/fuse, and root to mount")
    mount, secrets, config = tmp_path / "mount", tmp_path / "secrets", tmp_path / "davfs2.conf"
    mount.mkdir()
    url = server.url() + "/"
    secrets.write_text(f'{url} {person.name} "{person.password}"\n')
    secrets.chmod(0o600)
    cache = Path(tempfile.mkdtemp(prefix="davfs", dir="/var/tmp"))  # its daemon has an account of its own
    cache.chmod(0o777)
    config.write_text(f"secrets {secrets}\ncache_dir {cache}\ndelay_upload 0\nuse_locks 1\n")
    try:
        run("mount", "-t", "davfs", "-o", f"conf={config}", url, mount)
        shutil.copytree(tree, mount / "tree")
        assert (mount / "tree" / "large").read_bytes() == (tree / "large").read_bytes()
        (mount / "tree" / "inner" / "file 3").rename(mount / "renamed")
        (mount / "tree" / "none").unlink()
        assert os.statvfs(mount).f_bavail > 0
    finally:
        if mount.is_mount():
            run("umount", mount)  # writes what it has kept back
        shutil.rmtree(cache)
    (tree / "inner" / "file 3").rename(tree.parent / "renamed")
    (tree / "none").unlink()
    same(tree, person.home / "tree")
    assert (person.home / "renamed").read_bytes() == (tree.parent / "renamed").read_bytes()


def test_webdav4(server: DavServer, person: Person, tree: Path, tmp_path: Path) -> None:
    client = webdav4_client.Client(server.url(), auth=(person.name, person.password))
    client.mkdir("d")
    client.upload_file(tree / "large", "d/large")
    client.download_file("d/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tree / "large").read_bytes()
    assert client.content_length("d/large") == 5_000_000
    assert client.isdir("d") and client.isfile("d/large")
    assert client.modified("d/large") is not None and client.created("d/large") is not None
    client.copy("d", "e")
    client.move("e/large", "moved")
    with client.open("moved", "rb") as file:
        file.seek(-10, 2)
        assert file.read() == (tree / "large").read_bytes()[-10:]
    assert sorted(one["name"] for one in client.ls("/")) == ["d", "e", "moved"]
    with pytest.raises(webdav4_client.ResourceNotFound):
        client.remove("none")
    for name in ("d", "e", "moved"):
        client.remove(name)
    client.http.close()
    assert list(person.home.iterdir()) == []


@pytest.mark.needs("git")
def test_git_fetches_and_pushes(server: DavServer, person: Person, tmp_path: Path) -> None:
    environment = {
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.com",
    }
    bare, work = person.home / "r.git", tmp_path / "work"
    run("git", "init", "-q", "--bare", bare, environment=environment)
    run("git", "-C", bare, "update-server-info", environment=environment)
    url = f"http://{person.name}:{person.password}@localhost:{server.plain}/r.git/"
    run("git", "init", "-q", "-b", "main", work, environment=environment)
    (work / "f").write_text("one\n")
    run("git", "-C", work, "add", ".", environment=environment)
    run("git", "-C", work, "commit", "-qm", "one", environment=environment)
    run("git", "-C", work, "push", url, "main", environment=environment)
    run("git", "clone", "-q", "-b", "main", url, tmp_path / "clone", environment=environment)
    assert (tmp_path / "clone" / "f").read_text() == "one\n"


@pytest.mark.needs("litmus")
@pytest.mark.needs("rclone")
def test_a_home_in_a_bucket(
    server: DavServer, seaweedfs_server: ObjectServer, tree: Path, tmp_path: Path
) -> None:
    bucket = seaweedfs_server.bucket()
    options = {"s3config": seaweedfs_server.options(bucket, key_prefix="users/anna")}
    person = server.account(filesystem=StorageConfig("s3", options))
    server.running.secrets.add(seaweedfs_server.access_secret)
    remote = rclone_remote(server, person, "owncloud")
    run("rclone", "copy", tree, "R:up", environment=remote)
    run("rclone", "moveto", "R:up", "R:moved", environment=remote)
    run("rclone", "check", "--download", "--one-way", tree, "R:moved", environment=remote)
    run("rclone", "purge", "R:moved", environment=remote)
    said = run("litmus", "-k", f"{server.url()}/", person.name, person.password, cwd=tmp_path)
    found = re.findall(r"summary for `(\w+)': of (\d+) tests run: (\d+) passed, (\d+) failed", said)
    assert {name: (ran, passed) for name, ran, passed, _ in found} == {
        "basic": ("16", "16"),
        "copymove": ("13", "13"),
        "props": ("30", "30"),
        "locks": ("41", "41"),
        "http": ("4", "4"),
    }, said
    assert list(person.home.iterdir()) == []
