# SPDX-License-Identifier: Apache-2.0
"""Accounts from passwd/shadow, Pure-FTPd and ProFTPD files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import BadRecord
from tidegate.identity import passwords
from tidegate.model import Filters, TimeWindow
from tidegate.store.imports.common import Harvest, adopt_hash, read_text
from tidegate.store.imports.proftpd import parse_proftpd
from tidegate.store.imports.pureftpd import parse_pureftpd
from tidegate.store.imports.unix import parse_unix

MD5 = "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"
YESCRYPT = "$y$j9T$abcdefgh$79JhsKZwfY/UU2qrk3QcffpHl7EyEEJK0pA5pD1wu73"
DAY = 86_400_000

PASSWD = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin

# people
alice:x:1000:1000:Alice Liddell,Room 1,,:/home/alice:/bin/bash
bob:x:1001:1001::/home/bob/:/bin/sh
carol:x:1002:1002::/home/carol:/bin/sh
dave:x:1003:1003::/home/dave:/bin/sh
erin:$1$abcdefgh$G//4keteveJp0qb8z2DxG/:1004:1004::/home/erin:/bin/sh
frank:x:1005:1005::/home/frank:/bin/sh
"""
SHADOW = f"""root:*:19000:0:99999:7:::
alice:{YESCRYPT}:19000:0:90:7:::
bob:!{MD5}:19000:0:99999:7:::
carol:*:19000:0:99999:7::20000:
dave:{MD5}:0:0:99999:7::0:
ghost:{MD5}:19000:0:99999:7:::
"""


def one(harvest: Harvest, name: str):
    return next(item for item in harvest.accounts if item.account.username == name)


def clean(harvest: Harvest) -> Harvest:
    assert harvest.problems == []
    return harvest


# -- Unix ------------------------------------------------------------------------------------------------------


def test_unix_people_come_over_and_services_do_not() -> None:
    harvest = clean(parse_unix(PASSWD, SHADOW))
    assert [item.account.username for item in harvest.accounts] == [
        "alice",
        "bob",
        "carol",
        "dave",
        "erin",
        "frank",
    ]
    assert harvest.skipped == 3
    assert harvest.notes == ["1 users of shadow are not in passwd"]


def test_unix_fields() -> None:
    item = one(clean(parse_unix(PASSWD, SHADOW)), "alice")
    account = item.account
    assert (account.uid, account.gid, account.home_dir, account.description) == (
        1000,
        1000,
        "/home/alice",
        "Alice Liddell",
    )
    assert account.password == YESCRYPT
    assert account.status == 1
    assert account.permissions == {"/": ("*",)}
    assert account.last_password_change == 19000 * DAY
    assert account.filters == Filters(password_expiration=90)
    assert account.expiration_date == 0
    assert item.where == "passwd:6"
    assert item.says == {
        "uid",
        "gid",
        "home_dir",
        "description",
        "password",
        "last_password_change",
        "filters.password_expiration",
    }


def test_unix_locked_and_expired_and_passwordless_users() -> None:
    harvest = clean(parse_unix(PASSWD, SHADOW))
    bob, carol, dave = (one(harvest, name) for name in ("bob", "carol", "dave"))
    assert (bob.account.status, bob.account.password, bob.account.home_dir) == (0, "", "/home/bob")
    assert "locked" in bob.notes[0]
    assert (carol.account.status, carol.account.password, carol.notes) == (1, "", ("has no password",))
    # Valid through the day before: shadow(5).
    assert carol.account.expiration_date == 20000 * DAY - 1
    assert dave.account.expiration_date == 1
    assert dave.account.filters.require_password_change
    assert one(harvest, "erin").account.password == MD5
    assert one(harvest, "frank").notes == ("is not in shadow: has no password",)
    assert "password" not in one(harvest, "frank").says


