# SPDX-License-Identifier: Apache-2.0
"""Uploads in parts at the addresses of Nextcloud: by rclone, and request by request; on disk and in a bucket."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.support.dav_world import Answer, Dav, DavServer, dav_server
from tests.support.foreign_builds import FTP, Unavailable, built
from tests.support.ftp_programs import run, same
from tests.support.needs import absent
from tests.support.object_servers import ObjectServer
from tests.support.running import Person

from tidegate.doors.dav import part_uploads
from tidegate.model import FilePatterns, Filters, FolderMount, StorageConfig

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    with dav_server(tmp_path_factory.mktemp("parts"), binding={"nextcloud": True}) as made:
        yield made


@pytest.fixture
def disk(server: DavServer) -> Iterator[Person]:
    fresh = server.account()
    yield fresh
    assert fresh.leftovers() == []


@pytest.fixture(params=["disk", "bucket"])
def person(request: pytest.FixtureRequest, server: DavServer) -> Iterator[Person]:
    if request.param == "disk":
        yield request.getfixturevalue("disk")
        return
    objects: ObjectServer = request.getfixturevalue("seaweedfs_server")
    server.running.secrets.add(objects.access_secret)
    yield server.account(filesystem=StorageConfig("s3", {"s3config": objects.options(objects.bucket())}))


class Parts:
    """One upload of one person.

    Args:
        port: of the server.
        person: whose.
        target: named from the beginning, as version 2 does; None names it at the end.
    """

    def __init__(self, port: int, person: Person, name: str = "u1", target: str | None = None) -> None:
        self.dav = Dav(port, person)
        user = quote(person.name)
        self.base = f"/remote.php/dav/uploads/{user}/{name}"
        self.files = f"/remote.php/dav/files/{user}"
        self.early = {} if target is None else {"Destination": self.files + target}

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self.dav.connection.close()

    def begin(self, **headers: str) -> Answer:
        return self.dav.ask("MKCOL", self.base, **self.early, **headers)

    def put(self, name: str, body: bytes, **headers: str) -> int:
        return self.dav.code("PUT", f"{self.base}/{name}", body, **self.early, **headers)

    def end(self, target: str, **headers: str) -> Answer:
        return self.dav.ask("MOVE", f"{self.base}/.file", Destination=self.files + target, **headers)

    def get(self, path: str) -> bytes:
        answer = self.dav.ask("GET", self.files + path)
        return answer.body if answer.code == 200 else b"(%d)" % answer.code


@pytest.fixture(params=["named first", "named last"])
def parts(request: pytest.FixtureRequest, server: DavServer, person: Person) -> Iterator[Parts]:
    target = "/f" if request.param == "named first" else None
    with Parts(server.plain, person, target=target) as made:
        yield made
        made.dav.ask("DELETE", made.base)


# -- programs ----------------------------------------------------------------------------------------------


@pytest.mark.needs("node", "npm")
def test_rclone_sends_parts(server: DavServer, person: Person, tmp_path: Path) -> None:
    try:
        rclone = built(FTP) / "venv" / "bin" / "rclone"
    except Unavailable as error:
        absent(f"a newer rclone: {error}")
    hidden = run("rclone", "obscure", person.password).strip()
    url = f"{server.url()}/remote.php/dav/files/{person.name}"
    remote = f":webdav,url='{url}',vendor=nextcloud,user={person.name},pass={hidden}:"
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    for name, size in (("large", 12 * MIB + 7), ("d/exact", 10 * MIB), ("small", 100), ("empty", 0)):
        (tree / name).write_bytes(os.urandom(size))
    base = [rclone, "--config", os.devnull, "--retries", "1", "--low-level-retries", "1", "-q"]
    chunks = ["--webdav-nextcloud-chunk-size", "5M"]
    run(*base, *chunks, "copy", tree, f"{remote}up")
    run(*base, "check", "--download", tree, f"{remote}up")
    run(*base, "copy", f"{remote}up", tmp_path / "down")
    same(tree, tmp_path / "down")
    (tree / "large").write_bytes(os.urandom(11 * MIB))  # over the old one
    run(*base, *chunks, "copy", tree, f"{remote}up")
    run(*base, "check", "--download", tree, f"{remote}up")
    line = server.running.wait_line("Upload", username=person.name, virtual_path="/up/large")
    assert line["status"] == "ok"
    assert not [one for one in server.running.lines("Upload", username=person.name) if one["status"] != "ok"]


# -- what becomes of it ------------------------------------------------------------------------------------


def test_parts_become_a_file(parts: Parts, server: DavServer, person: Person) -> None:
    content = os.urandom(11 * MIB)
    assert parts.begin(OC_Total_Length=str(len(content))).code == 201
    for number in range(3):
        piece = content[number * 5 * MIB : (number + 1) * 5 * MIB]
        assert parts.put(f"{number + 1:05}", piece, OC_Total_Length=str(len(content))) == 201
        assert parts.get("/f") == b"(404)"  # nobody sees it before its end
    told = parts.dav.ask("PROPFIND", parts.base, Depth="1").text
    assert told.count("<D:response>") == 4
    assert f"{parts.base}/00003</D:href>" in told and f"<D:getcontentlength>{MIB}</D" in told
    listed = parts.dav.ask("PROPFIND", parts.files + "/", Depth="1").text
    assert listed.count("<D:response>") == 1
    done = parts.end(
        "/f",
        OC_Total_Length=str(len(content)),
        OC_Checksum="SHA1:" + hashlib.sha1(content).hexdigest(),
        X_OC_Mtime="1234567890",
    )
    assert (done.code, done.headers.get("x-oc-mtime")) == (201, "accepted")
    assert parts.get("/f") == content
    assert "13 Feb 2009" in parts.dav.ask("PROPFIND", parts.files + "/f", Depth="0").text
    assert parts.dav.code("PROPFIND", parts.base) == 404
    line = server.running.wait_line("Upload", username=person.name, virtual_path="/f")
    assert (line["status"], line["size_bytes"]) == ("ok", len(content))
    uploads = server.running.lines("Upload", username=person.name)
    assert len(uploads) == 1


def test_the_old_file_stays_until_the_end(parts: Parts) -> None:
    assert parts.dav.code("PUT", parts.files + "/f", b"old") == 201
    assert parts.begin().code == 201
    assert parts.put("1", b"new ") == 201
    assert parts.get("/f") == b"old"
    assert parts.put("2", b"content") == 201
    assert parts.end("/f", Overwrite="F").code == 412
    assert parts.end("/f", If_Match='"another"').code == 412
    assert parts.get("/f") == b"old"
    assert parts.end("/f").code == 204
    assert parts.get("/f") == b"new content"


def test_an_upload_that_is_given_up_leaves_nothing(parts: Parts, server: DavServer, person: Person) -> None:
    assert parts.begin().code == 201
    assert parts.put("1", b"x" * MIB) == 201
    assert parts.dav.code("DELETE", parts.base) == 204
    assert parts.put("2", b"x") == 404
    assert parts.end("/f").code == 404
    assert parts.get("/f") == b"(404)"
    server.running.wait_line("Upload", username=person.name, status="failed")
    assert server.running.stored(person.name).used_quota_files == 0


def test_a_part_that_broke_off_goes_on(parts: Parts, server: DavServer) -> None:
    """On a bucket no byte is written twice: what has come is compared."""
    content = os.urandom(6 * MIB)
    assert parts.begin().code == 201
    assert parts.put("1", content[:MIB]) == 201
    head = parts.dav.authorization()["Authorization"]
    lines = f"PUT {parts.base}/2 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {head}\r\n"
    lines += "".join(f"{name}: {value}\r\n" for name, value in parts.early.items())
    with socket.create_connection(("127.0.0.1", server.plain), 20) as cut:
        cut.sendall(f"{lines}Content-Length: {5 * MIB}\r\n\r\n".encode() + content[MIB : 3 * MIB])
    # The server may not have seen the end yet: then this waits for its turn.
    assert parts.put("2", content[MIB:]) == 201
    assert parts.put("2", content[MIB:]) == 204  # its answer was lost
    assert parts.put("1", content[:MIB]) == 204
    assert parts.end("/f", OC_Total_Length=str(len(content))).code == 201
    assert parts.get("/f") == content


def test_parts_that_come_at_the_same_time_wait_for_their_turn(parts: Parts, server: DavServer) -> None:
    content = os.urandom(4 * MIB)
    assert parts.begin().code == 201
    codes: dict[int, int] = {}

    def send(number: int) -> None:
        with Dav(server.plain, parts.dav.person) as other:
            piece = content[number * MIB : (number + 1) * MIB]
            codes[number] = other.code("PUT", f"{parts.base}/{number + 1}", piece, **parts.early)

    threads = [threading.Thread(target=send, args=(number,)) for number in (3, 2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert codes == dict.fromkeys(range(4), 201)
    assert parts.end("/f").code == 201
    assert parts.get("/f") == content


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.fixture
def one(server: DavServer, disk: Person) -> Iterator[Parts]:
    with Parts(server.plain, disk) as made:
        yield made
        made.dav.ask("DELETE", made.base)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("x", 400),
        ("-1", 400),
        ("1-", 400),
        ("9-1", 400),
        ("10001", 400),
        ("1/2", 404),
        ("..", 404),
        ("%2e%2e", 404),
    ],
)
def test_names_that_are_no_parts(one: Parts, name: str, code: int) -> None:
    assert one.begin().code == 201
    assert one.put(name, b"x") == code
    assert one.dav.code("PROPFIND", one.base) == 207


def test_parts_by_their_bytes(one: Parts) -> None:
    """As rclone names them: gaps, overlaps and other lengths are seen at once."""
    assert one.begin().code == 201
    assert one.put("000000000000000-000000000000003", b"abcd") == 201
    assert one.put("000000000000004-000000000000007", b"efghi") == 400
    assert one.put("000000000000002-000000000000005", b"cdef") == 409
    assert one.put("000000000000004-000000000000007", b"efgh") == 201
    assert one.put("2", b"x") == 409  # numbers and bytes do not mix
    assert one.end("/f").code == 201
    assert one.get("/f") == b"abcdefgh"


def test_what_is_missing_is_refused(one: Parts) -> None:
    assert one.begin(OC_Total_Length="10").code == 201
    assert one.put("1", b"x" * 6) == 201
    assert one.end("/f").code == 400
    assert one.put("2", b"x" * 5) == 400  # more than was announced
    assert one.end("/f", OC_Total_Length="6").code == 400
    assert one.put("2", b"x" * 4) == 201
    assert one.end("/f", OC_Total_Length="11").code == 400
    assert one.end("/f", OC_Checksum="MD5:" + "0" * 32).code == 400
    assert one.end("/f", OC_Checksum="SHA256:" + "0" * 64).code == 400
    assert one.end("/no/f").code == 409
    assert one.get("/f") == b"(404)"
    assert one.end("/f", OC_Checksum="MD5:" + hashlib.md5(b"x" * 10).hexdigest()).code == 201
    assert one.get("/f") == b"x" * 10


def test_another_part_of_the_same_name(one: Parts) -> None:
    assert one.begin().code == 201
    assert one.put("1", b"one") == 201
    assert one.put("1", b"two") == 409
    assert one.put("1", b"longer") == 409
    assert one.put("0", b"") == 409
    assert one.end("/f").code == 201
    assert one.get("/f") == b"one"


def test_what_an_upload_is_not(one: Parts, server: DavServer, disk: Person) -> None:
    assert one.dav.code("PUT", f"{one.base}/1", b"x") == 404
    assert one.end("/f").code == 404
    assert one.begin().code == 201
    assert one.begin().code == 405
    for method, path, code in (
        ("GET", "", 405), ("GET", "/1", 405), ("MKCOL", "/d", 405), ("PROPPATCH", "", 405), ("MOVE", "", 403),
        ("MOVE", "/1", 403), ("DELETE", "/1", 403), ("PROPFIND", "/1", 404), ("MKCOL", "/1/2", 404),
    ):  # fmt: skip
        assert one.dav.code(method, one.base + path, Destination=one.files + "/f") == code, (method, path)
    assert one.dav.code("MOVE", f"{one.base}/.file") == 400
    assert one.dav.code("MOVE", f"{one.base}/.file", Destination="http://elsewhere/f") == 502
    assert one.dav.code("MOVE", f"{one.base}/.file", Destination="/outside") in (400, 404)
    other = server.account()
    with Parts(server.plain, other) as theirs:
        assert theirs.dav.code("PROPFIND", one.base) == 404
        assert theirs.dav.code("PROPFIND", one.files + "/") == 404
        assert theirs.dav.code("MKCOL", one.base + "x") == 404
    with Dav(server.plain) as nobody:
        assert nobody.code("MKCOL", one.base + "y") == 401


def test_the_destination_stays_what_it_was(server: DavServer, disk: Person) -> None:
    with Parts(server.plain, disk, target="/f") as upload:
        assert upload.begin().code == 201
        assert upload.put("1", b"x") == 201
        assert upload.end("/g").code == 409
        assert upload.end("/f").code == 201
    with Parts(server.plain, disk, "u2", "/no/f") as other:
        assert other.begin().code == 409


def test_no_more_than_so_many_at_a_time(server: DavServer) -> None:
    person = server.account()
    with Parts(server.plain, person) as upload:
        first = upload.base
        for number in range(part_uploads.MAX_UPLOADS):
            upload.base = f"{first}-{number}"
            assert upload.begin().code == 201
        upload.base = first
        assert upload.begin().code == 429
        assert upload.dav.code("DELETE", f"{first}-0") == 204
        assert upload.begin().code == 201


def test_quota_and_size_hold(server: DavServer) -> None:
    person = server.account(quota_size=1000)
    with Parts(server.plain, person) as upload:
        assert upload.begin().code == 201
        assert upload.put("1", b"x" * 600) == 201
        assert upload.put("2", b"x" * 600) == 507
        assert upload.put("2", b"x" * 60) == 404  # it is given up
        assert upload.dav.code("PUT", upload.files + "/other", b"x" * 900) == 201  # nothing of it counts
    large = server.account(filters=Filters(max_upload_file_size=1000))
    with Parts(server.plain, large) as upload:
        assert upload.begin().code == 201
        assert upload.put("1", b"x" * 1001) == 413
    with Parts(server.plain, large, target="/f") as upload:
        assert upload.begin().code == 201
        assert upload.put("1", b"x" * 1001) == 413
    assert person.leftovers() == large.leftovers() == []


def test_rules_are_those_of_the_destination(server: DavServer) -> None:
    person = server.account(
        permissions={"/": ("list", "download"), "/in": ("list", "upload", "download"), "/shut": ()},
        filters=Filters(file_patterns=(FilePatterns(path="/in", denied_patterns=("*.exe",)),)),
    )
    (person.home / "in").mkdir()
    (person.home / "in" / "old").write_bytes(b"old")
    with Parts(server.plain, person) as upload:
        assert upload.begin().code == 201
        assert upload.put("1", b"new") == 201
        assert upload.end("/f").code == 403
        assert upload.end("/in/f.exe").code == 403
        assert upload.end("/in/old").code == 403  # no overwrite
        assert (person.home / "in" / "old").read_bytes() == b"old"
        assert upload.end("/in/f").code == 201
        assert (person.home / "in" / "f").read_bytes() == b"new"
    nothing = server.account(permissions={"/": ("list", "download")})
    with Parts(server.plain, nothing) as upload:
        assert upload.begin().code == 403
    assert person.leftovers() == nothing.leftovers() == []


def test_a_destination_on_another_storage_has_to_be_named_first(server: DavServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o777)
    person = server.account(
        virtual_folders=(FolderMount(name=tmp_path.name, mapped_path=str(other), virtual_path="/m"),)
    )
    with Parts(server.plain, person) as upload:
        assert upload.begin().code == 201
        assert upload.put("1", b"x") == 201
        assert upload.end("/m/f").code == 409
        assert upload.end("/f").code == 201
    with Parts(server.plain, person, target="/m/f") as upload:
        assert upload.begin().code == 201
        assert upload.put("1", b"x") == 201
        assert upload.end("/m/f").code == 201
    assert (other / "f").read_bytes() == b"x"


def test_addresses_without_the_setting(tmp_path: Path) -> None:
    with dav_server(tmp_path) as plain:
        person = plain.account()
        with Parts(plain.plain, person) as upload:
            assert upload.begin().code == 409  # an ordinary path: there is no directory above
        (person.home / "remote.php").mkdir()
        with Dav(plain.plain, person) as dav:
            assert dav.code("PROPFIND", "/remote.php/") == 207


def test_the_tree_at_their_addresses(server: DavServer, disk: Person) -> None:
    user = quote(disk.name)
    with Dav(server.plain, disk) as dav:
        for base in (f"/remote.php/dav/files/{user}", "/remote.php/webdav", ""):
            assert dav.code("MKCOL", f"{base}/d") == 201
            assert dav.code("PUT", f"{base}/d/f", b"x") == 201
            answer = dav.ask("PROPFIND", f"{base}/d/", Depth="1")
            assert (
                f"<D:href>{base}/d/</D:href>" in answer.text and f"<D:href>{base}/d/f</D:href>" in answer.text
            )
            assert dav.ask("MOVE", f"{base}/d/f", Destination=f"{base}/d/g").code == 201
            assert dav.ask("GET", f"{base}/d/g").body == b"x"
            assert dav.code("DELETE", f"{base}/d/") == 204
        assert dav.code("PROPFIND", f"/remote.php/dav/files/{user}/../../../x", Depth="0") in (400, 404)


def test_who_has_an_upload_in_parts_is_put_out_last(tmp_path: Path) -> None:
    sections = {"cache": {"users": {"max_size": 2}}}
    with dav_server(tmp_path, binding={"nextcloud": True}, **sections) as server:
        first, second, third = server.account(), server.account(), server.account()
        with Parts(server.plain, first) as upload:
            assert upload.begin().code == 201
            assert upload.put("1", b"content") == 201
            for person in (second, third):
                with Dav(server.plain, person) as client:
                    assert client.code("GET", "/") == 200
            assert server.running.wait_line("disconnected", username=second.name)["by"] == "max_clients"
            assert upload.end("/f").code == 201
            assert upload.get("/f") == b"content"


def test_parts_of_an_account_are_bounded(tmp_path: Path) -> None:
    """Over all its uploads; what is complete makes room, and nothing that has come is lost."""
    limits = {"limits": {"upload_parts_per_account": 3}}
    with dav_server(tmp_path, binding={"nextcloud": True}, other=limits) as server:
        person, other = server.account(), server.account()
        with Parts(server.plain, person) as one, Parts(server.plain, person, "u2") as two:
            assert (one.begin().code, two.begin().code) == (201, 201)
            assert (one.put("1", b"a"), one.put("2", b"b"), two.put("1", b"c")) == (201, 201, 201)
            answer = two.dav.ask("PUT", f"{two.base}/2", b"d")
            assert answer.code == 503
            assert "limits.upload_parts_per_account" in answer.text
            assert one.put("2", b"b") == 204
            with Parts(server.plain, other) as theirs:
                assert theirs.begin().code == 201
                assert theirs.put("1", b"x") == 201
            assert one.end("/f").code == 201
            assert two.put("2", b"d") == 201
            assert two.end("/g").code == 201
            assert (one.get("/f"), one.get("/g")) == (b"ab", b"cd")
