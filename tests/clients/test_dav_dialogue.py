# SPDX-License-Identifier: Apache-2.0
"""WebDAV line by line: what RFC 4918 and RFC 9110 say, what clients rely on, and what other servers get wrong."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.dav_world import Dav, DavServer, dav_server
from tests.support.running import Person, wait_for

from tidegate.model import Filters


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
def dav(server: DavServer, person: Person) -> Iterator[Dav]:
    with Dav(server.plain, person) as made:
        yield made


def uploads(person: Person) -> int:
    """Files below somebody's home that the server has open: uploads under way have no name yet."""
    process, found = person.server.pid, 0
    for name in os.listdir(f"/proc/{process}/fd"):
        with contextlib.suppress(FileNotFoundError):
            link = os.readlink(f"/proc/{process}/fd/{name}")
            found += link.startswith(f"{person.home}/")
    return found


# -- what there is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "*", "/nothing/here"])
def test_options_needs_no_login(server: DavServer, path: str) -> None:
    with Dav(server.plain) as nobody:
        answer = nobody.ask("OPTIONS", path)
    assert answer.code == 200
    assert {"1", "2", "3"} <= {word.strip() for word in answer.headers["dav"].split(",")}
    assert answer.headers["ms-author-via"] == "DAV"
    assert {"PROPFIND", "LOCK", "PATCH"} <= {word.strip() for word in answer.headers["allow"].split(",")}


def test_methods_that_there_are_not(dav: Dav) -> None:
    answer = dav.ask("REPORT", "/")
    assert answer.code == 405
    assert "PROPFIND" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/%00", "/" + "x" * 5000, "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc"])
def test_paths_stay_inside(dav: Dav, path: str) -> None:
    assert dav.code("GET", path) in (400, 404)


def test_targets_with_a_fragment_are_none(server: DavServer, person: Person) -> None:
    (person.home / "d").mkdir()
    words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
    request = f"DELETE /d#x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {words}\r\n\r\n"
    assert raw(server.plain, request.encode()).startswith(b"HTTP/1.1 400 ")
    assert (person.home / "d").is_dir()


