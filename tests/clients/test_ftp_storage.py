# SPDX-License-Identifier: Apache-2.0
"""FTP clients in every upload mode, on local disk and on a bucket: what comes back is what was sent."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.ftp_programs import content, run, same, tree
from tests.support.ftp_world import FtpServer, RawFtp, ftp_server
from tests.support.object_servers import ObjectServer
from tests.support.running import Person, wait_for

from tidegate.model import StorageConfig


@pytest.fixture(scope="module", params=[0, 1, 2])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(
        tmp_path_factory.mktemp("ftp"),
        other={"common": {"upload_mode": request.param}},
        environment={"AWS_EC2_METADATA_DISABLED": "true"},
        data_timeout=1,
    ) as made:
        made.mode = request.param
        yield made


@pytest.fixture(params=["disk", "bucket"])
def person(request: pytest.FixtureRequest, server: FtpServer) -> Iterator[Person]:
    if request.param == "disk":
        fresh = server.account()
        yield fresh
        # Mode 2 keeps what a client may go on with; a test that cuts an upload says so itself.
        assert server.mode == 2 or fresh.leftovers() == []
        return
    objects: ObjectServer = request.getfixturevalue("seaweedfs_server")
    server.running.secrets.add(objects.access_secret)
    options = objects.options(objects.bucket())
    yield server.account(filesystem=StorageConfig("s3", {"s3config": options}))


@pytest.mark.timeout(240)
def test_lftp_gets_back_what_it_sent(server: FtpServer, person: Person, tmp_path: Path) -> None:
    made = tree(tmp_path / "tree", large=7_000_000)
    script = f"""
        set ssl:ca-file {server.certificate}
        set ftp:ssl-force yes
        set ftp:ssl-protect-data yes
        set cmd:fail-exit yes
        set net:max-retries 1
        open -u {person.name},{person.password} ftp://localhost:{server.required}
        mirror -R {made} up
        mirror up {tmp_path}/down
        mv up/large up/larger
        put {made}/none -o up/larger
        get up/larger -o {tmp_path}/emptied
        rm -r up
        cls -1
        bye
    """
    listed = run("lftp", "-f", "/dev/stdin", text=script, environment={"HOME": str(tmp_path)})
    assert listed.strip() == ""
    same(made, tmp_path / "down")
    assert (tmp_path / "emptied").read_bytes() == b""


def test_curl_replaces_appends_and_goes_on(server: FtpServer, person: Person, tmp_path: Path) -> None:
    whole = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(whole[:1_000_000])
    (tmp_path / "b").write_bytes(whole)
    url = f"ftp://127.0.0.1:{server.plain}/d/f"
    words = ["curl", "-sS", "-u", f"{person.name}:{person.password}"]
    run(*words, "--ftp-create-dirs", "-T", tmp_path / "b", url)
    run(*words, "-T", tmp_path / "a", url)  # shorter: nothing of the old one stays
    run(*words, url, "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == whole[:1_000_000]
    done = _resumed(words, tmp_path / "b", url)
    if not done:  # a bucket's object cannot be written from the middle: it is sent anew
        assert person.home.exists()
        run(*words, "-T", tmp_path / "b", url)
    run(*words, url, "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == whole


def _resumed(words: list[str], file: Path, url: str) -> bool:
    done = subprocess.run([*words, "-C", "-", "-T", file, url], capture_output=True, text=True, timeout=60)
    if done.returncode:
        assert "550" in done.stderr, done.stderr
    return done.returncode == 0


def test_an_upload_whose_data_never_comes_changes_nothing(server: FtpServer, person: Person) -> None:
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        assert ftp.store("STOR f", b"old")[1].startswith("226")
        assert ftp.code("EPSV") == 229
        assert ftp.code("STOR f") == 150
        assert ftp.reply().startswith("425")
        assert ftp.code("EPSV") == 229
        assert ftp.code("STOR new") == 150
        assert ftp.reply().startswith("425")
        assert ftp.code("SIZE new") == 550
        assert ftp.fetch("RETR f")[1] == b"old"
        assert ftp.fetch("NLST")[1] == b"f\r\n"


def test_an_upload_that_is_cut_is_never_taken_for_whole(server: FtpServer, person: Person) -> None:
    """Over TLS, where the end is said: modes 1 and 2 leave the old file."""
    with RawFtp(server.plain) as ftp:
        context = ftp.secure(server.certificate)
        ftp.login(person)
        assert [ftp.code("PBSZ 0"), ftp.code("PROT P")] == [200, 200]
        data = ftp.passive()
        ftp.send(b"STOR f\r\n")
        with context.wrap_socket(data, server_hostname="localhost") as secured:
            assert ftp.reply().startswith("150")
            secured.sendall(b"old")
            with contextlib.suppress(OSError):
                secured.unwrap()
        assert ftp.reply().startswith("226")
        data = ftp.passive()
        ftp.send(b"STOR f\r\n")
        secured = context.wrap_socket(data, server_hostname="localhost")
        assert ftp.reply().startswith("150")
        secured.sendall(b"new and cut")
        secured.close()  # without close_notify
        assert ftp.reply().startswith("426")
        ftp.code("PROT C")
        if server.mode:
            assert ftp.fetch("RETR f")[1] == b"old"


def test_a_listing_shows_no_unfinished_upload(server: FtpServer, person: Person) -> None:
    with RawFtp(server.plain) as ftp, RawFtp(server.plain) as other:
        ftp.login(person)
        other.login(person)
        data = ftp.passive()
        assert ftp.code("STOR f") == 150
        data.sendall(b"x" * 300_000)

        def seen() -> bool:
            return other.fetch("NLST")[1] == b"f\r\n"

        if server.mode == 0 and person.home.exists() and content(person.home):
            wait_for(seen, "the file is not there while it is written")
        elif server.mode:
            assert not seen()
        data.close()
        assert ftp.reply().startswith("226")
        assert seen()
