# SPDX-License-Identifier: Apache-2.0
"""The files of examples/reverse-proxy: nginx and Apache in front of the REST API, the pages and WebDAV."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import certificate
from tests.support.command_line import process
from tests.support.ports import free_port
from tests.support.running import Person, Running, running, wait_for
from tests.support.web_servers import EXAMPLE, apache, nginx

pytestmark = pytest.mark.needs("curl", "openssl")

CLIENT, OTHER = "127.0.0.9", "127.0.0.10"
BOSS = "a long and boring password"


@dataclass(frozen=True)
class Front:
    """A server behind a proxy.

    Attributes:
        kind: ``nginx`` or ``apache``.
        port: of the proxy.
        person: who may do everything by WebDAV.
        place: of certificate and downloads.
    """

    kind: str
    port: int
    server: Running
    person: Person
    place: Path

    def curl(self, path: str, *words: str | Path, source: str = CLIENT) -> tuple[int, str]:
        """Status and body of an answer."""
        done = subprocess.run(
            [
                *("curl", "-q", "-sS", "--noproxy", "*", "--interface", source, "--max-time", "30"),
                *("--cacert", str(self.place / "cert.pem"), "-w", "\n%{http_code}", *map(str, words)),
                f"https://localhost:{self.port}{path}",
            ],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    @property
    def login(self) -> tuple[str, str]:
        return "-u", f"{self.person.name}:{self.person.password}"

    def asked_from(self, path: str) -> set[str]:
        """The addresses that the log has for requests of a path."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [line for line in self.server.lines() if line.get("uri") == path]
            return bool(found)

        wait_for(look, f"no request of {path} in the log: {self.server.tail()}")
        return {str(line["remote_addr"]).rpartition(":")[0] or str(line["remote_addr"]) for line in found}


@contextlib.contextmanager
def fronted(directory: Path, kind: str) -> Iterator[Front]:
    settings = json.loads((EXAMPLE / "tidegate.json").read_text())
    settings["common"] = {"defender": {"enabled": True, "threshold": 5}}
    ports = {}
    for section, old in (("httpd", 8080), ("webdavd", 10080)):
        (binding,) = settings[section]["bindings"]
        assert binding["port"] == old
        ports[f"http://127.0.0.1:{old}"] = f"http://127.0.0.1:{free_port()}"
        binding["port"] = int(ports[f"http://127.0.0.1:{old}"].rpartition(":")[2])
    port = free_port()
    place = Path(
        tempfile.mkdtemp(prefix="tidegate-front-")
    )  # Apache's user may not enter pytest's directories
    place.chmod(0o755)
    certificate(place, "localhost")
    words = {"/etc/ssl/tidegate": str(place), **ports}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place)
        server = stack.enter_context(running(directory / "server", settings=settings))
        person = server.account()
        done = process(
            *("admin", "add", "boss", "-c", server.directory, "--password-stdin", "--allow-api-keys"),
            stdin=f"{BOSS}\n",
        )
        assert done.code == 0, done.err
        if kind == "nginx":
            passwords = place / "htpasswd"
            passwords.write_text(f"door:{hashed('Door-pass-1')}\n")
            inside = (EXAMPLE / "nginx-basic.conf").read_text()
            for old, new in {**ports, "/etc/nginx/tidegate.htpasswd": str(passwords)}.items():
                inside = inside.replace(old, new)
            stack.enter_context(nginx(place, port, words, inside=inside))
        else:
            digest = place / "htdigest"
            secret = hashlib.md5(b"door:tidegate:Door-pass-1").hexdigest()  # RFC 2617 section 3.2.2.2
            digest.write_text(f"door:tidegate:{secret}\n")
            stack.enter_context(apache(place, port, {**words, "/etc/apache2/tidegate.htdigest": str(digest)}))
        yield Front(kind, port, server, person, place)


