# SPDX-License-Identifier: Apache-2.0
"""Every request has a place in the table of what requests touch."""

from __future__ import annotations

import pytest
from tests.support.memory_session import MemorySession

from tidegate.doors.common.owners import AccountNames
from tidegate.doors.sftp.extensions import Bounds, Extensions
from tidegate.doors.sftp.handles import HandleTable, OpenFile
from tidegate.doors.sftp.listings import Listing
from tidegate.doors.sftp.longname import Longnames
from tidegate.doors.sftp.spans import HANDLES, PATHS, Spans
from tidegate.doors.sftp.verbs import Verbs
from tidegate.doors.sftp.wire import requests as r
from tidegate.model import VPath
from tidegate.vfs.api import OpenFlags, Span

BOTH_WAYS = (r.Open, r.Symlink)
"""Requests whose kind of access depends on more than their class."""


def p(text: str) -> VPath:
    return VPath.parse(text)


@pytest.fixture
def session():
    found = MemorySession()
    found.overlaps = True
    return found


def _never(*_):
    raise AssertionError


def verbs_of(session, *, target_first=True):
    names = AccountNames(session.principal)
    return Verbs(session, HandleTable(9), Longnames(names), [], _never, target_first=target_first)


def test_every_request_that_is_answered_is_in_the_table(session):
    verbs = verbs_of(session)
    names = AccountNames(session.principal)
    answered = {*verbs.table(), *Extensions(session, verbs, names, Bounds(1, 1, 1)).table()}
    assert answered == {*PATHS, *HANDLES, *BOTH_WAYS}


def test_fields_and_handles_are_those_that_the_request_has():
    for kind, fields in PATHS.items():
        assert {name for name, _ in fields} <= set(kind.__dataclass_fields__), kind
    for kind, changes in HANDLES.items():
        assert len(changes) == len(kind.HANDLES), kind


def test_requests_with_several_ways(session):
    spans = Spans(session, verbs_of(session))
    assert spans.of(r.Open(b"/f", 1, r.NO_ATTRS), ()) == (Span(0, p("/f"), False),)
    for flags in (2, 4, 8, 16, 3, 26):
        assert spans.of(r.Open(b"f", flags, r.NO_ATTRS), ()) == (Span(0, p("/f"), True),)
    assert spans.of(r.Symlink(b"text", b"/link"), ()) == (Span(0, p("/link"), True),)
    draft = Spans(session, verbs_of(session, target_first=False))
    assert draft.of(r.Symlink(b"/link", b"text"), ()) == (Span(0, p("/link"), True),)
    assert spans.of(r.Rename(b"/a", b"/b/c", False), ()) == (Span(0, p("/a"), True), Span(0, p("/b/c"), True))


async def test_handles_stand_for_the_path_that_they_were_opened_by(session):
    spans = Spans(session, verbs_of(session))
    session.put("/f", b"x")
    written = OpenFile(session._open(p("/f"), OpenFlags(write=True), None))
    read = OpenFile(session._open(p("/f"), OpenFlags(read=True), None))
    listing = Listing(p("/"), session.list(p("/")), Longnames(AccountNames(session.principal)))
    handle = b"12345678"
    assert spans.of(r.Close(handle), (written,)) == (Span(0, p("/f"), True),)
    assert spans.of(r.Close(handle), (read,)) == (Span(0, p("/f"), False),)
    assert spans.of(r.Close(handle), (listing,)) == (Span(0, p("/"), False),)
    written.moved = True
    assert spans.of(r.Close(handle), (written,)) is None


def test_what_cannot_be_a_path_waits_for_nothing(session):
    spans = Spans(session, verbs_of(session))
    assert spans.of(r.Remove(b"/a\0b"), ()) == ()


def test_while_storage_is_inline_everything_keeps_its_order(session):
    session.overlaps = False
    assert Spans(session, verbs_of(session)).of(r.Remove(b"/a"), ()) is None


def test_spans_conflict_at_above_and_below_a_change():
    change, look = Span(0, p("/a/b"), True), Span(0, p("/a/b"), False)
    for path in ("/", "/a", "/a/b", "/a/b/c"):
        assert change.conflicts(Span(0, p(path), False))
        assert Span(0, p(path), True).conflicts(look)
        assert not look.conflicts(Span(0, p(path), False))
        assert not change.conflicts(Span(1, p(path), True))
    for path in ("/a/bc", "/b", "/a/c"):
        assert not change.conflicts(Span(0, p(path), True))
