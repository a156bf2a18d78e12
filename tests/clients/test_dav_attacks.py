# SPDX-License-Identifier: Apache-2.0
"""WebDAV as somebody meets it who means harm: other names of one thing, floods, markup, odd framing."""

from __future__ import annotations

import os
import socket
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.dav_world import Dav, DavServer, dav_server
from tests.support.running import Person, wait_for

LOCK = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype></D:lockinfo>"
)


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


# -- other names of one thing ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("target", ["/link/sub", "/link/sub/inner", "/link/sub/new"])
def test_a_directory_is_not_put_onto_or_into_itself_by_another_name(
    dav: Dav, person: Person, method: str, target: str
) -> None:
    (person.home / "a/sub/inner").mkdir(parents=True)
    (person.home / "a/sub/file").write_text("kept")
    (person.home / "link").symlink_to("a")
    answer = dav.ask(method, "/a/sub", Destination=dav.to(target))
    assert answer.code == 403, answer.text
    assert sorted(os.listdir(person.home / "a/sub")) == ["file", "inner"]
    assert (person.home / "a/sub/file").read_text() == "kept"


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_holds_the_source_is_not_replaced_by_another_name(dav: Dav, person: Person, method: str) -> None:
    (person.home / "a/sub/inner").mkdir(parents=True)
    (person.home / "a/sub/inner/file").write_text("kept")
    (person.home / "link").symlink_to("a")
    answer = dav.ask(method, "/a/sub/inner", Destination=dav.to("/link/sub"))
    assert answer.code == 403, answer.text
    assert (person.home / "a/sub/inner/file").read_text() == "kept"


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_file_put_onto_itself_by_another_name_is_kept(dav: Dav, person: Person, method: str) -> None:
    (person.home / "a").mkdir()
    (person.home / "a/file").write_text("kept")
    (person.home / "link").symlink_to("a")
    assert dav.code(method, "/a/file", Destination=dav.to("/link/file")) in (400, 403)
    assert (person.home / "a/file").read_text() == "kept"


def test_what_is_locked_below_keeps_all_of_the_destination(dav: Dav, person: Person) -> None:
    (person.home / "new").mkdir()
    (person.home / "old").mkdir()
    for name in ("a", "b", "c"):
        (person.home / "old" / name).write_text("kept")
    assert dav.code("LOCK", "/old/b", LOCK) == 200
    for method in ("COPY", "MOVE"):
        assert dav.code(method, "/new", Destination=dav.to("/old")) == 423
        assert sorted(os.listdir(person.home / "old")) == ["a", "b", "c"]


def test_who_may_not_rename_loses_nothing_at_the_destination(server: DavServer) -> None:
    rights = ("list", "download", "upload", "overwrite", "delete")
    person = server.account(permissions={"/": rights})
    (person.home / "new").mkdir()
    (person.home / "old").mkdir()
    (person.home / "old/file").write_text("kept")
    with Dav(server.plain, person) as dav:
        for method in ("MOVE", "COPY"):
            assert dav.code(method, "/new", Destination=dav.to("/old")) == 403
        assert (person.home / "old/file").read_text() == "kept"


BY_OTHER_NAMES = [
    ("PUT", "/d/f", "x", {}),
    ("PUT", "/link/f", "x", {}),
    ("PUT", "/to_f", "x", {}),
    ("PUT", "//d/./f", "x", {}),
    ("PUT", "/d/new", "x", {}),
    ("DELETE", "/d/f", None, {}),
    ("DELETE", "/link/f", None, {}),
    ("DELETE", "/d", None, {}),
    ("MOVE", "/d", None, {"Destination": "/e"}),
    ("MOVE", "/d/f", None, {"Destination": "/e"}),
    ("MOVE", "/g", None, {"Destination": "/d/f"}),
    ("MOVE", "/g", None, {"Destination": "/link/f"}),
    ("COPY", "/g", None, {"Destination": "/to_f"}),
    ("COPY", "/g", None, {"Destination": "/d/new"}),
    ("MKCOL", "/d/new", None, {}),
    (
        "PATCH",
        "/link/f",
        "x",
        {"Content-Type": "application/x-sabredav-partialupdate", "X-Update-Range": "append"},
    ),
    (
        "PROPPATCH",
        "/to_f",
        '<propertyupdate xmlns="DAV:"><set><prop><x xmlns="urn:x">1</x></prop></set></propertyupdate>',
        {},
    ),
    (
        "POST",
        "/link",
        b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nx\r\n--b--\r\n',
        {"Content-Type": "multipart/form-data; boundary=b"},
    ),
    ("LOCK", "/link/f", LOCK, {}),
    ("LOCK", "/d/new", LOCK, {}),
]