def test_unix_range_is_a_choice_but_root_never_comes() -> None:
    harvest = clean(parse_unix("root:x:0:0::/root:/bin/sh\nsys:x:3:3::/dev/x:/bin/sh\n", least_uid=0))
    assert [item.account.username for item in harvest.accounts] == ["sys"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("alice:x:1000", "passwd:1: has 3 fields; expected name:password:uid:gid:gecos:home:shell"),
        ("alice:x:1000:1000::/home/a:/bin/sh:more", "passwd:1: has 8 fields"),
        ("alice:x:abc:1000::/home/a:/bin/sh", "passwd:1: uid: 'abc' is not a number from 0 to 4294967294"),
        ("alice:x::1000::/home/a:/bin/sh", "passwd:1: uid: is missing"),
        ("alice:x:-5:1000::/home/a:/bin/sh", "passwd:1: uid: '-5' is not a number"),
        ("alice:x:1000:4294967295::/home/a:/bin/sh", "passwd:1: gid: '4294967295' is not a number"),
        (":x:1000:1000::/home/a:/bin/sh", "passwd:1: username: is empty"),
        ("alice:x:1000:1000::home:/bin/sh", "passwd:1: home_dir: 'home' is not an absolute path"),
        ("alice:x:1000:1000::/srv/../etc:/bin/sh", "passwd:1: home_dir: '/srv/../etc' holds '..'"),
        ("alice:x:1000:1000:://:/bin/sh", "passwd:1: user 'alice' has the home '/': that is the whole host"),
        (
            "alice:secret:1000:1000::/home/a:/bin/sh",
            "passwd:1: password: neither a hash of a known kind nor a locked password",
        ),
        ("al\x1bice:x:1000:1000::/home/a:/bin/sh", "passwd:1: holds control characters"),
        ("+::::::", "passwd:1: NIS lines cannot be imported: they name users of another machine"),
        ("alice:x:1000:1000::/" + "a" * 20000 + ":/bin/sh", "passwd:1: longer than 16384 characters"),
    ],
)
def test_unix_mistakes_name_file_line_and_value(line: str, what: str) -> None:
    harvest = parse_unix(line + "\nbob:x:1001:1001::/home/bob:/bin/sh\n")
    assert len(harvest.problems) == 1
    assert str(harvest.problems[0]).startswith(what)
    assert [item.account.username for item in harvest.accounts] == ["bob"]


def test_unix_mistakes_of_the_shadow_file() -> None:
    shadow = f"alice:{MD5}:x:0:99999:7:::\nbob:{MD5}:1\nalice:{MD5}:1:0:99999:7:::\ncarol:{MD5}:1:0:99999:7::99999999999:\n"
    passwd = "".join(
        f"{name}:x:100{i}:1000::/home/{name}:/bin/sh\n" for i, name in enumerate(("alice", "carol"))
    )
    found = [str(problem) for problem in parse_unix(passwd, shadow).problems]
    assert found[0].startswith("shadow:2: has 3 fields")
    assert found[1] == "shadow:3: user 'alice' stands in shadow:1 already"
    assert any(text.startswith("shadow:4: expires: '99999999999' is not a number") for text in found)


def test_same_name_twice_is_a_problem() -> None:
    line = "alice:x:1000:1000::/home/alice:/bin/sh\n"
    assert [str(p) for p in parse_unix(line + line).problems] == [
        "passwd:2: user 'alice' stands in passwd:1 already"
    ]


def test_reading_stops_after_a_thousand_mistakes() -> None:
    harvest = parse_unix("bad\n" * 5000)
    assert len(harvest.problems) == 1000


# -- Pure-FTPd ---------------------------------------------------------------------------------------------------

PURE = (
    "joe:$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D:2001:2002:Joe User:/srv/joe/./"
    ":10240:1500:1:10:5:1000:10485760:::192.0.2.0/24,198.51.100.7:203.0.113.9:900-1800\n"
)


def test_pureftpd_fields() -> None:
    item = clean(parse_pureftpd(PURE)).accounts[0]
    account = item.account
    assert (account.username, account.uid, account.gid, account.description) == (
        "joe",
        2001,
        2002,
        "Joe User",
    )
    assert account.home_dir == "/srv/joe"
    assert (account.upload_bandwidth, account.download_bandwidth) == (10, 2)
    assert (account.max_sessions, account.quota_files, account.quota_size) == (5, 1000, 10485760)
    assert account.filters.allowed_ip == ("192.0.2.0/24", "198.51.100.7/32")
    assert account.filters.denied_ip == ("203.0.113.9/32",)
    assert account.filters.access_time == tuple(
        TimeWindow(day_of_week=day, from_="09:00", to="18:00") for day in range(7)
    )
    assert item.notes == ("upload ratio 1 is not kept", "download ratio 10 is not kept")
    assert passwords.verify("pleaseletmein", account.password)


def test_pureftpd_short_line_unconfined_home_and_hours_over_midnight() -> None:
    harvest = clean(parse_pureftpd(f"a:{MD5}:1:1::/srv/a\nb:{MD5}:1:1::/srv/b/./in::::::::::::2200-600\n"))
    first, second = harvest.accounts
    assert first.notes == ("was not confined to its home; here it is",)
    assert first.says == {"uid", "gid", "home_dir", "description", "password"}
    assert second.notes == ("started in 'in' below its root",)
    assert [(w.from_, w.to) for w in second.account.filters.access_time[:2]] == [
        ("22:00", "23:59"),
        ("00:00", "06:00"),
    ]
    assert len(second.account.filters.access_time) == 14
    assert "time zone" in harvest.notes[0]


