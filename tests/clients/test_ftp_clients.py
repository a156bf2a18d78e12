# SPDX-License-Identifier: Apache-2.0
"""FTP clients as they come: what they store and fetch, in the clear and by TLS, is compared byte by byte."""

from __future__ import annotations

import ftplib
import io
import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.foreign_builds import FTP, Unavailable, built
from tests.support.ftp_programs import content, run, same
from tests.support.ftp_programs import tree as made_tree
from tests.support.ftp_world import FtpServer, ftp_server
from tests.support.needs import absent, missing
from tests.support.running import Person


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(tmp_path_factory.mktemp("ftp")) as made:
        yield made


@pytest.fixture
def person(server: FtpServer) -> Iterator[Person]:
    fresh = server.account()
    yield fresh
    assert fresh.leftovers() == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of several sizes, and names that are not easy."""
    return made_tree(tmp_path / "tree")


@pytest.mark.parametrize("way", ["plain", "active", "auth", "required", "implicit", "tls12"])
def test_curl(server: FtpServer, person: Person, tree: Path, tmp_path: Path, way: str) -> None:
    ports = dict.fromkeys(("plain", "active", "auth"), server.plain) | {"implicit": server.implicit}
    port = ports.get(way, server.required)
    url = f"{'ftps' if way == 'implicit' else 'ftp'}://localhost:{port}/d/f"
    words = ["curl", "-sS", "-4", "-u", f"{person.name}:{person.password}", "--cacert", server.certificate]
    words += [] if way in ("plain", "active", "implicit") else ["--ssl-reqd"]
    words += ["--tls-max", "1.2"] if way == "tls12" else []
    words += ["-P", "127.0.0.1"] if way == "active" else []
    run(*words, "--ftp-create-dirs", "-T", tree / "large", url)
    run(*words, url, "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tree / "large").read_bytes()
    assert run(*words, "-r", "5-14", url, "-o", tmp_path / "part") == ""
    assert (tmp_path / "part").read_bytes() == (tree / "large").read_bytes()[5:15]
    (tmp_path / "half").write_bytes((tree / "large").read_bytes()[:1_000_000])
    run(*words, "-C", "-", url, "-o", tmp_path / "half")
    assert (tmp_path / "half").read_bytes() == (tree / "large").read_bytes()


@pytest.mark.parametrize("way", ["plain", "auth", "active", "implicit"])
def test_lftp_mirrors(server: FtpServer, person: Person, tree: Path, tmp_path: Path, way: str) -> None:
    url = f"ftps://localhost:{server.implicit}" if way == "implicit" else f"ftp://localhost:{server.plain}"
    force = "yes" if way in ("auth", "active") else "no"
    script = f"""
        set ssl:ca-file {server.certificate}
        set ftp:ssl-force {force}
        set ftp:ssl-allow {force}
        set ftp:ssl-protect-data yes
        set ftp:passive-mode {"no" if way == "active" else "yes"}
        set cmd:fail-exit yes
        open -u {person.name},{person.password} {url}
        mirror -R {tree} up
        mirror up {tmp_path}/down
        mirror -c -P 4 up {tmp_path}/four
        mv up moved
        cls -l moved
        rm -r moved
        bye
    """
    listed = run(
        "lftp", "-f", "/dev/stdin", text=script, environment={"LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    )
    assert "inner/" in listed
    same(tree, tmp_path / "down")
    same(tree, tmp_path / "four")
    assert list(person.home.iterdir()) == []


def test_lftp_keeps_times(server: FtpServer, person: Person, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    os.utime(tmp_path / "f", (1_577_934_245, 1_577_934_245))
    script = f"open -u {person.name},{person.password} ftp://127.0.0.1:{server.plain}\nput {tmp_path}/f\n"
    run(
        "lftp",
        "-f",
        "/dev/stdin",
        text=f"set ftp:ssl-allow no\n{script}",
        environment={"HOME": str(tmp_path)},
    )
    assert (person.home / "f").stat().st_mtime == 1_577_934_245


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_ftplib(server: FtpServer, person: Person, tree: Path, secure: bool) -> None:
    context = ssl.create_default_context(cafile=str(server.certificate))
    client = ftplib.FTP_TLS(context=context) if secure else ftplib.FTP()
    client.connect("localhost", server.plain, timeout=20)
    client.login(person.name, person.password)
    if secure:
        assert isinstance(client, ftplib.FTP_TLS)
        client.prot_p()
    content = (tree / "large").read_bytes()
    client.storbinary("STOR f", io.BytesIO(content))
    assert (person.home / "f").read_bytes() == content
    back = io.BytesIO()
    client.retrbinary("RETR f", back.write)
    assert back.getvalue() == content
    assert client.mkd("d") == "/d"
    assert client.nlst() == ["d", "f"] or client.nlst() == ["f", "d"]
    client.voidcmd("TYPE I")
    assert client.size("f") == len(content)
    assert dict(client.mlsd(facts=["type", "size"]))["f"] == {"type": "file", "size": str(len(content))}
    client.rename("f", "g")
    client.cwd("d")
    assert client.pwd() == "/d"
    client.storlines("STOR t", io.BytesIO(b"a\nb\n"))
    lines: list[str] = []
    client.retrlines("RETR t", lines.append)
    assert lines == ["a", "b"]
    client.delete("/g")
    client.quit()


@pytest.mark.parametrize("way", ["old plain", "old tls", "new plain", "new tls"])
def test_rclone(server: FtpServer, person: Person, tree: Path, tmp_path: Path, way: str) -> None:
    """Uploads over TLS arrive whole: tickets on those connections would lose their end."""
    age, mode = way.split()
    program = "rclone" if age == "old" else ftp_clients() / "venv" / "bin" / "rclone"
    config = tmp_path / "rclone.conf"
    config.write_text("")
    obscured = run(program, "obscure", person.password).strip()
    remote = f":ftp,host=localhost,port={server.plain},user={person.name},pass={obscured}"
    remote += ",explicit_tls=true,no_check_certificate=true:" if mode == "tls" else ":"
    base = [program, "--config", config, "--retries", "1", "--low-level-retries", "1", "-q"]
    run(*base, "sync", "--create-empty-src-dirs", tree, f"{remote}up")
    same(tree, person.home / "up")
    run(*base, "sync", "--create-empty-src-dirs", f"{remote}up", tmp_path / "down")
    same(tree, tmp_path / "down")
    run(*base, "check", tree, f"{remote}up")
    run(*base, "purge", f"{remote}up")
    assert list(person.home.iterdir()) == []


def ftp_clients() -> Path:
    """The directory of clients that are fetched for the tests; ends the test by name where they cannot be."""
    for program in FTP.programs:
        if missing(program):
            absent(program)
    try:
        return built(FTP)
    except Unavailable as error:
        absent(f"the FTP clients of tests/clients/foreign/ftp: {error}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["plain", "tls", "implicit"])
def test_aioftp(server: FtpServer, person: Person, tmp_path: Path, mode: str) -> None:
    """It begins TLS on a data connection before it sends the command."""
    kept = ftp_clients()
    _library([kept / "venv" / "bin" / "python", kept / "main.py"], server, person, tmp_path, mode)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["plain", "tls", "implicit"])
def test_basic_ftp(server: FtpServer, person: Person, tmp_path: Path, mode: str) -> None:
    """It ends empty uploads before its handshake is through, if the reply comes before that."""
    _library(["node", ftp_clients() / "main.js"], server, person, tmp_path, mode)


def _library(program: list[str | Path], server: FtpServer, person: Person, tmp_path: Path, mode: str) -> None:
    tree = made_tree(tmp_path / "tree")
    port = server.implicit if mode == "implicit" else server.plain
    (tmp_path / "back").mkdir()
    listed = run(
        *program, "localhost", str(port), person.name, person.password, mode, server.certificate,
        tree, tmp_path / "back",
    )  # fmt: skip
    assert listed.split("\n")[:-1] == sorted(path.name for path in tree.iterdir())
    same(tree, tmp_path / "back")
    assert list(person.home.iterdir()) == []


def test_ncftp(server: FtpServer, person: Person, tree: Path, tmp_path: Path) -> None:
    words = ["-u", person.name, "-p", person.password, "-P", str(server.plain), "-t", "20", "-V", "-R"]
    home = {"HOME": str(tmp_path)}
    run("ncftpput", *words, "-m", "127.0.0.1", "/up", tree, environment=home)
    same(tree, person.home / "up" / "tree")
    (tmp_path / "down").mkdir()
    run("ncftpget", *words, "127.0.0.1", tmp_path / "down", "/up/tree", environment=home)
    same(tree, tmp_path / "down" / "tree")
    for way in ("-F", "-E"):  # passive, active
        run("ncftpput", *words[:-1], way, "127.0.0.1", "/", tree / "large", environment=home)
        assert (person.home / "large").read_bytes() == (tree / "large").read_bytes()


@pytest.mark.parametrize("mode", ["plain", "implicit", "auth"])
def test_wget(server: FtpServer, person: Person, tree: Path, tmp_path: Path, mode: str) -> None:
    shutil.copytree(tree, person.home / "tree")
    words = ["wget", "-q", "-nH", "-r", "-l", "5", "--tries=1", "-T", "20", "-P", tmp_path / "down"]
    words += [f"--user={person.name}", f"--password={person.password}"]
    words += [] if mode == "plain" else [f"--ca-certificate={server.certificate}"]
    words += ["--ftps-implicit"] if mode == "implicit" else []
    scheme, port = ("ftp", server.plain) if mode == "plain" else ("ftps", server.plain)
    port = server.implicit if mode == "implicit" else port
    run(*words, f"{scheme}://localhost:{port}/tree/", environment={"HOME": str(tmp_path)})
    fetched = content(tmp_path / "down" / "tree")
    fetched.pop(".listing", None)
    wanted = content(tree)
    wanted.pop("inner/empty")  # it makes no directories without files
    fetched.pop("inner/empty", None)
    assert fetched == wanted