def test_a_lock_holds_by_every_name_and_method(dav: Dav, server: DavServer, person: Person) -> None:
    (person.home / "d").mkdir()
    (person.home / "d/f").write_text("kept")
    (person.home / "g").write_text("other")
    (person.home / "link").symlink_to("d")
    (person.home / "to_f").symlink_to("d/f")
    assert dav.code("LOCK", "/d", LOCK, Depth="infinity") == 200
    for method, path, body, headers in BY_OTHER_NAMES:
        assert dav.code(method, path, body, **headers) == 423, (method, path)
    assert (person.home / "d/f").read_text() == "kept"
    assert os.listdir(person.home / "d") == ["f"]


# -- markup ------------------------------------------------------------------------------------------------


def test_names_with_characters_that_xml_has_not(dav: Dav, person: Person) -> None:
    for name in ("a\x01b", "line\nbreak", "tail\r", "\ufffe", "<&>'\"", "]]>"):
        (person.home / name).write_text("x")
    answer = dav.ask("PROPFIND", "/", Depth="1")
    assert answer.code == 207
    found = ET.fromstring(answer.body)
    assert len(found.findall("{DAV:}response")) == 7
    assert dav.code("GET", "/") == 200


def test_the_page_of_a_directory_in_one_whose_name_is_no_text(dav: Dav, person: Person) -> None:
    os.makedirs(os.path.join(os.fsencode(person.home), b"n\xff<b>", b"in\xfe"))
    answer = dav.ask("GET", "/n%FF%3Cb%3E/in%FE/")
    assert answer.code == 200
    assert "<b>" not in answer.text


def test_errors_about_names_that_are_no_text(dav: Dav) -> None:
    for method in ("GET", "DELETE", "PROPFIND", "HEAD", "PROPPATCH", "LOCK", "UNLOCK"):
        code = dav.code(method, "/%FFno/%FE", Lock_Token="<a:b>")
        assert 400 <= code < 500, (method, code)
    for method in ("COPY", "MOVE"):
        assert 400 <= dav.code(method, "/%FFno", Destination=dav.to("/%FE/x")) < 500


def test_a_property_whose_namespace_is_markup(dav: Dav, person: Person) -> None:
    (person.home / "f").write_text("x")
    for uri in ("DAV: a/&gt;&lt;evil", 'u"&gt;', "a b c", " "):
        body = (
            f"<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><x:p xmlns:x='{uri}'>1</x:p>"
            "</D:prop></D:set></D:propertyupdate>"
        )
        assert dav.code("PROPPATCH", "/f", body) in (207, 400)
        body = f"<D:propfind xmlns:D='DAV:'><D:prop><x:p xmlns:x='{uri}'/></D:prop></D:propfind>"
        answer = dav.ask("PROPFIND", "/f", body, Depth="0")
        if answer.code == 207:
            ET.fromstring(answer.body)
    for body in (None, '<propfind xmlns="DAV:"><propname/></propfind>'):
        ET.fromstring(dav.ask("PROPFIND", "/f", body, Depth="0").body)


# -- floods ------------------------------------------------------------------------------------------------