def raw(port: int, data: bytes, *, then: bytes = b"") -> bytes:
    """The answer to bytes as they stand, up to the end of the connection or a pause."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(data)
        if then:
            sock.sendall(then)
        found = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(65536):
                found += piece
    return found


# -- logging in --------------------------------------------------------------------------------------------


def test_without_credentials(server: DavServer) -> None:
    with Dav(server.plain) as nobody:
        answer = nobody.ask("PROPFIND", "/")
        assert (answer.code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
        for value in ("Basic", "Basic !!!", "Basic " + base64.b64encode(b"nobody").decode(), "Digest x"):
            assert nobody.code("GET", "/", Authorization=value) == 401


def test_wrong_passwords_and_unknown_users_are_told_the_same(server: DavServer, person: Person) -> None:
    answers = []
    for words in (f"{person.name}:wrong", "nobody:wrong"):
        with Dav(server.plain) as client:
            value = f"Basic {base64.b64encode(words.encode()).decode()}"
            begun = time.monotonic()
            answers.append(client.ask("GET", "/", Authorization=value))
            assert time.monotonic() - begun > 0.9  # guessing takes time
    assert answers[0].code == answers[1].code == 401
    assert answers[0].body == answers[1].body


def test_no_password_is_taken_in_the_clear_unless_the_binding_says_so(
    server: DavServer, person: Person
) -> None:
    with Dav(server.closed, person) as client:
        answer = client.ask("PROPFIND", "/")
        assert answer.code == 403
        assert "www-authenticate" not in answer.headers  # nobody is asked to send one
        assert client.code("PROPFIND", "/", X_Forwarded_Proto="https") == 403  # said by no proxy of ours


def test_names_and_passwords_may_have_any_characters(server: DavServer) -> None:
    person = server.account(password="pä:ss wörd")
    with Dav(server.plain, person) as client:
        assert client.code("PROPFIND", "/", Depth="0") == 207


def test_one_login_for_many_requests(server: DavServer, person: Person) -> None:
    for _ in range(3):
        with Dav(server.plain, person) as client:
            for index in range(5):
                assert client.code("PUT", f"/f{index}", b"x") in (201, 204)

    def logins() -> int:
        lines = server.running.lines()
        return len([one for one in lines if one["sender"] == "login" and one.get("username") == person.name])

    wait_for(lambda: logins() >= 1, "it did not come about")
    assert logins() == 1


def test_another_password_is_another_login(server: DavServer, person: Person) -> None:
    with Dav(server.plain, person) as client:
        assert client.code("GET", "/") == 200
    value = f"Basic {base64.b64encode(f'{person.name}:wrong'.encode()).decode()}"
    with Dav(server.plain) as client:
        assert client.code("GET", "/", Authorization=value) == 401


# -- PUT and GET -------------------------------------------------------------------------------------------


def test_put_says_whether_something_was_there(dav: Dav, person: Person) -> None:
    first, second = dav.ask("PUT", "/f", b"one"), dav.ask("PUT", "/f", b"two!")
    assert (first.code, second.code) == (201, 204)
    assert first.headers["etag"] != second.headers["etag"]
    answer = dav.ask("GET", "/f")
    assert answer.body == b"two!"
    assert answer.headers["etag"] == second.headers["etag"]
    assert answer.headers["etag"].startswith('"')
    assert answer.headers["accept-ranges"] == "bytes"
    assert "Last-Modified".lower() in answer.headers


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
@pytest.mark.parametrize("way", ["length", "chunked", "finder"])
def test_bodies_of_every_size_and_framing(dav: Dav, person: Person, size: int, way: str) -> None:
    content = os.urandom(size)
    if way == "length":
        assert dav.code("PUT", "/f", content) == 201
    else:
        more = {"X_Expected_Entity_Length": str(size)} if way == "finder" else {}
        pieces = (content[at : at + 50_000] for at in range(0, size, 50_000))
        assert dav.code("PUT", "/f", pieces, **more) == 201
    assert (person.home / "f").read_bytes() == content
    assert dav.code("PUT", "/f", content[::-1]) == 204  # over what is there, on the same connection
    assert dav.ask("GET", "/f").body == content[::-1]


def test_a_body_that_is_not_as_long_as_finder_said_is_not_stored(dav: Dav, person: Person) -> None:
    (person.home / "f").write_bytes(b"old")
    assert dav.code("PUT", "/f", iter([b"x" * 100]), X_Expected_Entity_Length="101") == 400
    assert (person.home / "f").read_bytes() == b"old"


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_cut_upload_leaves_what_was_there(
    server: DavServer, person: Person, secure: bool, there: bool
) -> None:
    if there:
        (person.home / "f").write_bytes(b"old content")
    words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
    head = (
        f"PUT /f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {words}\r\n"
        "Content-Length: 2000000\r\n\r\n"
    ).encode()
    with socket.create_connection(("localhost", server.secure if secure else server.plain), 10) as plain:
        sock: Any = plain
        if secure:
            context = ssl.create_default_context(cafile=str(server.certificate))
            sock = context.wrap_socket(plain, server_hostname="localhost")
        sock.sendall(head + b"n" * 1_000_000)
        wait_for(lambda: uploads(person) > 0, "it did not come about")
        assert (person.home / "f").exists() is there  # not yet visible
        sock.close()
    server.running.wait_line("Upload", username=person.name, status="failed")
    assert os.listdir(person.home) == (["f"] if there else [])
    assert not there or (person.home / "f").read_bytes() == b"old content"


def test_put_of_a_piece_is_refused(dav: Dav, person: Person) -> None:
    (person.home / "f").write_bytes(b"0123456789")
    assert dav.code("PUT", "/f", b"xx", Content_Range="bytes 2-3/10") == 400
    assert (person.home / "f").read_bytes() == b"0123456789"


def test_where_nothing_can_be_put(dav: Dav, person: Person) -> None:
    (person.home / "d").mkdir()
    (person.home / "f").write_bytes(b"f")
    assert dav.code("PUT", "/d", b"x") == 405
    assert dav.code("PUT", "/d/", b"x") == 409
    assert dav.code("PUT", "/none/f", b"x") == 409
    assert dav.code("PUT", "/f/x", b"x") == 409
    assert dav.code("MKCOL", "/f/x") == 409
    assert dav.code("MKCOL", "/none/x") == 409
    assert dav.code("MKCOL", "/f") == 405
    assert dav.code("MKCOL", "/d") == 405
    assert dav.code("MKCOL", "/") == 405
    assert dav.code("MKCOL", "/new", b"<x/>") == 415
    assert not (person.home / "new").exists()


def test_tags_survive_a_restart(tmp_path: Path) -> None:
    with dav_server(tmp_path) as server:
        person = server.account()
        with Dav(server.plain, person) as client:
            tag = client.ask("PUT", "/f", b"x").headers["etag"]
        server.running.stop()
        server.running.start()
        with Dav(server.plain, person) as client:
            assert client.ask("HEAD", "/f").headers["etag"] == tag


def test_conditions_keep_updates(dav: Dav, person: Person) -> None:
    first = dav.ask("PUT", "/f", b"one").headers["etag"]
    assert dav.code("PUT", "/f", b"lost", If_None_Match="*") == 412
    assert dav.code("PUT", "/f", b"lost", If_Match='"other"') == 412
    assert dav.code("PUT", "/none", b"lost", If_Match="*") == 412
    assert dav.code("DELETE", "/f", If_Match='"other"') == 412
    assert dav.code("PUT", "/f", b"lost", If_Match=f"W/{first}") == 412  # strong comparison
    assert dav.code("PUT", "/f", b"x", If_Match="no tag") == 400
    assert (person.home / "f").read_bytes() == b"one"
    assert dav.code("PUT", "/f", b"two", If_Match=f'"a", {first}') == 204
    assert dav.code("PUT", "/new", b"new", If_None_Match="*") == 201
    assert dav.code("PUT", "/f", b"lost", If_Match=first) == 412
    assert dav.code("PUT", "/f", b"x", If_Unmodified_Since="Sun, 06 Nov 1994 08:49:37 GMT") == 412
    assert (person.home / "f").read_bytes() == b"two"
    assert dav.code("DELETE", "/f", If_Match=dav.ask("HEAD", "/f").headers["etag"]) == 204


def test_of_two_uploads_with_one_tag_one_is_taken(server: DavServer, person: Person, dav: Dav) -> None:
    """Both are judged by the old content before either is stored."""
    tag = dav.ask("PUT", "/f", b"old").headers["etag"]
    words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
    head = (
        f"PUT /f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {words}\r\nConnection: close\r\n"
        f"If-Match: {tag}\r\nContent-Length: 100000\r\n\r\n"
    ).encode()
    socks = [socket.create_connection(("127.0.0.1", server.plain), 10) for _ in range(2)]
    for index, sock in enumerate(socks):
        sock.sendall(head + str(index).encode() * 99_999)
    wait_for(lambda: uploads(person) == 2, "it did not come about")
    codes = []
    for index, sock in enumerate(socks):
        sock.sendall(str(index).encode())
        codes.append(int(sock.makefile("rb").readline().split()[1]))
        sock.close()
    assert sorted(codes) == [204, 412]
    assert (person.home / "f").read_bytes() == str(codes.index(204)).encode() * 100_000


def test_reading_with_conditions(dav: Dav) -> None:
    tag = dav.ask("PUT", "/f", b"one").headers["etag"]
    assert dav.code("GET", "/f", If_None_Match=tag) == 304
    assert dav.code("GET", "/f", If_None_Match=f"W/{tag}") == 304
    assert dav.code("GET", "/f", If_None_Match='"x"') == 200
    modified = dav.ask("HEAD", "/f").headers["last-modified"]
    assert dav.code("GET", "/f", If_Modified_Since=modified) == 304
    assert dav.code("GET", "/f", If_Modified_Since="yesterday") == 200
    assert dav.code("GET", "/f", If_Match='"x"') == 412


@pytest.mark.parametrize(
    ("value", "code", "body", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=5-500", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=0-5,3-8", 200, b"0123456789", None),  # they overlap
        ("bytes=" + ",".join(["0-0"] * 17), 200, b"0123456789", None),
    ],
)
def test_ranges(dav: Dav, value: str, code: int, body: bytes | None, content_range: str | None) -> None:
    dav.ask("PUT", "/f", b"0123456789")
    answer = dav.ask("GET", "/f", Range=value)
    assert answer.code == code
    assert body is None or answer.body == body
    assert answer.headers.get("content-range") == content_range


def test_several_ranges(dav: Dav) -> None:
    dav.ask("PUT", "/f.txt", b"0123456789")
    answer = dav.ask("GET", "/f.txt", Range="bytes=0-1,4-5,-1")
    assert answer.code == 206
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    parts = [part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") for part in answer.body.split(b"--" + boundary)]
    assert parts[1:-1] == [b"01", b"45", b"9"]


def test_a_range_of_what_was_changed_is_the_whole(dav: Dav) -> None:
    tag = dav.ask("PUT", "/f", b"0123456789").headers["etag"]
    assert dav.ask("GET", "/f", Range="bytes=0-0", If_Range=tag).body == b"0"
    assert dav.ask("GET", "/f", Range="bytes=0-0", If_Range='"x"').body == b"0123456789"
    assert dav.ask("GET", "/f", Range="bytes=0-0", If_Range=f"W/{tag}").body == b"0123456789"


def test_head_sends_no_body_and_is_no_download(server: DavServer, dav: Dav, person: Person) -> None:
    dav.ask("PUT", "/f", b"0123456789")
    answer = dav.ask("HEAD", "/f")
    assert (answer.code, answer.headers["content-length"], answer.body) == (200, "10", b"")
    assert dav.ask("GET", "/f").body == b"0123456789"

    def downloads() -> int:
        lines = server.running.lines()
        return len([1 for line in lines if line["sender"] == "Download" and line["username"] == person.name])

    wait_for(lambda: downloads() == 1, "it did not come about")


def test_a_file_that_becomes_shorter_while_it_is_sent_is_no_whole_file(
    server: DavServer, person: Person
) -> None:
    path = person.home / "f"
    path.write_bytes(b"x" * 30_000_000)
    words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
    with socket.create_connection(("127.0.0.1", server.plain), 10) as sock:
        request = f"GET /f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {words}\r\n\r\n"
        sock.sendall(request.encode())
        first = sock.recv(1000)
        os.truncate(path, 1000)
        found = len(first)
        try:
            while piece := sock.recv(1 << 20):
                found += len(piece)
        except ConnectionResetError:
            pass
    assert found < 30_000_000


def test_mtime_and_checksums_of_owncloud(dav: Dav, person: Person) -> None:
    answer = dav.ask("PUT", "/f", b"x", X_OC_Mtime="1600000000.5")
    assert (answer.code, answer.headers["x-oc-mtime"]) == (201, "accepted")
    assert (person.home / "f").stat().st_mtime_ns == 1_600_000_000_500_000_000
    right = {"SHA1": "9f9af029585ba014e07cd3910ca976cf56160616", "MD5": "b1946ac92492d2347c6235b4d2611184"}
    for name, digest in (("MD5", right["MD5"]), ("SHA1", "f572d396fae9206628714fb2ce00f72e94f2258f")):
        assert dav.code("PUT", "/g", b"hello\n", OC_Checksum=f"{name}:{digest}") in (201, 204)
        assert dav.code("PUT", "/g", b"jello\n", OC_Checksum=f"{name}:{digest}") == 400
    assert dav.code("PUT", "/g", b"hello\n", OC_Checksum="ADLER32:084b021f") == 204
    assert dav.code("PUT", "/g", b"jello\n", OC_Checksum="ADLER32:084b021f") == 400
    assert dav.code("PUT", "/g", b"hello\n", OC_Checksum="CRC99:1") == 204  # nobody knows it
    assert (person.home / "g").read_bytes() == b"hello\n"
    dav.ask("MOVE", "/g", Destination=dav.to("/h"), X_OC_Mtime="1500000000")
    assert (person.home / "h").stat().st_mtime == 1_500_000_000


PARTIAL = "application/x-sabredav-partialupdate"


@pytest.mark.parametrize(
    ("value", "body", "expected"),
    [
        ("bytes=2-3", b"xx", (204, b"01xx456789")),
        ("bytes=8-", b"xxxx", (204, b"01234567xxxx")),
        ("bytes=-2", b"xx", (204, b"01234567xx")),
        ("append", b"xx", (204, b"0123456789xx")),
        ("bytes=10-", b"x", (204, b"0123456789x")),
        ("bytes=11-", b"x", (416, b"0123456789")),
        ("bytes=2-4", b"xx", (416, b"0123456789")),
        ("bytes=-11", b"x", (416, b"0123456789")),
        ("lines=1-2", b"x", (400, b"0123456789")),
    ],
)
def test_partial_updates(
    dav: Dav, person: Person, value: str, body: bytes, expected: tuple[int, bytes]
) -> None:
    code, content = expected
    (person.home / "f").write_bytes(b"0123456789")
    assert dav.code("PATCH", "/f", body, Content_Type=PARTIAL, X_Update_Range=value) == code
    assert (person.home / "f").read_bytes() == content


def test_partial_updates_that_are_none(dav: Dav, person: Person) -> None:
    (person.home / "f").write_bytes(b"0123456789")
    tag = dav.ask("HEAD", "/f").headers["etag"]
    given = {"Content_Type": PARTIAL, "X_Update_Range": "bytes=0-"}
    assert dav.code("PATCH", "/f", b"x", Content_Type="text/plain", X_Update_Range="append") == 415
    assert dav.code("PATCH", "/f", iter([b"x"]), **given) == 411
    assert dav.code("PATCH", "/none", b"x", **given) == 404
    assert dav.code("PATCH", "/", b"x", **given) == 405
    assert dav.code("PATCH", "/f", b"x", If_Match='"x"', **given) == 412
    assert (person.home / "f").read_bytes() == b"0123456789"
    assert dav.code("PATCH", "/f", b"x", If_Match=tag, **given) == 204


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a b", "é", "100%", "#1", "q?x=1&y", "a+b", "日本", "<x>", 'q"', "a;b=c", "~"]
)
def test_names_that_are_not_easy(dav: Dav, person: Person, name: str) -> None:
    address = "/" + quote(name)
    assert dav.code("PUT", address, b"x") == 201
    assert [path.name for path in person.home.iterdir()] == [name]
    answer = dav.ask("PROPFIND", "/", Depth="1")
    (found,) = re.findall(r"<D:href>(/[^<]+)</D:href>", answer.text.replace("&amp;", "&"))
    assert dav.ask("GET", found).body == b"x"
    assert dav.code("MOVE", address, Destination=dav.to("/" + quote(name + "2"))) == 201
    assert dav.code("DELETE", "/" + quote(name + "2")) == 204


def test_names_that_are_no_text(dav: Dav, person: Person) -> None:
    Path(os.fsdecode(os.fsencode(person.home) + b"/caf\xe9")).write_bytes(b"x")
    answer = dav.ask("PROPFIND", "/", Depth="1")
    assert "<D:href>/caf%E9</D:href>" in answer.text
    assert dav.ask("GET", "/caf%E9").body == b"x"
    assert dav.code("GET", "/") == 200


# -- PROPFIND ----------------------------------------------------------------------------------------------


def prop(*names: str) -> str:
    inner = "".join(f"<{name}/>" for name in names)
    return f'<propfind xmlns="DAV:" xmlns:o="urn:o"><prop>{inner}</prop></propfind>'


def test_listings(dav: Dav, person: Person) -> None:
    (person.home / "d" / "inner").mkdir(parents=True)
    (person.home / "d" / "f.txt").write_bytes(b"hello")
    (person.home / "d" / "link").symlink_to("f.txt")
    (person.home / "d" / "lost").symlink_to("nothing")
    answer = dav.ask("PROPFIND", "/d", Depth="1")
    assert answer.code == 207
    hrefs = re.findall(r"<D:href>([^<]*)</D:href>", answer.text)
    assert hrefs[0] == "/d/"
    assert sorted(hrefs) == ["/d/", "/d/f.txt", "/d/inner/", "/d/link"]
    zero = dav.ask("PROPFIND", "/d/f.txt", prop("getcontentlength", "getetag", "o:none"), Depth="0").text
    assert "<D:getcontentlength>5</D:getcontentlength>" in zero
    assert dav.ask("HEAD", "/d/f.txt").headers["etag"] in zero
    assert re.search(r'none xmlns:n="urn:o"/></D:prop><D:status>HTTP/1.1 404', zero)
    names = dav.ask("PROPFIND", "/d/f.txt", '<propfind xmlns="DAV:"><propname/></propfind>', Depth="0").text
    assert "<D:getetag/>" in names and "<D:creationdate/>" in names


def test_whole_trees_are_not_listed(dav: Dav, person: Person) -> None:
    (person.home / "a" / "b").mkdir(parents=True)
    answer = dav.ask("PROPFIND", "/", Depth="infinity")
    assert answer.code == 403
    assert "<D:propfind-finite-depth/>" in answer.text
    assert re.findall(r"<D:href>([^<]*)", dav.ask("PROPFIND", "/").text) == ["/", "/a/"]  # without Depth
    assert dav.code("PROPFIND", "/a/b", Depth="2") == 400


def test_whole_trees_are_listed_where_the_binding_says_so(tmp_path: Path) -> None:
    with dav_server(tmp_path, binding={"infinite_depth": True, "prefix": "/dav"}) as server:
        person = server.account()
        (person.home / "a" / "b").mkdir(parents=True)
        (person.home / "a" / "b" / "f").write_bytes(b"x")
        with Dav(server.plain, person) as client:
            found = re.findall(r"<D:href>([^<]*)", client.ask("PROPFIND", "/dav/").text)
            assert sorted(found) == ["/dav/", "/dav/a/", "/dav/a/b/", "/dav/a/b/f"]
            assert client.code("PROPFIND", "/other/", Depth="0") == 404
            assert client.code("COPY", "/dav/a/b/f", Destination=client.to("/dav/g")) == 201
            assert client.code("COPY", "/dav/a/b/f", Destination=client.to("/g")) in (400, 404)
            assert (person.home / "g").read_bytes() == b"x"


def test_room_is_told(server: DavServer) -> None:
    person = server.account(quota_size=1_000_000)
    with Dav(server.plain, person) as client:
        client.ask("PUT", "/f", b"x" * 250_000)
        wanted = prop("quota-available-bytes", "quota-used-bytes")
        text = client.ask("PROPFIND", "/", wanted, Depth="0").text
        assert "<D:quota-available-bytes>750000<" in text
        assert "<D:quota-used-bytes>250000<" in text
        assert "quota" not in client.ask("PROPFIND", "/", Depth="1").text  # RFC 4331 section 3
        assert "quota" in client.ask("PROPFIND", "/", Depth="0").text  # Node's client asks like this


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<propfind xmlns="DAV:"><prop><x>&b;</x></prop></propfind>'
)
ENTITY = (
    '<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    '<propfind xmlns="DAV:"><prop><x>&x;</x></prop></propfind>'
)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        ENTITY,
        "<!DOCTYPE p>" + prop("getetag"),
        "<propfind",
        "no xml",
        "<other/>",
        '<propfind xmlns="DAV:"/>',
        '<D:propfind xmlns:D="DAV:"><D:prop><bar:foo xmlns:bar=""/></D:prop></D:propfind>',
        "<a>" * 100 + "</a>" * 100,
        '<propfind xmlns="DAV:"><prop>' + "<x/>" * 10_001 + "</prop></propfind>",
        '<?xml version="1.0" encoding="utf-99"?>' + prop("getetag"),
        prop("getetag").encode("utf-16")[:-3],
    ],
)
@pytest.mark.parametrize("method", ["PROPFIND", "PROPPATCH", "LOCK"])
def test_xml_that_is_none_or_attacks(dav: Dav, method: str, body: Any) -> None:
    dav.ask("PUT", "/f", b"x")
    assert dav.code(method, "/f", body, Depth="0") == 400


def test_a_body_that_is_too_long(dav: Dav) -> None:
    body = prop(*["x"] * 100_000)
    assert dav.code("PROPFIND", "/", body, Depth="0") == 413
    assert dav.code("PROPFIND", "/", iter([body.encode()]), Depth="0") == 413


# -- properties --------------------------------------------------------------------------------------------


def patched(*changes: str) -> str:
    spaces = 'xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:" xmlns:x="urn:x"'
    return f"<?xml version='1.0'?><D:propertyupdate {spaces}>{''.join(changes)}</D:propertyupdate>"


def setting(inner: str) -> str:
    return f"<D:set><D:prop>{inner}</D:prop></D:set>"


def test_properties_mean_the_same_when_they_come_back(dav: Dav) -> None:
    dav.ask("PUT", "/f", b"x")
    value = '<x:a xml:lang="de" at="&lt;&quot;">a<!-- no --> &amp; <b xmlns="urn:y">b</b><c/></x:a>'
    assert " 200 OK" in dav.ask("PROPPATCH", "/f", patched(setting(value))).text
    for path in ("/f", "/g", "/h"):
        wanted = '<propfind xmlns="DAV:"><prop><a xmlns="urn:x"/></prop></propfind>'
        text = dav.ask("PROPFIND", path, wanted, Depth="0").text
        assert 'xml:lang="de"' in text
        assert '>a &amp; <b xmlns="urn:y">b</b><c/></x:a>' in text
        if path == "/f":
            dav.ask("COPY", "/f", Destination=dav.to("/g"))
        if path == "/g":
            dav.ask("MOVE", "/g", Destination=dav.to("/h"))
    assert "urn:x" in dav.ask("PROPFIND", "/", Depth="1").text
    dav.ask("PROPPATCH", "/f", patched("<D:remove><D:prop><x:a/></D:prop></D:remove>"))
    assert "xml:lang" not in dav.ask("PROPFIND", "/f", Depth="0").text


def test_all_or_nothing_is_patched(dav: Dav) -> None:
    dav.ask("PUT", "/f", b"x")
    answer = dav.ask("PROPPATCH", "/f", patched(setting("<x:a>1</x:a><D:getetag>2</D:getetag>")))
    assert answer.code == 207
    assert "403 Forbidden" in answer.text and "424 Failed Dependency" in answer.text
    assert "<D:cannot-modify-protected-property/>" in answer.text
    assert "x:a" not in dav.ask("PROPFIND", "/f", Depth="0").text
    assert dav.code("PROPPATCH", "/none", patched(setting("<x:a>1</x:a>"))) == 404
    assert dav.code("PROPPATCH", "/f", patched()) == 400


@pytest.mark.parametrize(
    "value",
    [
        "<Z:Win32LastModifiedTime>Thu, 02 Jan 2020 03:04:05 GMT</Z:Win32LastModifiedTime>",
        "<D:getlastmodified>Thu, 02 Jan 2020 03:04:05 GMT</D:getlastmodified>",
        "<D:lastmodified>1577934245</D:lastmodified>",
    ],
)
def test_times_are_set(dav: Dav, person: Person, value: str) -> None:
    dav.ask("PUT", "/f", b"x")
    assert " 200 OK" in dav.ask("PROPPATCH", "/f", patched(setting(value))).text
    assert (person.home / "f").stat().st_mtime == 1_577_934_245
    bad = re.sub(">[^<]+<", ">never<", value)
    assert " 409 " in dav.ask("PROPPATCH", "/f", patched(setting(bad))).text
    assert (person.home / "f").stat().st_mtime == 1_577_934_245


# -- COPY, MOVE, DELETE ------------------------------------------------------------------------------------


@pytest.fixture
def tree(person: Person) -> Path:
    (person.home / "d" / "sub").mkdir(parents=True)
    (person.home / "d" / "f").write_bytes(b"f")
    (person.home / "d" / "sub" / "g").write_bytes(b"g")
    return person.home


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_trees(dav: Dav, tree: Path, method: str) -> None:
    assert dav.code(method, "/d/", Destination=dav.to("/e/")) == 201
    assert (tree / "e" / "sub" / "g").read_bytes() == b"g"
    assert (tree / "d").exists() is (method == "COPY")


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("target", ["/d/sub/new", "/d/new", "/d"])
def test_nothing_is_put_into_itself(dav: Dav, tree: Path, method: str, target: str) -> None:
    assert dav.code(method, "/d", Destination=dav.to(target)) == 403
    assert sorted(path.name for path in tree.rglob("*")) == ["d", "f", "g", "sub"]


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_is_there_is_replaced_unless_overwrite_is_f(dav: Dav, tree: Path, method: str) -> None:
    (tree / "old").mkdir()
    (tree / "old" / "gone").write_bytes(b"x")
    (tree / "file").write_bytes(b"x")
    assert dav.code(method, "/d", Destination=dav.to("/old"), Overwrite="F") == 412
    assert (tree / "old" / "gone").exists() and (tree / "d").exists()
    assert dav.code(method, "/d", Destination=dav.to("/old")) == 204
    assert sorted(os.listdir(tree / "old")) == ["f", "sub"]
    assert dav.code(method, "/old/f", Destination=dav.to("/file")) == 204
    assert (tree / "file").read_bytes() == b"f"
    assert dav.code(method, "/file", Destination=dav.to("/old")) == 204
    assert (tree / "old").read_bytes() == b"f"
    assert dav.code(method, "/old", Destination=dav.to("/x"), Overwrite="Q") == 400


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_destinations_that_are_none(dav: Dav, tree: Path, method: str) -> None:
    assert dav.code(method, "/d/f") == 400
    assert dav.code(method, "/d/f", Destination="http://other.example/f") == 502
    assert dav.code(method, "/d/f", Destination="ftp://localhost/f") == 400
    assert dav.code(method, "/d/f", Destination=dav.to("/none/f")) == 409
    assert dav.code(method, "/d/f", Destination=dav.to("/d/f/x")) == 409
    assert dav.code(method, "/none", Destination=dav.to("/x")) == 404
    assert dav.code(method, "/d/f", Destination=dav.to("/d")) == 403
    assert dav.code(method, "/d/f", Destination="/../../moved") == 201  # a path alone is an address too
    assert (tree / "moved").read_bytes() == b"f"


def test_copy_of_a_directory_alone(dav: Dav, tree: Path) -> None:
    assert dav.code("COPY", "/d", Destination=dav.to("/e"), Depth="0") == 201
    assert os.listdir(tree / "e") == []
    assert dav.code("COPY", "/d", Destination=dav.to("/x"), Depth="1") == 400
    assert dav.code("MOVE", "/d", Destination=dav.to("/x"), Depth="0") == 400


def test_delete(dav: Dav, tree: Path) -> None:
    (tree / "link").symlink_to("d")
    assert dav.code("DELETE", "/link") == 204  # the link, and not what it leads to
    assert dav.code("DELETE", "/d", Depth="0") == 400
    assert dav.code("DELETE", "/") == 403
    assert (tree / "d" / "sub" / "g").exists()
    assert dav.code("DELETE", "/d") == 204
    assert dav.code("DELETE", "/d") == 404
    assert os.listdir(tree) == []


def test_what_cannot_be_removed_is_told_and_the_rest_is_gone(server: DavServer) -> None:
    rights = {"/": ["*"], "/d/keep": ["list", "download"]}
    person = server.account(permissions=rights)
    (person.home / "d" / "keep").mkdir(parents=True)
    (person.home / "d" / "keep" / "k").write_bytes(b"k")
    (person.home / "d" / "f").write_bytes(b"f")
    with Dav(server.plain, person) as client:
        answer = client.ask("DELETE", "/d")
    assert answer.code == 207
    assert "<D:href>/d/keep/</D:href><D:status>HTTP/1.1 403" in answer.text or "/d/keep/k" in answer.text
    assert (person.home / "d" / "keep" / "k").exists()
    assert not (person.home / "d" / "f").exists()


def test_rules_hold_here_too(server: DavServer) -> None:
    person = server.account(permissions={"/": ["list", "download"], "/in": ["list", "upload"]})
    (person.home / "in").mkdir()
    (person.home / "f").write_bytes(b"f")
    with Dav(server.plain, person) as client:
        assert client.code("PUT", "/g", b"x") == 403
        assert client.code("PUT", "/in/g", b"x") == 201
        assert client.code("PUT", "/in/g", b"y") == 403  # no overwrite
        assert client.code("DELETE", "/f") == 403
        assert client.code("MKCOL", "/d") == 403
        assert client.code("LOCK", "/f", LOCK_BODY) == 403
        assert client.code("COPY", "/f", Destination=client.to("/h")) == 403
        assert client.code("GET", "/in/g") == 403
        assert "<form" not in client.ask("GET", "/").text
        assert "<form" in client.ask("GET", "/in/").text
    assert (person.home / "in" / "g").read_bytes() == b"x"


# -- quota -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["length", "chunked"])
def test_what_does_not_fit_leaves_what_was_there(server: DavServer, way: str) -> None:
    person = server.account(quota_size=100_000)
    (person.home / "f").parent.mkdir(exist_ok=True)
    with Dav(server.plain, person) as client:
        assert client.code("PUT", "/f", b"old") == 201
        body: Any = b"x" * 200_000 if way == "length" else iter([b"x" * 50_000] * 4)
        answer = client.ask("PUT", "/f", body)
        assert answer.code == 507
        assert "<D:quota-not-exceeded/>" in answer.text
    with Dav(server.plain, person) as client:
        assert client.ask("GET", "/f").body == b"old"
    assert person.leftovers() == []


def test_a_file_that_is_too_large(server: DavServer) -> None:
    person = server.account(filters=Filters(max_upload_file_size=50_000))
    with Dav(server.plain, person) as client:
        assert client.code("PUT", "/f", b"x" * 65_536) == 413
    assert list(person.home.iterdir()) == []


def test_a_download_that_is_not_allowed_any_more_is_not_begun(server: DavServer) -> None:
    person = server.account(total_data_transfer=1)
    (person.home / "f").write_bytes(b"x" * 900_000)
    with Dav(server.plain, person) as client:
        assert client.code("GET", "/f") == 200
    with Dav(server.plain, person) as client, pytest.raises(http.client.IncompleteRead):
        client.ask("GET", "/f")  # begun within the allowance: it cannot be mistaken for the whole
    with Dav(server.plain, person) as client:
        assert client.code("GET", "/f") == 403


# -- locks -------------------------------------------------------------------------------------------------

LOCK_BODY = (
    '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype><D:owner><D:href>me</D:href></D:owner></D:lockinfo>"
)
SHARED_BODY = LOCK_BODY.replace("exclusive", "shared")


def token_of(answer: Any) -> str:
    token = answer.headers["lock-token"].strip("<>")
    assert re.match(r"(urn:uuid|opaquelocktoken):[0-9a-f-]{36}$", token)
    return token


def test_a_lock_keeps_others_out_whatever_door_they_come_by(
    server: DavServer, dav: Dav, person: Person
) -> None:
    import subprocess

    dav.ask("PUT", "/f", b"old")
    answer = dav.ask("LOCK", "/f", LOCK_BODY, Timeout="Second-60", Depth="0")
    assert answer.code == 200
    token = token_of(answer)
    assert "<D:href>me</D:href>" in answer.text and "<D:lockroot><D:href>/f</D:href>" in answer.text
    for method, body in (("PUT", b"x"), ("DELETE", None), ("PROPPATCH", patched(setting("<x:a>1</x:a>")))):
        refused = dav.ask(method, "/f", body)
        assert refused.code == 423
        assert "<D:lock-token-submitted><D:href>/f</D:href>" in refused.text
    assert dav.code("MOVE", "/f", Destination=dav.to("/g")) == 423
    assert dav.code("COPY", "/f", Destination=dav.to("/g")) == 201  # reading needs no token
    assert dav.code("COPY", "/g", Destination=dav.to("/f")) == 423
    refused = dav.ask("LOCK", "/f", LOCK_BODY)
    assert refused.code == 423
    assert "<D:no-conflicting-lock>" in refused.text
    done = subprocess.run(
        ["sftp", "-q", "-b", "-", "-i", str(person.key), "-P", str(server.running.port), *SSH,
         f"{person.name}@127.0.0.1"],
        input="rm /f\n", capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode != 0
    assert (person.home / "f").read_bytes() == b"old"
    assert dav.code("PUT", "/f", b"new", If=f"(<{token}>)") == 204
    assert dav.code("UNLOCK", "/f", Lock_Token=f"<{token}>") == 204
    assert dav.code("PUT", "/f", b"free") == 204


SSH = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes")


def test_shared_locks(dav: Dav) -> None:
    dav.ask("PUT", "/f", b"x")
    tokens = [token_of(dav.ask("LOCK", "/f", SHARED_BODY)) for _ in range(2)]
    assert tokens[0] != tokens[1]
    assert dav.code("LOCK", "/f", LOCK_BODY) == 423
    text = dav.ask("PROPFIND", "/f", prop("lockdiscovery"), Depth="0").text
    assert all(token in text for token in tokens)
    assert dav.code("PUT", "/f", b"y", If=f"(<{tokens[0]}>)") == 204


def test_refreshing(dav: Dav) -> None:
    dav.ask("PUT", "/f", b"x")
    token = token_of(dav.ask("LOCK", "/f", LOCK_BODY, Timeout="Second-10"))
    answer = dav.ask("LOCK", "/f", If=f"(<{token}>)", Timeout="Second-500, Infinite")
    assert answer.code == 200
    assert re.search(r"Second-(499|500)<", answer.text)
    assert "lock-token" not in answer.headers
    assert dav.code("LOCK", "/f") == 400
    assert dav.code("LOCK", "/f", If="(<urn:uuid:00000000-0000-0000-0000-000000000000>)") == 412
    assert dav.code("UNLOCK", "/g", Lock_Token=f"<{token}>") == 409
    assert dav.code("UNLOCK", "/f") == 400
    assert dav.code("UNLOCK", "/f", Lock_Token=token) == 204  # Node's client leaves the brackets out


def test_a_lock_on_nothing_makes_an_empty_file(dav: Dav, person: Person) -> None:
    answer = dav.ask("LOCK", "/new", LOCK_BODY)
    assert answer.code == 201
    assert (person.home / "new").read_bytes() == b""
    assert dav.code("LOCK", "/none/new", LOCK_BODY) == 409
    assert dav.code("PUT", "/new", b"x") == 423
    assert dav.code("PUT", "/new", b"x", If=f"<{dav.to('/new')}> (<{token_of(answer)}>)") == 204


def test_a_lock_on_a_directory(dav: Dav, tree: Path) -> None:
    token = token_of(dav.ask("LOCK", "/d", LOCK_BODY))
    assert dav.code("PUT", "/d/new", b"x") == 423
    assert dav.code("PUT", "/d/sub/g", b"x") == 423
    assert dav.code("PUT", "/d/sub/g", b"x", If=f"(<{token}>)") == 204
    assert token in dav.ask("PROPFIND", "/d/sub/g", prop("lockdiscovery"), Depth="0").text
    assert dav.code("DELETE", "/d", If=f"(<{token}>)") == 204
    assert dav.code("MKCOL", "/d") == 201  # it ended with what it was on


def test_a_delete_that_meets_a_lock_says_where(dav: Dav, tree: Path) -> None:
    dav.ask("LOCK", "/d/sub/g", LOCK_BODY)
    answer = dav.ask("DELETE", "/d")
    assert answer.code in (207, 423)
    assert "/d/sub/g" in answer.text
    assert (tree / "d" / "sub" / "g").exists()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("(<TOKEN>)", 204),
        ("(<TOKEN> [TAG])", 204),
        ('(<TOKEN> ["other"])', 412),
        ('(["other"]) (<TOKEN>)', 204),
        ("(Not <DAV:no-lock>)", 423),
        ("(<DAV:no-lock>)", 412),
        ("(Not <TOKEN>)", 412),
        ("(<TOKEN>) (Not <DAV:no-lock>)", 204),
        ("</f> (<TOKEN>)", 204),
        ("</other> (<TOKEN>)", 412),
        ("</other> (<TOKEN>) </f> ([TAG])", 204),
        ("<TOKEN>", 400),
        ("(<TOKEN>", 400),
        ("()", 400),
        ("(Not Not <TOKEN>)", 400),
        ("((<TOKEN>))", 400),
        ("(" + "<DAV:no-lock>" * 101 + ")", 400),
    ],
)
def test_the_if_header(dav: Dav, value: str, code: int) -> None:
    tag = dav.ask("PUT", "/f", b"x").headers["etag"]
    token = token_of(dav.ask("LOCK", "/f", LOCK_BODY))
    assert dav.code("PUT", "/f", b"y", If=value.replace("TOKEN", token).replace("TAG", tag)) == code


# -- clients that cannot run here --------------------------------------------------------------------------


def test_windows_explorer_stores_a_file(dav: Dav, person: Person) -> None:
    """The order of requests of Microsoft-WebDAV-MiniRedir/10.0.19045."""
    agent = {"User_Agent": "Microsoft-WebDAV-MiniRedir/10.0.19045", "Translate": "f"}
    assert dav.ask("OPTIONS", "/", **agent).headers["ms-author-via"] == "DAV"
    assert dav.code("PROPFIND", "/", b"", Depth="0", **agent) == 207
    assert dav.code("PROPFIND", "/Report.docx", b"", Depth="0", **agent) == 404
    assert dav.code("PUT", "/Report.docx", b"", **agent) == 201
    locked = dav.ask("LOCK", "/Report.docx", LOCK_BODY, Timeout="Second-3600", **agent)  # without Depth
    token = token_of(locked)
    times = (
        "<Z:Win32CreationTime>Thu, 02 Jan 2020 03:04:05 GMT</Z:Win32CreationTime>"
        "<Z:Win32LastAccessTime>Thu, 02 Jan 2020 03:04:06 GMT</Z:Win32LastAccessTime>"
        "<Z:Win32LastModifiedTime>Thu, 02 Jan 2020 03:04:07 GMT</Z:Win32LastModifiedTime>"
        "<Z:Win32FileAttributes>00000000</Z:Win32FileAttributes>"
    )
    answer = dav.ask("PROPPATCH", "/Report.docx", patched(setting(times)), If=f"(<{token}>)", **agent)
    assert answer.code == 207 and " 200 OK" in answer.text
    assert dav.code("HEAD", "/Report.docx", **agent) == 200
    assert dav.code("PUT", "/Report.docx", b"content", If=f"(<{token}>)", **agent) == 204
    answer = dav.ask(
        "PROPPATCH", "/Report.docx", patched(setting(times)), Lock_Token=f"<{token}>", **agent
    )  # some versions
    assert answer.code == 207 and " 200 OK" in answer.text
    assert dav.code("UNLOCK", "/Report.docx", Lock_Token=f"<{token}>", **agent) == 204
    assert (person.home / "Report.docx").read_bytes() == b"content"
    assert (person.home / "Report.docx").stat().st_mtime == 1_577_934_247
    back = dav.ask("PROPFIND", "/Report.docx", b"", Depth="0", **agent).text
    assert "Win32CreationTime" in back and "Thu, 02 Jan 2020 03:04:05 GMT" in back


def test_macos_finder_stores_a_file(dav: Dav, person: Person) -> None:
    """The order of requests of WebDAVFS/3.0.0 (macOS 14)."""
    agent = {"User_Agent": "WebDAVFS/3.0.0 (03008000) Darwin/23.0.0 (x86_64)"}
    assert "2" in dav.ask("OPTIONS", "/", **agent).headers["dav"]
    wanted = prop("quota-available-bytes", "quota-used-bytes")
    assert "quota-available-bytes>" in dav.ask("PROPFIND", "/", wanted, Depth="0", **agent).text
    for probe in ("/.metadata_never_index", "/.ql_disablethumbnails", "/.hidden", "/._."):
        assert dav.code("PROPFIND", probe, prop("getetag"), Depth="0", **agent) == 404
    for name in ("/photo.jpg", "/._photo.jpg"):
        assert dav.code("PUT", name, b"", **agent) == 201
        token = token_of(dav.ask("LOCK", name, LOCK_BODY, Timeout="Second-600", Depth="0", **agent))
        body = iter([b"j" * 40_000] * 4)
        given = {"If": f"(<{token}>)", "X_Expected_Entity_Length": "160000"}
        assert dav.code("PUT", name, body, **given, **agent) == 204
        assert dav.code("UNLOCK", name, Lock_Token=f"<{token}>", **agent) == 204
        assert (person.home / name[1:]).stat().st_size == 160_000
    dav.ask("MKCOL", "/x.sb-1a2b", **agent)
    dav.ask("PUT", "/x.sb-1a2b/photo.jpg", b"safe", **agent)
    assert dav.code("MOVE", "/x.sb-1a2b/photo.jpg", Destination=dav.to("/photo.jpg"), **agent) == 204
    assert (person.home / "photo.jpg").read_bytes() == b"safe"


@pytest.mark.parametrize("policy", ["hide", "refuse"])
def test_files_that_macos_writes_beside_others(tmp_path: Path, policy: str) -> None:
    with dav_server(tmp_path, binding={"apple_files": policy}) as server:
        person = server.account()
        (person.home / "._old").write_bytes(b"x")
        with Dav(server.plain, person) as client:
            kept = policy == "hide"
            for name in ("/.DS_Store", "/._f"):
                assert client.code("PUT", name, b"x") == (201 if kept else 403)
                assert client.code("GET", name) == (200 if kept else 404)
            assert client.code("LOCK", "/._g", LOCK_BODY) == (201 if kept else 403)
            assert client.code("MKCOL", "/.Trashes") == (201 if kept else 403)
            client.ask("PUT", "/f", b"x")
            assert client.code("MOVE", "/f", Destination=client.to("/._f")) == (204 if kept else 403)
            text = client.ask("PROPFIND", "/", Depth="1").text
            assert "._" not in text and "DS_Store" not in text


# -- pages -------------------------------------------------------------------------------------------------


def test_a_page_for_people(dav: Dav, person: Person) -> None:
    (person.home / "<script>alert(1)<script>").write_bytes(b"x")
    (person.home / "d").mkdir()
    answer = dav.ask("GET", "/")
    assert answer.code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "<script" not in answer.text
    assert 'href="/d/"' in answer.text
    assert dav.ask("HEAD", "/").body == b""
    dav.ask("PUT", "/x.html", b"<script>alert(1)</script>")
    assert "sandbox" in dav.ask("GET", "/x.html").headers["content-security-policy"]


def form(*files: tuple[str, bytes]) -> tuple[bytes, str]:
    parts = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s\r\n" % (name.encode(), content)
        for name, content in files
    )
    return parts + b"--b--\r\n", "multipart/form-data; boundary=b"


def test_files_are_dropped_on_the_page(server: DavServer, dav: Dav, person: Person) -> None:
    (person.home / "d").mkdir()
    large = os.urandom(400_000) + b"\r\n--"
    body, kind = form(("one", b"1"), ("C:\\dir\\zwei é", large), ("", b""))
    answer = dav.ask("POST", "/d/", body, Content_Type=kind, Origin=dav.to(""))
    assert (answer.code, answer.headers["location"]) == (303, "/d/")
    assert (person.home / "d" / "one").read_bytes() == b"1"
    assert (person.home / "d" / "zwei é").read_bytes() == large
    refused = dav.ask("POST", "/d/", body, Content_Type=kind, Origin="https://evil.example")
    assert refused.code == 403
    for name in ("..", ".", "a\0b"):
        body, kind = form((name, b"x"))
        assert dav.code("POST", "/d/", body, Content_Type=kind) == 400
    assert dav.code("POST", "/d/", form(("", b""))[0], Content_Type=kind) == 400
    assert dav.code("POST", "/d/", b"a=b", Content_Type="application/x-www-form-urlencoded") == 415
    assert dav.code("POST", "/d/one", body, Content_Type=kind) == 405
    body, kind = form(("cut", b"x" * 1000))
    assert dav.code("POST", "/d/", body[:-200], Content_Type=kind) == 400
    assert sorted(os.listdir(person.home / "d")) == ["one", "zwei é"]


def test_bindings_without_pages(tmp_path: Path) -> None:
    with dav_server(tmp_path, binding={"pages": False}) as server:
        person = server.account()
        with Dav(server.plain, person) as client:
            assert client.code("GET", "/") == 405
            assert client.code("POST", "/", form(("f", b"x"))[0], Content_Type=form()[1]) == 405


# -- HTTP as it comes --------------------------------------------------------------------------------------


def test_a_body_that_nobody_asked_for_is_not_sent(server: DavServer) -> None:
    """Without credentials `100 Continue` is not said, and the connection ends."""
    head = b"PUT /f HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.plain), 10) as sock:
        sock.sendall(head)
        found = b""
        while piece := sock.recv(65536):
            found += piece
    assert found.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in found


@pytest.mark.parametrize("size", [10, 100_000])
def test_requests_behind_each_other(server: DavServer, person: Person, size: int) -> None:
    """A long body goes past the parser; what comes behind it is a request again."""
    words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
    head = f"Host: a\r\nAuthorization: Basic {words}\r\n"
    stream = b""
    for index in range(3):
        stream += f"PUT /f{index} HTTP/1.1\r\n{head}Content-Length: {size}\r\n\r\n".encode() + b"x" * size
    stream += f"GET /f2 HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.plain), 10) as sock:
        sock.sendall(stream)
        found = b""
        while piece := sock.recv(65536):
            found += piece
    assert re.findall(rb"HTTP/1.1 (\d+)", found) == [b"201", b"201", b"201", b"200"]
    assert found.endswith(b"x" * size)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PUT /f HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /f HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"PUT /f HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n\n",
    ],
)
def test_heads_that_are_none(server: DavServer, head: bytes) -> None:
    assert re.match(rb"HTTP/1.1 4\d\d |$", raw(server.plain, head))


def test_trailers_and_frames_are_bounded(server: DavServer, person: Person) -> None:
    words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
    head = (
        f"PUT /f HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {words}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    kept = head + b"1\r\nx\r\n0\r\nIf-Match: *\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert re.findall(rb"HTTP/1.1 (\d+)", raw(server.plain, kept)) == [b"201", b"401"]
    for flood in (b"0\r\n" + b"A: b\r\n" * 20_000, b"1;" + b"e" * 100_000 + b"\r\nx\r\n"):
        with socket.create_connection(("127.0.0.1", server.plain), 10) as sock:
            try:
                sock.sendall(head + b"1\r\nx\r\n" + flood)
                found = sock.recv(1000)
            except ConnectionError:
                found = b""
        assert found == b"" or found.startswith(b"HTTP/1.1 4")
    with Dav(server.plain, person) as client:
        assert client.ask("GET", "/f").body == b"x"


def test_a_client_that_leaves_in_the_middle_of_a_download(server: DavServer, person: Person) -> None:
    (person.home / "f").write_bytes(b"x" * 50_000_000)
    words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
    with socket.create_connection(("127.0.0.1", server.plain), 10) as sock:
        sock.sendall(f"GET /f HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {words}\r\n\r\n".encode())
        assert sock.recv(100)

    def failed() -> list[dict[str, Any]]:
        lines = server.running.lines()
        return [one for one in lines if one["sender"] == "Download" and one["username"] == person.name]

    wait_for(failed, "it did not come about")
    assert failed()[0]["status"] == "failed"


# -- the end -----------------------------------------------------------------------------------------------


def test_drain_lets_an_upload_end(tmp_path: Path) -> None:
    with dav_server(tmp_path) as server:
        server.running.grace_time = 10
        server.running.stop()
        server.running.start()
        person = server.account()
        words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
        head = f"PUT /f HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {words}\r\nContent-Length: 200000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.plain), 10) as sock:
            sock.sendall(head.encode() + b"x" * 150_000)
            wait_for(lambda: uploads(person) > 0, "it did not come about")
            assert server.running.process is not None
            server.running.send(15)
            wait_for(lambda: refuses_transfers(server, person), "it did not come about")
            sock.sendall(b"x" * 50_000)
            assert sock.recv(1000).startswith(b"HTTP/1.1 201 ")
        server.running.stop()
        assert (person.home / "f").stat().st_size == 200_000


def refuses_transfers(server: DavServer, person: Person) -> bool:
    with Dav(server.plain, person) as client:
        try:
            return client.code("PUT", "/other", b"x") == 409
        except OSError:
            return True


# -- bounds ------------------------------------------------------------------------------------------------


def test_a_listing_of_many_names_needs_no_room_for_them(server: DavServer, person: Person) -> None:
    count = 100_000
    (person.home / "many").mkdir()
    for index in range(count):
        os.mknod(person.home / "many" / f"a rather long name of a file {index:06}.txt")
    with Dav(server.plain, person) as client:
        client.ask("PROPFIND", "/", Depth="1")
        before = server.running.resident()
        client.connection.request("PROPFIND", "/many/", None, {**client.authorization(), "Depth": "1"})
        answer = client.connection.getresponse()
        found = size = most = 0
        rest = b""
        while piece := answer.read(1 << 20):
            size += len(piece)
            rest += piece
            found += rest.count(b"<D:response>")
            rest = rest[-len(b"<D:response>") + 1 :]
            most = max(most, server.running.resident())
    assert found == count + 1
    assert size > 60_000_000
    assert most - before < 24 << 20


@pytest.mark.parametrize("mode", [1, 2])
def test_uploads_in_every_mode(tmp_path: Path, mode: int) -> None:
    with dav_server(tmp_path, other={"common": {"upload_mode": mode}}) as server:
        person = server.account()
        with Dav(server.plain, person) as client:
            for size in (10, 300_000):
                old, new = os.urandom(size), os.urandom(size)
                assert client.code("PUT", "/f", old) in (201, 204)
                assert client.code("PUT", "/f", new) == 204
                tag = client.ask("HEAD", "/f").headers["etag"]
                assert client.code("PUT", "/f", old, If_Match=tag) == 204
                assert client.ask("GET", "/f").body == old
                assert client.code("LOCK", "/new", LOCK_BODY) == 201
                assert client.code("DELETE", "/new") == 423
                assert client.code("COPY", "/f", Destination=client.to("/g")) in (201, 204)
                assert client.code("DELETE", "/g") == 204
                token = re.search(r"urn:uuid:[0-9a-f-]+", client.ask("PROPFIND", "/new", Depth="0").text)
                assert token is not None
                assert client.code("DELETE", "/new", If=f"(<{token[0]}>)") == 204
        assert os.listdir(person.home) == ["f"]


def test_uploads_of_one_name_at_a_time_do_not_mix(server: DavServer, person: Person) -> None:
    """Two requests of one client: the last that ends is what is there, whole."""
    words = base64.b64encode(f"{person.name}:{person.password}".encode()).decode()
    head = (
        f"PUT /f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {words}\r\nConnection: close\r\n"
        "Content-Length: 200000\r\n\r\n"
    ).encode()
    socks = [socket.create_connection(("127.0.0.1", server.plain), 10) for _ in range(2)]
    for index, sock in enumerate(socks):
        sock.sendall(head + str(index).encode() * 150_000)
    wait_for(lambda: uploads(person) == 2, "it did not come about")
    for index, sock in enumerate(socks):
        sock.sendall(str(index).encode() * 50_000)
        assert sock.makefile("rb").readline().split()[1] in (b"201", b"204")
        sock.close()
        assert (person.home / "f").read_bytes() == str(index).encode() * 200_000
