# SPDX-License-Identifier: Apache-2.0
"""`webdavd.cors`: pages of other sites, as browsers let them ask; each request as a browser sends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.dav_world import Answer, Dav, DavServer, dav_server

APP = "https://app.example.com"
CORS = {
    "enabled": True,
    "allowed_origins": [APP],
    "allowed_methods": ["GET", "PUT", "POST", "PROPFIND", "MKCOL"],
    "allowed_headers": ["Authorization", "Depth"],
    "exposed_headers": ["ETag"],
    "max_age": 600,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    with dav_server(tmp_path_factory.mktemp("cors"), cors=CORS) as made:
        yield made


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    """A site that may use the login that the browser remembers."""
    cors = {**CORS, "allow_credentials": True, "options_success_status": 200}
    with dav_server(tmp_path_factory.mktemp("cors"), cors=cors) as made:
        yield made


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    with dav_server(tmp_path_factory.mktemp("cors")) as made:
        yield made


def ask_first(dav: Dav, method: str, origin: str = APP, names: str = "authorization") -> Answer:
    return dav.ask(
        "OPTIONS",
        "/f",
        Origin=origin,
        Access_Control_Request_Method=method,
        Access_Control_Request_Headers=names,
        Sec_Fetch_Site="cross-site",
    )


def test_browsers_ask_before_anybody_logs_in(server: DavServer) -> None:
    with Dav(server.plain) as nobody:
        answer = ask_first(nobody, "PUT")
    assert (answer.code, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == "PUT"
    assert answer.headers["access-control-allow-headers"] == "authorization"
    assert answer.headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("method", "origin", "names"),
    [("DELETE", APP, ""), ("PUT", "https://evil.net", ""), ("PUT", APP, "x-other")],
)
def test_what_is_not_allowed_is_not_named(server: DavServer, method: str, origin: str, names: str) -> None:
    with Dav(server.plain) as nobody:
        answer = ask_first(nobody, method, origin, names)
    assert answer.code == 204
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_page_stores_and_reads(server: DavServer) -> None:
    person = server.account()
    with Dav(server.plain, person) as page:
        stored = page.ask("PUT", "/f", b"text", Origin=APP, Sec_Fetch_Site="cross-site")
        read = page.ask("GET", "/f", Origin=APP, Sec_Fetch_Site="cross-site")
    assert (stored.code, read.code, read.body) == (201, 200, b"text")
    for answer in (stored, read):
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-expose-headers"] == "ETag"
        assert "Origin" in answer.headers["vary"]


def test_refusals_can_be_read_too(server: DavServer) -> None:
    with Dav(server.plain) as nobody:
        answer = nobody.ask("PROPFIND", "/", Origin=APP, Sec_Fetch_Site="cross-site")
    assert (answer.code, answer.headers["access-control-allow-origin"]) == (401, APP)


@pytest.mark.parametrize("origin", ["https://evil.net", "null", "https://app.example.com.evil.net"])
def test_other_sites_change_nothing(server: DavServer, origin: str) -> None:
    person = server.account()
    with Dav(server.plain, person) as page:
        answer = page.ask("PUT", "/f", b"text", Origin=origin, Sec_Fetch_Site="cross-site")
    assert answer.code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert not (person.home / "f").exists()


def test_methods_that_the_site_may_not_use_change_nothing(server: DavServer) -> None:
    person = server.account()
    (person.home / "f").write_bytes(b"text")
    with Dav(server.plain, person) as page:
        assert page.ask("DELETE", "/f", Origin=APP, Sec_Fetch_Site="cross-site").code == 403
    assert (person.home / "f").exists()


FORM = {"Content_Type": "multipart/form-data; boundary=x", "Origin": APP, "Sec_Fetch_Site": "cross-site"}
UPLOAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\ntext\r\n--x--\r\n'


def test_forms_of_pages_are_sent_unasked(server: DavServer, trusting: DavServer) -> None:
    """Browsers send them with the login that they remember, without a preflight request."""
    person, trusted = server.account(), trusting.account()
    with Dav(server.plain, person) as page:
        assert page.ask("POST", "/", UPLOAD, **FORM).code == 403
    with Dav(trusting.plain, trusted) as page:
        assert page.ask("POST", "/", UPLOAD, **FORM).code < 400
    assert not (person.home / "f").exists()
    assert (trusted.home / "f").read_bytes() == b"text"


def test_logins_that_the_browser_remembers(trusting: DavServer) -> None:
    with Dav(trusting.plain) as nobody:
        answer = ask_first(nobody, "PUT")
    assert answer.code == 200
    assert answer.headers["access-control-allow-credentials"] == "true"


def test_nothing_of_it_without_the_setting(closed: DavServer) -> None:
    person = closed.account()
    with Dav(closed.plain, person) as page:
        first = ask_first(page, "PUT")
        put = page.ask("PUT", "/f", b"text", Origin=APP, Sec_Fetch_Site="cross-site")
    assert (first.code, put.code) == (200, 403)
    for answer in (first, put):
        assert not {"vary", "access-control-allow-origin"} & answer.headers.keys()