def flood(method: str, around: str, count: int, size: int) -> str:
    names = "".join(f"<n:a{i}/>" for i in range(count))
    return around.replace("@", names).replace("#", f'xmlns:n="{"u" * size}"')


def test_a_long_namespace_is_not_answered_many_times(dav: Dav, server: DavServer, person: Person) -> None:
    (person.home / "f").write_text("x")
    before = server.running.resident()
    for method, around, count in (
        ("PROPFIND", '<D:propfind xmlns:D="DAV:" #><D:prop>@</D:prop></D:propfind>', 1000),
        (
            "PROPPATCH",
            '<D:propertyupdate xmlns:D="DAV:" #><D:set><D:prop>@</D:prop></D:set></D:propertyupdate>',
            1000,
        ),
        (
            "PROPPATCH",
            '<D:propertyupdate xmlns:D="DAV:" #><D:set><D:prop><p>@</p></D:prop></D:set></D:propertyupdate>',
            9000,
        ),
        (
            "LOCK",
            LOCK.replace('"DAV:"', '"DAV:" #').replace("</D:lockinfo>", "<D:owner>@</D:owner></D:lockinfo>"),
            9000,
        ),
    ):
        body = flood(method, around, count, 150_000)
        answer = dav.ask(method, "/f", body, Depth="0")
        assert (answer.code, len(answer.body) < 100_000) == (400, True), method
    assert server.running.resident() - before < 100 * 1024 * 1024


def longest_wait(server: DavServer, work: threading.Thread) -> float:
    """Seconds of the longest answer to OPTIONS while something is under way."""
    worst = 0.0
    with Dav(server.plain) as other:
        other.code("OPTIONS", "/")
        work.start()
        while work.is_alive():
            begun = time.monotonic()
            other.code("OPTIONS", "/")
            worst = max(worst, time.monotonic() - begun)
    work.join()
    return worst


def test_a_listing_of_many_properties_lets_others_run(dav: Dav, server: DavServer, person: Person) -> None:
    for number in range(2000):
        (person.home / f"f{number}").touch()
    names = "".join(f"<n:a{i}/>" for i in range(1000))
    body = f'<D:propfind xmlns:D="DAV:" xmlns:n="urn:n"><D:prop>{names}</D:prop></D:propfind>'
    sizes: list[int] = []
    work = threading.Thread(target=lambda: sizes.append(len(dav.ask("PROPFIND", "/", body, Depth="1").body)))
    before = server.running.resident()
    worst = longest_wait(server, work)
    assert worst < 0.5
    assert server.running.resident() - before < 64 * 1024 * 1024
    assert sizes[0] > 2000 * 1000


def test_locks_of_a_directory_are_told_once_and_not_for_each_member(dav: Dav, person: Person) -> None:
    (person.home / "d").mkdir()
    for number in range(200):
        (person.home / f"d/f{number}").touch()
    shared = LOCK.replace("exclusive", "shared").replace(
        "</D:lockinfo>", f"<D:owner>{'o' * 4000}</D:owner></D:lockinfo>"
    )
    for _ in range(20):
        assert dav.code("LOCK", "/d", shared, Depth="infinity") == 200
    assert dav.code("LOCK", "/d/f7", shared, Depth="0") == 200
    body = '<propfind xmlns="DAV:"><prop><getetag/><lockdiscovery/></prop></propfind>'
    answer = dav.ask("PROPFIND", "/d", body, Depth="1")
    assert (answer.code, len(answer.body) < 2_000_000) == (207, True)
    assert len(dav.ask("PROPFIND", "/d", Depth="1").body) < 2_000_000  # allprop
    statuses: dict[str, int] = {}
    for one in ET.fromstring(answer.body).findall("{DAV:}response"):
        owners = sum(1 for _ in one.iter("{DAV:}owner"))
        href = one.findtext("{DAV:}href")
        assert owners == {"/d/": 20, "/d/f7": 1}.get(href or "", 0) or href == "/d/f7"
        for stat in one.findall("{DAV:}propstat"):
            if stat.find("{DAV:}prop/{DAV:}lockdiscovery") is not None:
                status = stat.findtext("{DAV:}status") or ""
                statuses[status] = statuses.get(status, 0) + 1
    assert set(statuses) == {"HTTP/1.1 200 OK", "HTTP/1.1 507 Insufficient Storage"}
    assert sum(statuses.values()) == 201


