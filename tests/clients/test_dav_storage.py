# SPDX-License-Identifier: Apache-2.0
"""WebDAV clients in every upload mode, on local disk and on a bucket: what comes back is what was sent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.dav_world import Dav, DavServer, dav_server
from tests.support.ftp_programs import run, same, tree
from tests.support.object_servers import ObjectServer
from tests.support.running import Person

from tidegate.model import StorageConfig


@pytest.fixture(scope="module", params=[0, 1, 2])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    with dav_server(tmp_path_factory.mktemp("dav"), other={"common": {"upload_mode": request.param}}) as made:
        yield made


@pytest.fixture(params=["disk", "bucket"])
def person(request: pytest.FixtureRequest, server: DavServer) -> Iterator[Person]:
    if request.param == "disk":
        fresh = server.account()
        yield fresh
        assert fresh.leftovers() == []
        return
    objects: ObjectServer = request.getfixturevalue("seaweedfs_server")
    server.running.secrets.add(objects.access_secret)
    yield server.account(filesystem=StorageConfig("s3", {"s3config": objects.options(objects.bucket())}))


@pytest.fixture
def dav(server: DavServer, person: Person) -> Iterator[Dav]:
    with Dav(server.plain, person) as made:
        yield made


@pytest.mark.needs("rclone")
def test_rclone_gets_back_what_it_sent(server: DavServer, person: Person, tmp_path: Path) -> None:
    made = tree(tmp_path / "tree", large=7_000_000)
    hidden = run("rclone", "obscure", person.password).strip()
    remote = f":webdav,url='{server.url()}',vendor=owncloud,user={person.name},pass={hidden}:"
    base = ["rclone", "--config", os.devnull, "--retries", "1", "--low-level-retries", "1", "-q"]
    run(*base, "copy", "--create-empty-src-dirs", made, f"{remote}up")
    run(*base, "copy", "--create-empty-src-dirs", f"{remote}up", tmp_path / "down")
    same(made, tmp_path / "down")
    run(*base, "copyto", made / "none", f"{remote}up/large")  # shorter: nothing of the old one stays
    run(*base, "copyto", f"{remote}up/large", tmp_path / "emptied")
    assert (tmp_path / "emptied").read_bytes() == b""
    run(*base, "purge", f"{remote}up")
    assert run(*base, "lsf", remote) == ""


def test_curl_over_tls_and_in_pieces(server: DavServer, person: Person, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(os.urandom(3_000_000))
    words = ["curl", "-sS", "-f", "-u", f"{person.name}:{person.password}", "--cacert", server.certificate]
    url = f"{server.url(secure=True)}/f"
    run(*words, "-T", tmp_path / "f", url)
    run(*words, "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-T", tmp_path / "f", f"{url}-chunked")
    (tmp_path / "half").write_bytes((tmp_path / "f").read_bytes()[:1_000_000])
    run(*words, "-C", "-", f"{url}-chunked", "-o", tmp_path / "half")
    assert (tmp_path / "half").read_bytes() == (tmp_path / "f").read_bytes()


def test_a_cut_upload_leaves_what_was_there(server: DavServer, person: Person, dav: Dav) -> None:
    """In each mode: a request is whole or nothing."""
    assert dav.code("PUT", "/f", b"old") == 201
    head = dav.authorization()["Authorization"]
    for name in ("f", "new"):
        with socket.create_connection(("127.0.0.1", server.plain), 20) as raw:
            lines = f"PUT /{name} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {head}\r\n"
            raw.sendall(f"{lines}Content-Length: 300000\r\n\r\n".encode() + b"x" * 200_000)
        server.running.wait_line("Upload", username=person.name, virtual_path=f"/{name}")
    assert dav.ask("GET", "/f").body == b"old"
    assert dav.code("GET", "/new") == 404


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_tree_over_a_tree(dav: Dav, method: str) -> None:
    """And a tree over a file: of the old one nothing stays."""
    for top in ("/old", "/new"):
        for path in (top, f"{top}/sub"):
            assert dav.code("MKCOL", path) == 201
        assert dav.code("PUT", f"{top}{top}", top.encode()) == 201
        assert dav.code("PUT", f"{top}/sub{top}", top.encode() * 50_000) == 201
    assert dav.code("PUT", "/file", b"x") == 201
    for target in ("/old", "/file"):
        if method == "MOVE" and target == "/file":
            assert dav.code("MOVE", "/old", Destination=dav.to("/new")) == 201
        assert dav.code(method, "/new", Destination=dav.to(target), Overwrite="F") == 412
        assert dav.code(method, "/new", Destination=dav.to(target)) == 204
        assert dav.ask("GET", f"{target}/sub/new").body == b"/new" * 50_000
        assert dav.code("GET", f"{target}/old") == 404
        assert dav.code("GET", f"{target}/sub/old") == 404
        assert dav.code("GET", "/new/new") == (200 if method == "COPY" else 404)
    listed = dav.ask("PROPFIND", "/", Depth="1").text
    assert ".tidegate" not in listed
    for name in ("/old", "/new", "/file"):
        dav.ask("DELETE", name)
    assert dav.ask("PROPFIND", "/", Depth="1").text.count("<D:response>") == 1
