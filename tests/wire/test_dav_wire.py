# SPDX-License-Identifier: Apache-2.0
"""The text of WebDAV: XML that comes back as it went, headers, ranges, addresses; and bytes thrown at all of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from fuzz import dav as fuzz
from hypothesis import given
from hypothesis import strategies as st

from tidegate.doors.dav.wire import answers, bodies, conditions, headers, paths, ranges, xml
from tidegate.errors import InvalidPath

# -- XML ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "written"),
    [
        ("<a/>", "<a/>"),
        ('<a xmlns="u"/>', '<a xmlns="u"/>'),
        ('<p:a xmlns:p="u"><b/>t</p:a>', '<p:a xmlns:p="u"><b/>t</p:a>'),
        ('<a xmlns="u"><b xmlns=""/></a>', '<a xmlns="u"><b xmlns=""/></a>'),
        (
            '<a xmlns="u"><b xmlns="v"><c xmlns="u"/></b></a>',
            '<a xmlns="u"><b xmlns="v"><c xmlns="u"/></b></a>',
        ),
        ('<a xml:lang="de">&lt;&amp;&#13;</a>', '<a xml:lang="de">&lt;&amp;&#13;</a>'),
        ('<a b="&quot;&#10;&lt;"/>', "<a b='\"&#10;&lt;'/>"),
        ('<p:a xmlns:p="u" p:b="1"/>', '<p:a xmlns:p="u" p:b="1"/>'),
        ("<a><![CDATA[<x>]]>y</a>", "<a>&lt;x&gt;y</a>"),
        ("<a><!-- c --><?p i?>t</a>", "<a>t</a>"),
    ],
)
def test_elements_are_written_as_they_were(document: str, written: str) -> None:
    assert xml.write(xml.parse(document.encode())) == written
    again = xml.write(xml.parse(written.encode()))
    assert again == written


def test_the_language_above_goes_along() -> None:
    element = xml.parse(b"<a/>")
    assert xml.write(element, "fr") == '<a xml:lang="fr"/>'
    assert xml.write(xml.parse(b'<a xml:lang="de"/>'), "fr") == '<a xml:lang="de"/>'
    assert element.attributes == {}


def test_one_prefix_for_two_namespaces_in_one_element() -> None:
    element = xml.Element(("u", "a"), "p", {("v", "b"): ("p", "1")})
    again = xml.parse(xml.write(element).encode())
    assert again.name == ("u", "a")
    assert {name: value for name, (_, value) in again.attributes.items()} == {("v", "b"): "1"}


@pytest.mark.parametrize("document", ["<!DOCTYPE a><a/>", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_document_types_are_refused(document: str) -> None:
    with pytest.raises(xml.ForbiddenXml):
        xml.parse(document.encode())


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<a>",
        b"<a/><b/>",
        b"<a>&b;</a>",
        b"<" + b"a" * 10,
        b"<a>" * (xml.MAX_DEPTH + 1) + b"</a>" * (xml.MAX_DEPTH + 1),
        b"<a>" + b"<b/>" * xml.MAX_ELEMENTS + b"</a>",
        b"<a " + b" ".join(b'a%d=""' % n for n in range(xml.MAX_ATTRIBUTES + 1)) + b"/>",
        b'<?xml version="1.0" encoding="none"?><a/>',
    ],
)
def test_what_is_no_xml_or_too_much(document: bytes) -> None:
    with pytest.raises(xml.BadXml):
        xml.parse(document)


def test_bounds_hold_at_their_values() -> None:
    depth, count = xml.MAX_DEPTH, xml.MAX_ELEMENTS
    xml.parse(b"<a>" * depth + b"</a>" * depth)
    xml.parse(b"<a>" + b"<b/>" * (count - 1) + b"</a>")


# -- bodies ------------------------------------------------------------------------------------------------


def find(inner: str) -> bodies.PropFind:
    return bodies.propfind(f'<propfind xmlns="DAV:">{inner}</propfind>'.encode())


def test_propfind() -> None:
    assert bodies.propfind(b"  ") == bodies.PropFind("allprop")
    assert find("<allprop/>") == bodies.PropFind("allprop")
    assert find("<allprop/><include><a/></include>") == bodies.PropFind("allprop", (("DAV:", "a"),))
    assert find("<propname/><extension xmlns='u'/>") == bodies.PropFind("propname")
    both = find('<prop><a/><b xmlns=""/><a/></prop>')
    assert both == bodies.PropFind("prop", (("DAV:", "a"), ("", "b")))


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<prop/><allprop/>",
        "<prop xmlns='u'/>",
        "<prop>" + "".join(f"<p{n}/>" for n in range(1001)) + "</prop>",
    ],
)
def test_propfind_that_is_none(inner: str) -> None:
    with pytest.raises(bodies.BadBody):
        find(inner)


def test_proppatch_keeps_the_order() -> None:
    text = (
        '<D:propertyupdate xmlns:D="DAV:" xml:lang="en"><D:set><D:prop><D:a>1</D:a></D:prop></D:set>'
        "<D:other/><D:remove><D:prop><D:a/></D:prop></D:remove>"
        '<D:set><D:prop xml:lang="de"><D:b> 2 </D:b></D:prop></D:set></D:propertyupdate>'
    )
    first, second, third = bodies.proppatch(text.encode())
    assert (first.name, first.text) == (("DAV:", "a"), "1")
    assert first.value == '<D:a xmlns:D="DAV:" xml:lang="en">1</D:a>'
    assert (second.name, second.value) == (("DAV:", "a"), None)
    assert (third.text, third.value) == ("2", '<D:b xmlns:D="DAV:" xml:lang="de"> 2 </D:b>')


def locked(inner: str) -> bodies.LockRequest:
    return bodies.lock(f'<lockinfo xmlns="DAV:">{inner}</lockinfo>'.encode())


WRITE = "<locktype><write/></locktype>"


def test_lock() -> None:
    assert locked(f"<lockscope><exclusive/></lockscope>{WRITE}") == bodies.LockRequest(False, "")
    made = locked(f"<lockscope><shared/></lockscope>{WRITE}<owner><href>me</href>&amp;</owner>")
    assert made.shared
    assert xml.parse(made.owner.encode()).name == ("DAV:", "owner")
    assert "&amp;</D:owner>" in made.owner


@pytest.mark.parametrize(
    "inner",
    [
        WRITE,
        "<lockscope><exclusive/></lockscope>",
        f"<lockscope><exclusive/><shared/></lockscope>{WRITE}",
        f"<lockscope/>{WRITE}",
        "<lockscope><shared/></lockscope><locktype><read/></locktype>",
        f"<lockscope><shared/></lockscope>{WRITE}<owner>{'x' * 4096}</owner>",
    ],
)
def test_lock_that_is_none(inner: str) -> None:
    with pytest.raises(bodies.BadBody):
        locked(inner)


# -- headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (lambda v: headers.depth(v, "1"), None, "1"),
        (lambda v: headers.depth(v, "1"), " Infinity ", "infinity"),
        (headers.overwrite, None, True),
        (headers.overwrite, "f", False),
        (lambda v: headers.timeout(v, 5, 100), None, 5),
        (lambda v: headers.timeout(v, 500, 100), "x", 100),
        (lambda v: headers.timeout(v, 5, 100), "Infinite, Second-4", 100),
        (lambda v: headers.timeout(v, 5, 100), "Extend, Second-40", 40),
        (lambda v: headers.timeout(v, 5, 100), "Second-4100000000", 100),
        (lambda v: headers.timeout(v, 5, 100), "Second-0", 1),
        (headers.lock_token, "<urn:a>", "urn:a"),
        (headers.lock_token, " urn:a ", "urn:a"),
        (lambda v: headers.tags("T", v), "*", []),
        (lambda v: headers.tags("T", v), '"a", W/"b"', [(False, "a"), (True, "b")]),
        (headers.parse_http_date, "Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
        (headers.parse_http_date, "Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
        (headers.parse_http_date, "tomorrow", None),
        (headers.parse_http_date, "Sun, 99 Nov 1994 08:49:37 GMT", None),
        (headers.unix_time_ns, "1.5", 1_500_000_000),
        (headers.unix_time_ns, "-1.5", -1_500_000_000),
        (headers.unix_time_ns, "1e5", None),
        (headers.unix_time_ns, "", None),
        (headers.basic, "Basic YTpiOmM=", ("a", "b:c")),
        (headers.basic, "basic w6Q6w7Y=", ("\u00e4", "\u00f6")),
        (headers.basic, "Basic 5DpiOmM=", ("\u00e4", "b:c")),
        (headers.basic, "Basic YQ==", None),
        (headers.basic, "Bearer YTpi", None),
        (headers.basic, "Basic " + "A" * 8196, None),
        (headers.http_date, 784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (headers.http_date, 10**15, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (headers.iso_date, 784_111_777, "1994-11-06T08:49:37Z"),
    ],
)  # fmt: skip
def test_headers(read: Any, value: Any, expected: Any) -> None:
    assert read(value) == expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda v: headers.depth(v, "1"), "2"),
        (headers.overwrite, "yes"),
        (headers.lock_token, None),
        (headers.lock_token, "<>"),
        (headers.lock_token, "<a> <b>"),
        (lambda v: headers.tags("T", v), ""),
        (lambda v: headers.tags("T", v), "a"),
        (lambda v: headers.tags("T", v), '"a" "b"'),
        (lambda v: headers.tags("T", v), ",".join(['"a"'] * 101)),
    ],
)
def test_headers_that_are_none(read: Any, value: Any) -> None:
    with pytest.raises(headers.BadHeader):
        read(value)


# -- If ----------------------------------------------------------------------------------------------------


def test_the_examples_of_rfc_4918_section_10_4() -> None:
    lock, other = "urn:uuid:181d4fae", "urn:uuid:58f202ac"
    header = conditions.parse(f'(<{lock}> ["I am an ETag"]) (["I am another ETag"])')
    assert header.tokens == {lock}
    assert conditions.holds(header, {"": conditions.State('"I am an ETag"', frozenset({lock}))})
    assert conditions.holds(header, {"": conditions.State('"I am another ETag"')})
    assert not conditions.holds(header, {"": conditions.State('"I am an ETag"')})
    header = conditions.parse(f"(Not <{lock}> <{other}>)")
    assert conditions.holds(header, {"": conditions.State(tokens=frozenset({other}))})
    assert not conditions.holds(header, {"": conditions.State(tokens=frozenset({lock, other}))})
    tagged = conditions.parse(f'</r1> (<{lock}> [W/"a"]) (["strong"]) <http://h/r2> (["x"])')
    assert tagged.addresses == {"/r1", "http://h/r2"}
    assert conditions.holds(tagged, {"/r1": conditions.State('"strong"')})
    assert conditions.holds(tagged, {"http://h/r2": conditions.State('"x"')})
    weak = conditions.State('W/"b"', frozenset({lock}))
    assert not conditions.holds(tagged, {"/r1": weak})
    assert not conditions.holds(tagged, {})


@pytest.mark.parametrize(
    "value",
    ["", "(", ")", "()", "(<a>", "<a>", "(<a>) <b>", "<a> <b> (<c>)", "(<a>) <b> (<c>)", "(Not)", "(Not Not <a>)",
     "((<a>))", "(a)", "(<a>) x", "x (<a>)", "(<a b>)", "(<a>)" * 101, "(<a>)" + " " * 8192 + "(<b>)"],
)  # fmt: skip
def test_if_headers_that_are_none(value: str) -> None:
    with pytest.raises(conditions.BadIf):
        conditions.parse(value)


# -- addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/a/b", "/a/b"),
        ("/a%20b/", "/a b"),
        ("http://h/a", "/a"),
        ("http://H:80/a", "/a"),
        ("http://u:p@h/a", "/a"),
        ("/../../a", "/a"),
        ("/%2e%2e/a", "/a"),
        ("/a?q=1", "/a"),
    ],
)
def test_addresses(address: str, path: str) -> None:
    assert paths.target_of(address, ("h",)) == path


@pytest.mark.parametrize(
    "address", ["a", "//", "ftp://h/a", "/%00", "/a#b", "http://[/a", "", "/" + "x" * 5000]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises((InvalidPath, paths.Elsewhere)):
        paths.target_of(address, ("h",))


@pytest.mark.parametrize("address", ["http://other/a", "https://h:80/a", "http://h:81/a", "//other/a"])
def test_addresses_elsewhere(address: str) -> None:
    with pytest.raises(paths.Elsewhere):
        paths.target_of(address, ("h",))


def test_prefixes() -> None:
    assert paths.path_of(b"/dav/a", "/dav") == "/a"
    assert paths.path_of(b"/dav", "/dav") == paths.path_of(b"/dav/", "/dav") == "/"
    for raw in (b"/davx/a", b"/", b"/dav/../a"):
        with pytest.raises(InvalidPath):
            paths.path_of(raw, "/dav")


@given(st.binary(max_size=50))
def test_every_name_comes_back(data: bytes) -> None:
    from urllib.parse import quote_from_bytes

    raw = "/" + quote_from_bytes(data)
    try:
        path = paths.path_of(raw)
    except InvalidPath:
        assert b"\0" in data
        return
    assert paths.path_of(paths.quoted(path)) == path
    assert paths.quoted(path).isascii()
    assert not set('<>&"') & set(paths.quoted(path))


# -- ranges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=3-", [(3, 10)]),
        ("bytes=3-99", [(3, 10)]),
        ("bytes=8-9, 0-1", [(8, 10), (0, 2)]),
        ("bytes=0-1,20-", [(0, 2)]),
        ("bytes=0-4,4-5", []),
        ("bytes=3-2", []),
        ("bytes=", []),
        ("bytes=-", []),
        ("bytes 0-1", []),
        ("chars=0-1", []),
    ],
)
def test_ranges(value: str, expected: list[tuple[int, int]]) -> None:
    assert ranges.byte_ranges(value, 10) == expected


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=-0", "bytes=10-11,-0"])
def test_ranges_that_lie_elsewhere(value: str) -> None:
    with pytest.raises(ranges.NotSatisfiable):
        ranges.byte_ranges(value, 10)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("append", (None, None)),
        ("bytes=5-", (5, None)),
        ("Bytes=5-9", (5, 10)),
        ("bytes=-5", (-5, None)),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("5-9", None),
    ],
)
def test_update_ranges(value: str, expected: object) -> None:
    assert ranges.update_range(value) == expected


# -- answers -----------------------------------------------------------------------------------------------


def test_answers_are_xml_whatever_stands_in_them() -> None:
    nasty = "<&\"'>]]>"
    for data in (
        answers.error("no-conflicting-lock", nasty, [nasty]),
        answers.error("", nasty),
        answers.lock_answer(
            [answers.active_lock(token=nasty, href=nasty, shared=True, infinite=True, owner="", seconds=0.2)]
        ),
        answers.patched(nasty, {("u&\"'<", "a"): 200, ("", "b"): 403, ("DAV:", "c"): 999}, "x"),
        (answers.OPEN + answers.failed(nasty, 423, "lock-token-submitted") + answers.CLOSE).encode(),
    ):
        xml.parse(data)
    shown = answers.active_lock(token="t", href="/", shared=False, infinite=False, owner="", seconds=0.2)
    assert "<D:depth>0<" in shown and "Second-1<" in shown and "<D:exclusive/>" in shown


# -- anything ----------------------------------------------------------------------------------------------


def test_bytes_of_all_kinds() -> None:
    for seed in range(1500):
        chance = random.Random(seed)
        fuzz.one(
            b"".join(
                chance.choice(fuzz.WORDS) if chance.random() < 0.7 else chance.randbytes(chance.randrange(20))
                for _ in range(chance.randrange(12))
            )
        )