def test_a_whole_tree_with_links_that_lead_back_has_an_end(tmp_path: Path) -> None:
    with dav_server(tmp_path, binding={"infinite_depth": True}) as server:
        person = server.account()
        (person.home / "a/b").mkdir(parents=True)
        (person.home / "a/b/f").write_text("x")
        for number in range(3):
            (person.home / f"a/b/up{number}").symlink_to("../..")
        with Dav(server.plain, person) as dav:
            found = [
                one.text
                for one in ET.fromstring(dav.ask("PROPFIND", "/", Depth="infinity").body).iter("{DAV:}href")
            ]
        ups = [f"/a/b/up{number}/" for number in range(3)]
        assert sorted(filter(None, found)) == sorted(["/", "/a/", "/a/b/", "/a/b/f", *ups])


def test_bodies_that_are_dear_let_others_run(dav: Dav, server: DavServer, person: Person) -> None:
    (person.home / "f").touch()
    attributes = " ".join(f'a{i}=""' for i in range(64))
    patch = "".join(f"<p{i} {attributes}/>" for i in range(500))
    parts = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 40_000

    def work() -> None:
        for _ in range(3):
            body = f'<propertyupdate xmlns="DAV:"><set><prop>{patch}</prop></set></propertyupdate>'
            dav.ask("PROPPATCH", "/f", body)
        dav.ask("POST", "/", parts + b"--b--\r\n", Content_Type="multipart/form-data; boundary=b")

    assert longest_wait(server, threading.Thread(target=work)) < 0.5


def test_clients_that_leave_in_the_middle_leave_nothing_open(
    dav: Dav, server: DavServer, person: Person
) -> None:
    (person.home / "f").write_bytes(bytes(30_000_000))
    for number in range(3000):
        (person.home / f"some long name of a file {number}").touch()
    login = f"Authorization: {dav.authorization()['Authorization']}\r\n\r\n".encode()
    assert dav.code("PROPFIND", "/f", Depth="0") == 207
    before = server.running.descriptors()
    form = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999999\r\n"
    heads = (
        (b"GET /f", b"", b""),
        (b"PROPFIND /", b"Depth: 1\r\n", b""),
        (b"PUT /g", b"Content-Length: 9999999\r\n", b"x" * 300_000),
        (b"PUT /f", b"Transfer-Encoding: chunked\r\n", b"5\r\nxx"),
        (b"POST /", form, b'--b\r\nContent-Disposition: form-data; name="a"; filename="h"\r\n\r\nxxx'),
        (b"PROPPATCH /f", b"Content-Length: 9999\r\n", b"<a>"),
    )
    for _ in range(5):
        for what, more, body in heads:
            sock = socket.create_connection(("127.0.0.1", server.plain), timeout=10)
            sock.sendall(what + b" HTTP/1.1\r\nHost: localhost\r\n" + more + login + body)
            if what in (b"GET /f", b"PROPFIND /"):
                sock.recv(10)
            sock.close()
    wait_for(lambda: server.running.descriptors() <= before, "descriptors stay open", 15)
    assert (person.home / "f").stat().st_size == 30_000_000
    assert not (person.home / "g").exists()
    assert not (person.home / "h").exists()


