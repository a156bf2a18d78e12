# SPDX-License-Identifier: Apache-2.0
"""Requests of clients that cannot run here, in their order.

Office, LibreOffice, GNOME's and KDE's files, Cyberduck, WinSCP, lftp, Explorer.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from tests.support.dav_world import Answer, Dav, DavServer, dav_server
from tests.support.running import Person

WINDOWS = {"User_Agent": "Microsoft-WebDAV-MiniRedir/10.0.19045", "Translate": "f"}
OFFICE = {"User_Agent": "Microsoft Office Word 2014 (16.0.17328) Windows NT 10.0"}
LIBRE = {"User_Agent": "LibreOffice 24.2.5.2 denylistedbackend/8.5.0"}
GVFS = {"User_Agent": "gvfs/1.54.2"}
KDE = {"User_Agent": "Mozilla/5.0 (X11; Linux x86_64) KIO/5.115 kioworker/5.115.0", "Pragma": "no-cache"}
CYBERDUCK = {
    "User_Agent": "Cyberduck/9.0.4.42108 (Mac OS X/14.6) (aarch64)",
    "Accept_Encoding": "gzip,deflate",
}
WINSCP = {"User_Agent": "WinSCP/6.3.5 neon/0.33.0", "Connection": "TE", "TE": "trailers"}
COLLECTION_PROPERTIES = 1_000_000
"""Bytes of a listing that Explorer takes (FileAttributesLimitInBytes)."""


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


def lock_body(scope: str = "exclusive", owner: str = "office") -> str:
    return (
        f'<?xml version="1.0" encoding="utf-8" ?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope>'
        f"<D:locktype><D:write/></D:locktype><D:owner><D:href>{owner}</D:href></D:owner></D:lockinfo>"
    )


def token_of(answer: Answer) -> str:
    return answer.headers["lock-token"].strip("<>")


def update(properties: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" '
        f'xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop>{properties}</D:prop></D:set></D:propertyupdate>'
    )


def test_office_opens_keeps_and_stores_a_document(server: DavServer, dav: Dav, person: Person) -> None:
    (person.home / "Plan.docx").write_bytes(b"first")
    assert "LOCK" in dav.ask("OPTIONS", "/", **OFFICE).headers["allow"]
    assert dav.code("HEAD", "/Plan.docx", **OFFICE) == 200
    locked = dav.ask("LOCK", "/Plan.docx", lock_body(), Timeout="Second-3600", Depth="0", **OFFICE)
    token = token_of(locked)
    read = dav.ask("GET", "/Plan.docx", **OFFICE)
    assert (locked.code, read.code, read.body) == (200, 200, b"first")
    with Dav(server.plain, person) as other:  # somebody else opens it to read, and cannot store
        assert other.code("GET", "/Plan.docx") == 200
        assert other.code("LOCK", "/Plan.docx", lock_body(owner="other")) == 423
        assert other.code("PUT", "/Plan.docx", b"other") == 423
    refreshed = dav.ask("LOCK", "/Plan.docx", If=f"(<{token}>)", Timeout="Second-3600", **OFFICE)
    assert refreshed.code == 200 and token in refreshed.text
    tag = dav.ask("HEAD", "/Plan.docx", **OFFICE).headers["etag"]
    assert tag == read.headers["etag"]
    assert dav.code("PUT", "/Plan.docx", b"second", If=f"(<{token}> [{tag}])", **OFFICE) == 204
    assert (
        dav.code("PUT", "/Plan.docx", b"third", If=f"(<{token}> [{tag}])", **OFFICE) == 412
    )  # it has another tag
    assert dav.code("UNLOCK", "/Plan.docx", Lock_Token=f"<{token}>", **OFFICE) == 204
    assert (person.home / "Plan.docx").read_bytes() == b"second"


def test_office_makes_a_document_and_its_owner_file(dav: Dav, person: Person) -> None:
    """``~$`` beside a document says who has it open; a new document is locked before anything is there."""
    for name in ("/~$New.docx", "/New.docx"):
        locked = dav.ask("LOCK", name, lock_body(), Timeout="Second-3600", **OFFICE)
        token = token_of(locked)
        assert locked.code == 201
        assert dav.code("PUT", name, b"content", If=f"(<{token}>)", **OFFICE) == 204
        assert dav.code("UNLOCK", name, Lock_Token=f"<{token}>", **OFFICE) == 204
    assert dav.code("DELETE", "/~$New.docx", **OFFICE) == 204
    assert [file.name for file in person.home.iterdir()] == ["New.docx"]


def test_libreoffice_keeps_its_lock_over_a_save(dav: Dav, person: Person) -> None:
    (person.home / "sheet.ods").write_bytes(b"one")
    asked = (
        '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><lockdiscovery/><supportedlock/>'
        "<resourcetype/><getlastmodified/></prop></propfind>"
    )
    found = dav.ask("PROPFIND", "/sheet.ods", asked, Depth="0", **LIBRE)
    assert found.code == 207 and "<D:exclusive/>" in found.text
    token = token_of(dav.ask("LOCK", "/sheet.ods", lock_body(), Depth="0", Timeout="Second-300", **LIBRE))
    assert token in dav.ask("PROPFIND", "/sheet.ods", asked, Depth="0", **LIBRE).text
    for content in (b"two", b"three"):
        assert dav.code("PUT", "/sheet.ods", content, If=f"(<{token}>)", **LIBRE) == 204
        again = dav.ask("LOCK", "/sheet.ods", If=f"(<{token}>)", Timeout="Second-300", **LIBRE)
        assert again.code == 200 and token in again.text
    assert dav.code("UNLOCK", "/sheet.ods", Lock_Token=f"<{token}>", **LIBRE) == 204
    assert (person.home / "sheet.ods").read_bytes() == b"three"


def test_shared_locks_of_two_who_edit_together(dav: Dav, server: DavServer, person: Person) -> None:
    (person.home / "f").write_bytes(b"x")
    tokens = [token_of(dav.ask("LOCK", "/f", lock_body("shared", who), Depth="0", **OFFICE)) for who in "ab"]
    assert dav.code("LOCK", "/f", lock_body(), **OFFICE) == 423
    assert dav.code("PUT", "/f", b"y", If=f"(<{tokens[1]}>)", **OFFICE) == 204
    assert dav.code("PUT", "/f", b"z", **OFFICE) == 423
    for token in tokens:
        assert dav.code("UNLOCK", "/f", Lock_Token=f"<{token}>", **OFFICE) == 204
    assert dav.code("PUT", "/f", b"z", **OFFICE) == 204


def test_gnome_files_replaces_by_a_name_beside(dav: Dav, person: Person) -> None:
    asked = (
        '<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:"><D:prop><D:creationdate/><D:displayname/>'
        "<D:getcontentlength/><D:getcontenttype/><D:getetag/><D:getlastmodified/><D:resourcetype/></D:prop></D:propfind>"
    )
    (person.home / "dir with spaces").mkdir()
    (person.home / "dir with spaces/a.txt").write_bytes(b"old")
    found = dav.ask("PROPFIND", "/dir%20with%20spaces/", asked, Depth="1", **GVFS)
    hrefs = [one.text for one in ET.fromstring(found.body).iter("{DAV:}href")]
    assert hrefs == [
        "/dir%20with%20spaces/",
        "/dir%20with%20spaces/a.txt",
    ]  # as asked, a slash behind collections
    assert dav.code("PUT", "/dir%20with%20spaces/.goutputstream-X1", b"new", **GVFS) == 201
    there = dav.to("/dir%20with%20spaces/a.txt")
    for overwrite, code in (("F", 412), ("T", 204)):
        headers = {"Destination": there, "Overwrite": overwrite, **GVFS}
        assert dav.code("MOVE", "/dir%20with%20spaces/.goutputstream-X1", **headers) == code
    assert (person.home / "dir with spaces/a.txt").read_bytes() == b"new"
    assert (
        dav.code("COPY", "/dir%20with%20spaces", Destination="/copy%20of%20it", **GVFS) == 201
    )  # a path alone
    assert (person.home / "copy of it/a.txt").read_bytes() == b"new"


def test_lftp_sets_a_date(dav: Dav, person: Person) -> None:
    (person.home / "f").write_bytes(b"x")
    body = update("<D:getlastmodified>Thu, 02 Jan 2020 03:04:07 GMT</D:getlastmodified>")
    answer = dav.ask("PROPPATCH", "/f", body, User_Agent="lftp/4.9.2")
    assert answer.code == 207 and " 200 OK" in answer.text
    assert (person.home / "f").stat().st_mtime == 1_577_934_247


@pytest.mark.parametrize("value", ["", "yesterday", "Thu, 99 Jan 2020 03:04:07 GMT", "1577934247"])
def test_a_date_of_windows_that_is_none(dav: Dav, person: Person, value: str) -> None:
    (person.home / "f").write_bytes(b"x")
    before = (person.home / "f").stat().st_mtime
    body = update(f"<Z:Win32LastModifiedTime>{value}</Z:Win32LastModifiedTime>")
    answer = dav.ask("PROPPATCH", "/f", body, **WINDOWS)
    assert answer.code == 207
    assert re.findall(r"HTTP/1.1 (\d+)", answer.text) == ["409"]
    assert (person.home / "f").stat().st_mtime == before


def test_explorer_takes_a_listing_of_a_thousand_names(dav: Dav, person: Person) -> None:
    """Each with the properties that it sets on everything it stores."""
    for number in range(1000):
        (person.home / f"Some picture of the holidays {number}.jpg").touch()
    listed = dav.ask("PROPFIND", "/", b"", Depth="1", **WINDOWS)
    assert listed.code == 207
    assert len(listed.body) < COLLECTION_PROPERTIES
    assert (
        "DAV:location" not in listed.text and "<D:location" not in listed.text
    )  # Finder would show them twice


def found(answer: Answer) -> dict[str, ET.Element]:
    """The properties that are there, by address."""
    assert answer.code == 207, answer.text
    there = {}
    for one in ET.fromstring(answer.body).iter("{DAV:}response"):
        for stat in one.findall("{DAV:}propstat"):
            if " 200 " in (stat.findtext("{DAV:}status") or ""):
                there[one.findtext("{DAV:}href") or ""] = stat.find("{DAV:}prop")
    return {href: prop for href, prop in there.items() if prop is not None}


def test_kde_copies_by_a_name_beside_and_renames(dav: Dav, person: Person) -> None:
    asked = (
        '<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:"><D:prop><D:creationdate/>'
        "<D:getcontentlength/><D:displayname/><D:source/><D:getcontentlanguage/><D:getcontenttype/><D:getlastmodified/>"
        "<D:getetag/><D:supportedlock/><D:lockdiscovery/><D:resourcetype/></D:prop></D:propfind>"
    )
    room = (
        '<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:"><D:prop><D:quota-available-bytes/>'
        "<D:quota-used-bytes/></D:prop></D:propfind>"
    )
    top = found(dav.ask("PROPFIND", "/", asked, Depth="1", **KDE))
    assert set(top) == {"/"} and top["/"].find("{DAV:}resourcetype/{DAV:}collection") is not None
    free = found(dav.ask("PROPFIND", "/", room, Depth="0", **KDE))["/"].findtext(
        "{DAV:}quota-available-bytes"
    )
    assert int(free or 0) > 0
    assert dav.code("PROPFIND", "/Fotos%20%26%20Co", asked, Depth="0", **KDE) == 404
    assert dav.code("MKCOL", "/Fotos%20%26%20Co", **KDE) == 201
    part, whole = "/Fotos%20%26%20Co/a%2Bb.jpg.part", "/Fotos%20%26%20Co/a%2Bb.jpg"
    for content in (b"first", b"second"):
        assert dav.code("PUT", part, content, **KDE) == 201
        there = content == b"second"
        headers = {"Destination": dav.to(whole), "Depth": "infinity", **KDE}
        if there:
            assert dav.code("MOVE", part, Overwrite="F", **headers) == 412
        assert dav.code("MOVE", part, Overwrite="T", **headers) == (204 if there else 201)
    listed = found(dav.ask("PROPFIND", "/Fotos%20%26%20Co/", asked, Depth="1", **KDE))
    assert listed.keys() == {"/Fotos%20%26%20Co/", whole} or listed.keys() == {
        "/Fotos%20%26%20Co/",
        "/Fotos%20%26%20Co/a+b.jpg",
    }
    assert (person.home / "Fotos & Co/a+b.jpg").read_bytes() == b"second"
    headers = {"Destination": dav.to("/Kopie"), "Overwrite": "F", "Depth": "infinity", **KDE}
    assert dav.code("COPY", "/Fotos%20%26%20Co", **headers) == 201
    assert dav.code("DELETE", "/Fotos%20%26%20Co", Depth="infinity", **KDE) == 204
    assert [path.name for path in person.home.iterdir()] == ["Kopie"]


def test_cyberduck_keeps_dates_in_properties_of_its_own(dav: Dav, person: Person) -> None:
    """It reads both times back: its own counts while the server's is the one that it saw."""
    names = (
        "<d:prop><d:getlastmodified/><d:getcontentlength/><d:getetag/><d:resourcetype/>"
        '<s:lastmodified xmlns:s="SAR:"/><s:lastmodified_server xmlns:s="SAR:"/></d:prop>'
    )
    asked = f'<?xml version="1.0" encoding="UTF-8"?><d:propfind xmlns:d="DAV:">{names}</d:propfind>'
    assert dav.code("HEAD", "/", **CYBERDUCK) == 200
    assert found(dav.ask("PROPFIND", "/", asked, Depth="1", **CYBERDUCK)).keys() == {"/"}
    stored = dav.ask("PUT", "/r%C3%A9sum%C3%A9.pdf", b"x" * 100, **CYBERDUCK, Content_Type="application/pdf")
    assert stored.code == 201
    seen = found(dav.ask("PROPFIND", "/r%C3%A9sum%C3%A9.pdf", asked, Depth="0", **CYBERDUCK))
    server = next(iter(seen.values())).findtext("{DAV:}getlastmodified")
    times = f"<s:lastmodified>Thu, 02 Jan 2020 03:04:07 GMT</s:lastmodified><s:lastmodified_server>{server}</s:lastmodified_server>"
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><d:propertyupdate xmlns:d="DAV:" xmlns:s="SAR:"><d:set><d:prop>'
        f"{times}</d:prop></d:set></d:propertyupdate>"
    )
    answer = dav.ask("PROPPATCH", "/r%C3%A9sum%C3%A9.pdf", body, **CYBERDUCK)
    assert answer.code == 207 and " 200 OK" in answer.text
    again = next(
        iter(found(dav.ask("PROPFIND", "/r%C3%A9sum%C3%A9.pdf", asked, Depth="0", **CYBERDUCK)).values())
    )
    assert again.findtext("{SAR:}lastmodified") == "Thu, 02 Jan 2020 03:04:07 GMT"
    assert again.findtext("{SAR:}lastmodified_server") == again.findtext("{DAV:}getlastmodified") == server
    part = dav.ask("GET", "/r%C3%A9sum%C3%A9.pdf", Range="bytes=90-", **CYBERDUCK)
    assert (part.code, part.body) == (206, b"x" * 10)
    assert "content-encoding" not in part.headers  # it asked for gzip; a range of that is another one
    locked = dav.ask(
        "LOCK", "/r%C3%A9sum%C3%A9.pdf", lock_body(owner="cyberduck"), Timeout="Infinite", **CYBERDUCK
    )
    token = token_of(locked)
    headers = {"Destination": dav.to("/b.pdf"), "Overwrite": "T", **CYBERDUCK}
    assert dav.code("MOVE", "/r%C3%A9sum%C3%A9.pdf", **headers) == 423
    assert dav.code("MOVE", "/r%C3%A9sum%C3%A9.pdf", If=f"(<{token}>)", **headers) == 201
    assert [path.name for path in person.home.iterdir()] == ["b.pdf"]
    properties = dav.ask("PROPFIND", "/b.pdf", asked, Depth="0", **CYBERDUCK)
    assert "Thu, 02 Jan 2020 03:04:07 GMT" in properties.text  # they go along