def hashed(password: str) -> str:
    done = subprocess.run(
        ["openssl", "passwd", "-apr1", password], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_behind_a_web_server(kind: str, tmp_path: Path) -> None:
    with fronted(tmp_path, kind) as front:
        files_by_webdav(front)
        a_password_in_front_of_the_pages(front)
        guesses_of_one_client_do_not_keep_others_out(front)


def files_by_webdav(front: Front) -> None:
    """Uploads in pieces, odd names, COPY and MOVE, passwords of the front, and whose address is logged."""
    data = front.place / "data"
    data.write_bytes(bytes(range(256)) * 12_000)  # 3 MB: above nginx's usual limit
    with data.open("rb") as piped:
        done = subprocess.run(
            [
                *("curl", "-q", "-sS", "--cacert", str(front.place / "cert.pem"), "-T", "-", *front.login),
                *("-o", "/dev/null", "-w", "%{http_code}", f"https://localhost:{front.port}/dav/a"),
            ],
            stdin=piped, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.stdout == "201", done
    assert (front.person.home / "a").read_bytes() == data.read_bytes()

    odd = "/dav/100%25%20%2B%3B.txt"
    assert front.curl(odd, "-T", data, *front.login)[0] == 201
    assert (front.person.home / "100% +;.txt").stat().st_size == 256 * 12_000
    there = f"Destination: https://localhost:{front.port}/dav/b"
    assert front.curl(odd, "-X", "MOVE", "-H", there, *front.login)[0] == 201
    assert (front.person.home / "b").exists()
    assert front.curl("/dav/b", "-r", "0-9", *front.login, "-o", front.place / "got")[0] == 206
    elsewhere = "Destination: https://other.example:1/dav/c"
    assert front.curl("/dav/b", "-X", "COPY", "-H", elsewhere, *front.login)[0] == 502

    forged = ("-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-Forwarded-Host: other.example")
    assert front.curl("/dav/forged", "-T", data, *forged, *front.login)[0] == 201
    assert front.asked_from("/dav/forged") == {CLIENT}
    assert front.curl("/healthz", *forged, source=OTHER)[0] == 200
    assert front.asked_from("/healthz") == {OTHER}


def a_password_in_front_of_the_pages(front: Front) -> None:
    digest = ("--digest",) if front.kind == "apache" else ()
    door = (*digest, "-u", "door:Door-pass-1")
    assert front.curl("/web/admin/login")[0] == 401
    assert front.curl("/web/admin/login", *digest, "-u", "door:wrong")[0] == 401
    status, page = front.curl("/web/admin/login", *door)
    assert (status, "<form" in page) == (200, True), page
    jar = front.place / "cookies"
    form = ("-d", "name=boss", "--data-urlencode", f"password={BOSS}", "-c", jar)
    here = ("-H", f"Origin: https://localhost:{front.port}")
    assert front.curl("/web/admin/login", *door, *form, *here)[0] == 303
    assert "__Host-" in jar.read_text(), jar.read_text()  # the server knows that it is reached by TLS
    assert front.curl("/web/admin/users", *door, "-b", jar)[0] == 200
    # The front's own password is no business of the server's, which would count it as a wrong one.
    assert not front.server.lines(username="door")

    key = process("api-key", "add", "k", "--admin", "boss", "-c", front.server.directory)
    assert key.code == 0, key.err
    proof = ("-H", f"X-SFTPGO-API-KEY: {key.out.strip()}")
    if front.kind == "apache":
        assert front.curl("/api/v2/version", *proof)[0] == 401
        proof = (*proof, *door)
    status, body = front.curl("/api/v2/version", *proof)
    assert (status, "version" in body) == (200, True)


def guesses_of_one_client_do_not_keep_others_out(front: Front) -> None:
    wrong = ("-u", f"{front.person.name}:wrong", "-X", "PROPFIND", "-H", "Depth: 0")
    codes = [front.curl("/dav/", *wrong)[0] for _ in range(12)]
    assert codes[0] == 401
    assert codes[-1] in (403, 429), codes

    right = (*front.login, "-X", "PROPFIND", "-H", "Depth: 0")
    forged = ("-H", f"X-Forwarded-For: {OTHER}")
    assert front.curl("/dav/", *right, *forged)[0] == codes[-1]
    assert front.curl("/dav/", *right, source=OTHER)[0] == 207
