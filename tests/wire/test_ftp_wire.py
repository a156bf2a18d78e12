# SPDX-License-Identifier: Apache-2.0
"""The text of FTP: commands, replies, addresses, times, listings, ends of lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.doors.ftp.wire import addresses, listings, replies, times
from tidegate.doors.ftp.wire.commands import MAX_LINE, Command, CommandReader, TooLong
from tidegate.doors.ftp.wire.text import FromWire, ToWire
from tidegate.model import Entry, Kind


def commands(data: bytes) -> list[Command | TooLong]:
    return CommandReader().feed(data)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"NOOP\r\n", Command("NOOP")),
        (b"noop\n", Command("NOOP")),
        (b"RETR  a b \r\n", Command("RETR", " a b ")),
        (b"CWD caf\xc3\xa9\r\n", Command("CWD", "caf\u00e9")),
        (b"CWD caf\xe9\r\n", Command("CWD", "caf\udce9")),
        (b"STOR \xff\xff\r\n", Command("STOR", "\udcff")),
        (b"STOR a\r\0b\r\n", Command("STOR", "a\rb")),
        (b"\xff\xf4\xff\xf2ABOR\r\n", Command("ABOR")),
        (b"\xff\xfd\x18ABOR\r\n", Command("ABOR")),
        (b"\r\n", Command("")),
        (b"US\xc3\x89R x\r\n", Command("")),
        (b"ABCDEFGHIJKLMNOPQ\r\n", Command("")),
        (b"GET / HTTP/1.1\r\n", Command("GET", "/ HTTP/1.1")),
    ],
)
def test_a_line_is_a_command(line: bytes, expected: Command) -> None:
    assert commands(line) == [expected]


def test_a_long_line_is_dropped_and_the_next_one_understood() -> None:
    assert commands(b"CWD " + b"x" * MAX_LINE + b"\r\nPWD\r\n") == [TooLong(), Command("PWD")]
    longest = b"CWD " + b"x" * (MAX_LINE - 4)
    assert commands(longest + b"\r\n") == [Command("CWD", "x" * (MAX_LINE - 4))]


def test_an_endless_line_takes_no_memory() -> None:
    reader = CommandReader()
    for _ in range(100):
        assert reader.feed(b"x" * 65536) == []
        assert reader.waiting <= MAX_LINE + 1
    assert reader.feed(b"\r\nNOOP\r\n") == [TooLong(), Command("NOOP")]


@pytest.mark.parametrize("begun", [b"DELE impor", b"\xff", b"x" * 100_000])
def test_what_is_not_complete_is_told(begun: bytes) -> None:
    """So that it is noticed if it came in the clear behind AUTH (RFC 4217 section 4)."""
    reader = CommandReader()
    assert not reader.waiting
    reader.feed(begun)
    assert reader.waiting


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_pieces_make_no_difference(data: bytes, cuts: list[int]) -> None:
    reader, found, at = CommandReader(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += reader.feed(data[at:cut])
        at = max(at, cut)
    assert found == commands(data)


def test_a_name_forges_no_reply() -> None:
    assert replies.reply(257, f"{replies.quoted('a' + chr(34) + 'b')} is") == b'257 "a""b" is\r\n'
    assert replies.reply(550, "x\r\n230 Welcome") == b"550 x??230 Welcome\r\n"
    assert replies.multiline(211, "Features", ["A", "211 end"], "end") == (
        b"211-Features\r\n A\r\n 211 end\r\n211 end\r\n"
    )
    assert replies.reply(213, "\udcff\udce9") == b"213 \xff\xff\xe9\r\n"
    assert replies.sentences(220, ["one", "two"]) == b"220-one\r\n220 two\r\n"


def test_addresses_of_data_connections() -> None:
    assert addresses.parse_port("127,0,0,1,4,1") == ("127.0.0.1", 1025)
    assert addresses.parse_eprt("|1|192.0.2.1|6275|") == ("192.0.2.1", 6275)
    assert addresses.parse_eprt("!2!2001:db8::1!80!") == ("2001:db8::1", 80)
    assert addresses.parse_epsv("", 4) is False
    assert addresses.parse_epsv("1", 4) is False
    assert addresses.parse_epsv("all", 4) is True
    assert addresses.passive("127.0.0.1", 1025) == "Entering Passive Mode (127,0,0,1,4,1)."
    assert addresses.extended_passive(6446) == "Entering Extended Passive Mode (|||6446|)"


@pytest.mark.parametrize(
    "text", ["", "1,2,3,4,5", "256,0,0,1,4,1", "1,2,3,4,5,6,7", "a,b,c,d,e,f", "1,2,3,4,5,\u0666"]
)
def test_port_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="h1,h2"):
        addresses.parse_port(text)


@pytest.mark.parametrize(
    "text",
    ["", "|1|127.0.0.1|0|", "|1|127.0.0.1|65536|", "|1|::1|21|", "|2|127.0.0.1|21|", "|1|x|21|", "|1|1|"],
)
def test_eprt_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        addresses.parse_eprt(text)


def test_other_network_protocols_are_told_apart() -> None:
    with pytest.raises(addresses.UnknownFamily):
        addresses.parse_eprt("|3|127.0.0.1|21|")
    with pytest.raises(addresses.UnknownFamily):
        addresses.parse_epsv("3", 4)
    with pytest.raises(addresses.UnknownFamily):
        addresses.parse_epsv("2", 4)


def test_times() -> None:
    assert times.parse_time("19700101000000") == 0
    assert times.parse_time("20201231235960") == times.parse_time("20210101000000")
    assert times.parse_time("20200101000000.25") == 1577836800_250000000
    assert times.parse_time("202001010000") == 1577836800 * times.NS
    assert times.format_time(1577836800 * times.NS + 5) == "20200101000000"
    assert times.format_time(10**30) == "19700101000000"
    assert times.time_and_path("20200101000000 a b") == (1577836800 * times.NS, "a b")
    for wrong in ("", "2020", "20201301000000", "19691231235959", "\uff12020010100000"):
        with pytest.raises(ValueError):
            times.parse_time(wrong)
    with pytest.raises(ValueError, match="and a path"):
        times.time_and_path("20200101000000")


@given(st.integers(0, 4102444800))
def test_a_time_comes_back(seconds: int) -> None:
    assert times.parse_time(times.format_time(seconds * times.NS)) == seconds * times.NS


def test_lines_of_listings() -> None:
    entry = Entry("a\nb", Kind.FILE, 5, 0o644, 1, 2, 1577836800 * times.NS)
    assert listings.list_line(entry, "u", "g", "Jan  1  2020") == (
        "-rw-r--r--    1 u        g                   5 Jan  1  2020 a?b"
    )
    line = listings.facts_line(
        entry, {"type", "size", "unix.mode"}, perm="r", unique="1", user="u", group="g", name="a\r"
    )
    assert line == "type=file;size=5;UNIX.mode=0644; a?"
    folder = entry._replace(kind=Kind.DIRECTORY)
    assert (
        listings.facts_line(
            folder, {"type", "size"}, perm="", unique="", user="", group="", name=".", kind="cdir"
        )
        == "type=cdir; ."
    )
    assert listings.chosen_facts("size;NOSUCH;Modify;") == {"size", "modify"}
    assert listings.features_of_facts({"size"}).startswith("MLST type;size*;modify;")


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_ends_of_lines(data: bytes, cuts: list[int]) -> None:
    out, into = ToWire(), FromWire()
    sent = received = b""
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        sent += out.convert(data[at:cut])
        received += into.convert(data[at:cut])
        at = max(at, cut)
    received += into.end()
    assert sent == data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert received == data.replace(b"\r\n", b"\n")