@pytest.mark.parametrize(
    ("tail", "what"),
    [
        (":::::::10.0.0.1::::", "local addresses: rules on the server's own addresses cannot be kept"),
        (":::::::::office.example.org::", "allowed clients[0]: 'office.example.org' is not a network"),
        (":::::::::::9-18x", "hours: '18x' is not a number"),
        (":::::::::::0960-1800", "hours: '0960' is not a time of the form hhmm"),
        (":::::::::::900", "hours: '900' is not of the form hhmm-hhmm"),
        (":::::0::::::", "quota: a quota of 0 forbids every upload"),
        ("fast:::::::::::", "upload rate: 'fast' is not a number"),
        ("::::::::::::", "has 19 fields"),
    ],
)
def test_pureftpd_mistakes(tail: str, what: str) -> None:
    harvest = parse_pureftpd(f"joe:{MD5}:2001:2001::/srv/joe:{tail}\n")
    assert harvest.accounts == []
    assert str(harvest.problems[0]).startswith(f"pureftpd.passwd:1: {what}")


def test_pureftpd_root_is_refused() -> None:
    assert "0 is root" in str(parse_pureftpd(f"joe:{MD5}:0:1::/srv/joe\n").problems[0])


# -- ProFTPD -------------------------------------------------------------------------------------------------------


def test_proftpd_users_and_groups() -> None:
    users = f"tom:{MD5}:2001:2001:Tom:/srv/tom:/bin/false\njan:!{MD5}:2002:2001::/srv/jan:/bin/false\nold:abJnggxhB/yWI:2003:2001::/srv/old:\n"
    groups = "ftp:x:2001:tom,jan\nstaff:x:2002:tom\nother:x:2003:gone\n"
    harvest = clean(parse_proftpd(users, groups))
    tom, jan, old = (one(harvest, name) for name in ("tom", "jan", "old"))
    assert (tom.account.password, tom.account.uid, tom.account.gid, tom.account.description) == (
        MD5,
        2001,
        2001,
        "Tom",
    )
    assert tom.notes == ("was in the groups ftp, staff; files get the group 2001",)
    assert (jan.account.status, jan.account.password) == (0, "")
    assert old.account.password == "{CRYPT}abJnggxhB/yWI"
    assert passwords.verify("password", old.account.password)
    assert harvest.notes == ["1 members of groups are not in ftpd.passwd"]


def test_proftpd_mistakes() -> None:
    harvest = parse_proftpd(f"tom:{MD5}:0:0::/srv/tom:\njan:plain:1:1::/srv/jan:\n", "ftp:x\nbad:x:y:\n")
    assert [str(problem) for problem in harvest.problems] == [
        "ftpd.group:1: has 2 fields; expected name:password:gid:members",
        "ftpd.group:2: gid: 'y' is not a number from 0 to 9223372036854775807",
        "ftpd.passwd:1: uid: 0 is root: files of this user would belong to the system",
        "ftpd.passwd:2: password: neither a hash of a known kind nor a locked password",
    ]


# -- shared ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "x", "*", "*LK*", "NP"])
def test_no_password_is_no_password(text: str) -> None:
    assert adopt_hash(text)[:2] == ("", False)


@pytest.mark.parametrize("text", ["!", "!!", "!*", "!" + MD5, "*LOCKED*" + MD5])
def test_locked_is_locked(text: str) -> None:
    assert adopt_hash(text)[:2] == ("", True)


@pytest.mark.parametrize(
    "text", ["secret", "abJnggxhB/yW", "abJnggxhB/yWI1", "_J9..K0AyUubDrfOgO4s", "$md5$x"]
)
def test_anything_else_is_never_taken_for_a_plain_password(text: str) -> None:
    with pytest.raises(BadRecord):
        adopt_hash(text)


def test_every_format_that_is_checked_is_known_to_the_store() -> None:
    from tidegate.store.validate import looks_hashed

    assert all(looks_hashed(prefix) for prefix in passwords.PREFIXES)


@given(st.text(alphabet=":\n/.!*$x109a-#+\0ü", max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    for harvest in (parse_unix(text, text, least_uid=0), parse_pureftpd(text), parse_proftpd(text, text)):
        assert all(
            not item.account.password or passwords.is_hashed(item.account.password)
            for item in harvest.accounts
        )
        assert all(
            item.account.home_dir.startswith("/") and item.account.home_dir != "/"
            for item in harvest.accounts
        )


def test_files_are_read_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("ü")
    assert read_text(tmp_path / "good") == "ü"
    (tmp_path / "latin").write_bytes(b"abc\xfc")
    with pytest.raises(BadRecord, match="not UTF-8 at byte 3"):
        read_text(tmp_path / "latin")
    with pytest.raises(BadRecord, match="No such file"):
        read_text(tmp_path / "none")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(BadRecord, match="larger than"):
        read_text(tmp_path / "huge")