def test_numbers_of_any_length(dav: Dav, person: Person) -> None:
    nines = "9" * 6000
    for headers in (
        {"X_Expected_Entity_Length": nines},
        {"X_OC_Mtime": "9" * 18},
        {"X_OC_Mtime": nines},
        {"Timeout": f"Second-{nines}"},
        {"If_Unmodified_Since": f"Mon, 01 Jan {nines} 00:00:00 GMT"},
    ):
        assert dav.code("PUT", "/f", b"x" * 10, **headers) < 500, headers
    assert dav.code("GET", "/f", Range=f"bytes={nines}-") < 500
    (person.home / "f").write_text("x")
    assert (
        dav.code(
            "PATCH",
            "/f",
            "x",
            Content_Type="application/x-sabredav-partialupdate",
            X_Update_Range=f"bytes={'9' * 19}-",
        )
        == 416
    )


# -- logins ------------------------------------------------------------------------------------------------


def test_wrong_passwords_log_nobody_else_out(tmp_path: Path) -> None:
    with dav_server(tmp_path, cache={"users": {"max_size": 1}}) as server:
        person, other = server.account(), server.account()
        with Dav(server.plain, person) as dav, Dav(server.plain, other) as wrong:
            assert dav.code("PROPFIND", "/", Depth="0") == 207
            object.__setattr__(other, "password", "not it")
            assert wrong.code("PROPFIND", "/", Depth="0") == 401
            assert dav.code("PROPFIND", "/", Depth="0") == 207
        ends = server.running.lines("connection_ended") or []
        text = server.running.tail()
        assert "max_clients" not in text, ends


# -- addresses ---------------------------------------------------------------------------------------------


def test_destinations_mean_one_thing(dav: Dav, person: Person) -> None:
    (person.home / "f").write_text("x")
    before = sorted(os.listdir(person.home))
    for value in ("/g\th", "/g\\..\\h\x80", "/caf\xc3\xa9", "/g#h", "ftp://localhost/g", "g"):
        assert dav.code("COPY", "/f", Destination=value) == 400, value
        assert sorted(os.listdir(person.home)) == before


def test_answers_lead_to_no_other_host(dav: Dav, person: Person) -> None:
    (person.home / "evil.example").mkdir()
    form = b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nx\r\n--b--\r\n'
    answer = dav.ask("POST", "//evil.example/", form, Content_Type="multipart/form-data; boundary=b")
    assert answer.code == 303
    assert answer.headers["location"] == "/evil.example/"
    assert 'action="//' not in dav.ask("GET", "//evil.example/").text


# -- framing -----------------------------------------------------------------------------------------------


def exchange(port: int, data: bytes, seconds: float = 10) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        sock.sendall(data)
        got = b""
        while piece := sock.recv(65536):
            got += piece
    return got


INNER = b"DELETE /f HTTP/1.1\r\nHost: localhost\r\n@Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
        b"Content-Length: %d\r\nContent-Length: 0\r\n",
        b"Content-Length: +%d\r\n",
        b"Content-Length: %d, 0\r\n",
        b"Content-Length : %d\r\n",
        b"Content-Length: 0x%x\r\n",
        b"Transfer-Encoding: xchunked\r\nX: %d\r\n",
        b"Transfer-Encoding: chunked, identity\r\nX: %d\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nX: %d\r\n",
        b"Transfer-Encoding: gzip, chunked, gzip\r\nX: %d\r\n",
        b"Transfer-Encoding:\x0bchunked\r\nX: %d\r\n",
        b"X: a\n\rContent-Length: %d\r\n",
        b"X: a\r\n Content-Length: 0\r\nTransfer-Encoding\x00: chunked\r\nX: %d\r\n",
    ],
)
def test_no_request_is_hidden_in_the_body_of_another(
    server: DavServer, person: Person, dav: Dav, framing: bytes
) -> None:
    (person.home / "f").write_text("kept")
    login = f"Authorization: {dav.authorization()['Authorization']}\r\n".encode()
    inner = INNER.replace(b"@", login)
    body = b"0\r\n\r\n" + inner
    head = b"PUT /g HTTP/1.1\r\nHost: localhost\r\n" + login
    try:
        answer = exchange(server.plain, head + framing % len(body) + b"\r\n" + body)
    except ConnectionResetError:
        answer = b""
    assert answer.count(b"HTTP/1.1 ") <= 1, answer
    assert (person.home / "f").read_text() == "kept"


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\nx\r\n0\r\n\r\n",
        b"0x1\r\nx\r\n0\r\n\r\n",
        b"1 \r\nxx\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nx",
        b"1\r\nxx\r\n0\r\n\r\n",
        b"1\nx\n0\n\n",
        b"1;a=" + b"b" * 400_000 + b"\r\nx\r\n0\r\n\r\n",
        b"1;a=" + b"b" * 40_000 + b"\r\nx\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_are_none_store_nothing(
    server: DavServer, person: Person, dav: Dav, chunks: bytes
) -> None:
    login = f"Authorization: {dav.authorization()['Authorization']}\r\n".encode()
    head = b"PUT /g HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" + login + b"\r\n"
    try:
        answer = exchange(server.plain, head + chunks)
    except ConnectionResetError:
        answer = b""
    assert not answer.startswith(b"HTTP/1.1 2"), answer
    assert not (person.home / "g").exists()