def test_winscp_locks_edits_and_synchronises(dav: Dav, person: Person) -> None:
    (person.home / "site").mkdir()
    (person.home / "site/index.html").write_bytes(b"one")
    asked = (
        '<?xml version="1.0" encoding="utf-8"?>\r\n<propfind xmlns="DAV:"><prop>\r\n'
        '<resourcetype xmlns="DAV:"/>\r\n<getcontentlength xmlns="DAV:"/>\r\n<getlastmodified xmlns="DAV:"/>\r\n'
        '<creationdate xmlns="DAV:"/>\r\n<executable xmlns="http://apache.org/dav/props/"/>\r\n'
        '<owner xmlns="DAV:"/>\r\n<group xmlns="DAV:"/>\r\n</prop></propfind>\r\n'
    )
    assert "LOCK" in dav.ask("OPTIONS", "/site/", **WINSCP).headers["allow"]
    listed = found(dav.ask("PROPFIND", "/site/", asked, Depth="1", **WINSCP))
    assert listed["/site/index.html"].findtext("{DAV:}getcontentlength") == "3"
    locked = dav.ask(
        "LOCK", "/site/index.html", lock_body(owner="winscp"), Depth="0", Timeout="Second-300", **WINSCP
    )
    token = token_of(locked)
    assert dav.code("PUT", "/site/index.html", b"two", If=f"(<{token}>)", **WINSCP) == 204
    date = update("<D:getlastmodified>Thu, 02 Jan 2020 03:04:07 GMT</D:getlastmodified>")
    patched = dav.ask("PROPPATCH", "/site/index.html", date, If=f"(<{token}>)", **WINSCP)
    assert patched.code == 207 and " 200 OK" in patched.text
    assert dav.code("UNLOCK", "/site/index.html", Lock_Token=f"<{token}>", **WINSCP) == 204
    assert (person.home / "site/index.html").stat().st_mtime == 1_577_934_247
    # A synchronisation renames and copies by whole addresses, and takes a 404 for what is not there.
    assert dav.code("PROPFIND", "/site/new.html", asked, Depth="0", **WINSCP) == 404
    for method, name in (("COPY", "new.html"), ("MOVE", "newer.html")):
        headers = {"Destination": dav.to(f"/site/{name}"), "Overwrite": "F", "Depth": "0", **WINSCP}
        source = "/site/index.html" if method == "COPY" else "/site/new.html"
        if method == "MOVE":
            headers["Depth"] = "infinity"
        assert dav.code(method, source, **headers) == 201
    assert sorted(path.name for path in (person.home / "site").iterdir()) == ["index.html", "newer.html"]
