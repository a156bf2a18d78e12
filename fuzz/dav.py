# SPDX-License-Identifier: Apache-2.0
"""Throws bytes at the text of WebDAV: ``python fuzz/dav.py --seconds 60``; ``--atheris`` takes that fuzzer.

What must hold: readers raise nothing but their own errors; what is read and written again reads the same; a
path stays absolute and has no dots; a range lies in its content; forms give back what they were made of.
"""

from __future__ import annotations

import contextlib
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from fuzz.runner import run, words

from tidegate.doors.dav.posting import Form
from tidegate.doors.dav.wire import bodies, conditions, headers, paths, ranges, xml
from tidegate.errors import InvalidPath

WORDS = [
    b"<D:propfind xmlns:D='DAV:'>", b"<D:prop>", b"</D:prop>", b"</D:propfind>", b"<D:allprop/>",
    b"<x xmlns='urn:x'/>", b"<D:propertyupdate xmlns:D='DAV:'>", b"<D:set>", b"</D:set>",
    b"</D:propertyupdate>", b"xml:lang='de'",
    b"<D:lockinfo xmlns:D='DAV:'>", b"<D:lockscope><D:exclusive/></D:lockscope>",
    b"<D:locktype><D:write/></D:locktype>",
    b"</D:lockinfo>", b"<!DOCTYPE x [", b"<!ENTITY a 'b'>", b"]>", b"&a;", b"&lt;", b"&#0;", b"<![CDATA[",
    b"]]>", b"(<urn:uuid:0>)", b"(Not <DAV:no-lock>", b'(["a"])', b"<http://h/p>", b"(", b")", b"[", b"]",
    b"<", b">", b"bytes=0-1", b",", b"-", b"/../", b"%2e%2e", b"%00", b"%", b"http://h:80/", b"\xff",
    b"\xc3\xa9", b"\0", b'"', b"--b\r\n", b'Content-Disposition: form-data; filename="f"\r\n\r\n',
    b"--b--\r\n", b"\r\n",
]  # fmt: skip


def one(data: bytes) -> None:
    """One input for everything."""
    text = data.decode("latin-1")
    with contextlib.suppress(xml.BadXml):
        element = xml.parse(data)
        written = xml.write(element)
        again = xml.parse(written.encode())
        assert (again.name, again.content) == (element.name, element.content) or _same(again, element)
    for read in (bodies.propfind, bodies.proppatch, bodies.lock):
        with contextlib.suppress(bodies.BadXml, bodies.BadBody):
            read(data)
    with contextlib.suppress(conditions.BadIf):
        header = conditions.parse(text)
        assert header.lists
        assert all(some for _, some in header.lists)
        conditions.holds(header, {})
    for path in (lambda: paths.path_of(data), lambda: paths.target_of(text, ("h",))):
        with contextlib.suppress(InvalidPath, paths.Elsewhere):
            found = path()
            assert found.startswith("/")
            assert not {"..", ".", ""} & set(found.parts)
            assert paths.path_of(paths.quoted(found).encode()) == found
    with contextlib.suppress(ranges.NotSatisfiable):
        for first, end in ranges.byte_ranges(text, 1000):
            assert 0 <= first < end <= 1000
    ranges.update_range(text)
    headers.basic(f"Basic {text}")
    headers.timeout(text, 10, 100)
    headers.parse_http_date(text)
    headers.unix_time_ns(text)
    for header_reader in (
        lambda: headers.depth(text, "0"),
        lambda: headers.overwrite(text),
        lambda: headers.lock_token(text),
        lambda: headers.tags("If-Match", text),
    ):
        with contextlib.suppress(headers.BadHeader):
            header_reader()
    with contextlib.suppress(ValueError):
        form = Form("multipart/form-data; boundary=b")
        for at in range(0, len(data), 7):
            list(form.feed(data[at : at + 7]))


def _same(one: xml.Element, other: xml.Element) -> bool:
    """True if two elements mean the same; prefixes may differ, and text may be in other pieces."""
    return (
        one.name == other.name
        and {name: value for name, (_, value) in one.attributes.items()}
        == {name: value for name, (_, value) in other.attributes.items()}
        and one.text == other.text
        and len(list(one.children)) == len(list(other.children))
        and all(_same(a, b) for a, b in zip(one.children, other.children, strict=True))
    )


def case(chance: random.Random, seed: int) -> None:
    del seed
    one(words(chance, WORDS))


if __name__ == "__main__":
    raise SystemExit(run("dav.py", __doc__, case, one))