def test_an_upgrade_is_not_taken_and_hides_nothing(server: DavServer, person: Person, dav: Dav) -> None:
    (person.home / "f").write_text("kept")
    login = f"Authorization: {dav.authorization()['Authorization']}\r\n".encode()
    body = INNER.replace(b"@", login)
    head = (
        b"PUT /g HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n"
        b"Content-Length: %d\r\n" % len(body)
    )
    answer = exchange(server.plain, head + login + b"\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 201")
    assert (person.home / "g").read_bytes() == body
    assert (person.home / "f").read_text() == "kept"


@pytest.mark.parametrize("size", [0, 10, 20_000, 200_000])
@pytest.mark.parametrize("method", ["GET", "DELETE", "PROPFIND", "LOCK", "OPTIONS", "MKCOL", "UNLOCK"])
def test_bodies_of_methods_that_have_none_are_no_requests(
    server: DavServer, person: Person, dav: Dav, method: str, size: int
) -> None:
    (person.home / "f").write_text("kept")
    login = f"Authorization: {dav.authorization()['Authorization']}\r\n".encode()
    inner = INNER.replace(b"@", login)
    body = (inner * (size // len(inner) + 1))[:size]
    head = f"{method} /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n".encode()
    tail = b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = exchange(server.plain, head + login + b"\r\n" + body + tail)
    assert answer.count(b"HTTP/1.1 ") == 2, answer
    assert (person.home / "f").read_text() == "kept"


def test_a_client_that_leaves_with_requests_behind_each_other(
    server: DavServer, person: Person, dav: Dav
) -> None:
    """All of them are told, not the last one alone; a traceback in the log fails the server's end."""
    (person.home / "f").write_bytes(bytes(50_000_000))
    assert dav.code("PROPFIND", "/f", Depth="0") == 207
    before = server.running.descriptors()
    login = f"Authorization: {dav.authorization()['Authorization']}\r\n\r\n".encode()
    one = b"GET /f HTTP/1.1\r\nHost: localhost\r\n" + login
    for _ in range(10):
        sock = socket.create_connection(("127.0.0.1", server.plain), timeout=10)
        sock.sendall(one * 3)
        sock.recv(10)
        sock.close()
    wait_for(lambda: server.running.descriptors() <= before, "descriptors stay open", 15)
    for line in server.running.lines("Download", username=person.name):
        assert line["size_bytes"] < 50_000_000


def test_the_page_keeps_conditions(dav: Dav, person: Person) -> None:
    (person.home / "f").write_text("kept")
    form = b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nx\r\n--b--\r\n'
    for headers in ({"If_None_Match": "*"}, {"If": "(<urn:nothing>)"}):
        kind = "multipart/form-data; boundary=b"
        assert dav.code("POST", "/", form, Content_Type=kind, **headers) == 412
    assert (person.home / "f").read_text() == "kept"
