# SPDX-License-Identifier: Apache-2.0
"""Accounts from rows of the Openbridge tables, and who could come in there and can come in here."""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.accounts.keys import parse_public_key
from tidegate.identity import passwords
from tidegate.model import Account, Filters, Protocol, Tally, TallyLimits
from tidegate.policy.groups import resolve
from tidegate.policy.login import check_login
from tidegate.store.imports.common import Harvest
from tidegate.store.imports.openbridge import OpenbridgeTables, parse_openbridge
from tidegate.store.imports.openbridge_access import check_access

SALT = "ab" * 32
SECRET = "00112233445566778899aabbccddeeff"
DIGEST = hashlib.sha256((SALT + SECRET).encode()).hexdigest()
KEY = """---- BEGIN SSH2 PUBLIC KEY ----
Comment: "putty alice"
AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9D
LGLU
---- END SSH2 PUBLIC KEY ----
"""


def user(name: str = "tester", **fields: Any) -> dict[str, Any]:
    return {
        "userid": name,
        "passwd": DIGEST,
        "subscriptionid": "test001",
        "uid": 2001,
        "gid": 2001,
        "homedir": f"/mnt/ebs/ftpd/{name}",
        "status": "active",
        "count": 0,
        "accessed": None,
    } | fields


def limit(name: str = "tester", kind: str = "user", **fields: Any) -> dict[str, Any]:
    counters = {
        f"{one}_avail": 0
        for one in ("bytes_in", "bytes_out", "bytes_xfer", "files_in", "files_out", "files_xfer")
    }
    return {
        "name": name,
        "quota_type": kind,
        "per_session": "false",
        "limit_type": "soft",
        **counters,
    } | fields


def harvest_of(*users: dict[str, Any], closed_by_default: bool = False, **tables: Any) -> Harvest:
    rows = OpenbridgeTables(user=users, **tables)
    return parse_openbridge(rows, parse_key=parse_public_key, closed_by_default=closed_by_default)


def only(harvest: Harvest) -> Account:
    assert harvest.problems == []
    assert len(harvest.accounts) == 1
    return harvest.accounts[0].account


def test_user_with_salt_and_keys() -> None:
    keys = [
        {"userid": "tester", "publickey": KEY},
        {"userid": "tester", "publickey": KEY.replace("\n", "\r\n")},
    ]
    harvest = harvest_of(user(), salt=[{"userid": "tester", "salt": SALT}], userkey=keys)
    account = only(harvest)
    assert passwords.verify(SECRET, account.password)
    assert not passwords.verify(SALT + SECRET, account.password)
    assert account.public_keys == (parse_public_key(KEY),)
    assert (account.uid, account.gid, account.home_dir) == (2001, 2001, "/mnt/ebs/ftpd/tester")
    assert (account.status, account.additional_info, account.permissions) == (1, "test001", {"/": ("*",)})
    assert account.filters == Filters()
    assert harvest.accounts[0].says == {
        "uid",
        "gid",
        "home_dir",
        "status",
        "additional_info",
        "password",
        "public_keys",
        "groups",
    }


def test_without_a_salt_row_the_hash_is_an_unsalted_one() -> None:
    harvest = harvest_of(user(passwd=hashlib.sha256(b"plain").hexdigest().upper()))
    assert passwords.verify("plain", only(harvest).password)
    assert "no row in ftpd_salt" in harvest.accounts[0].notes[0]


@pytest.mark.parametrize(
    ("status", "expected"), [("active", 1), ("Active", 1), ("inactive", 0), ("", 0), ("on hold", 0)]
)
def test_status(status: str, expected: int) -> None:
    harvest = harvest_of(user(status=status))
    assert only(harvest).status == expected
    assert any("status" in note for note in harvest.accounts[0].notes) == (
        status.lower() not in ("active", "inactive")
    )


def test_last_login_comes_over_for_those_who_logged_in() -> None:
    when = datetime(2019, 1, 9, 1, 45, 4)  # noqa: DTZ001  as the driver gives it
    assert only(harvest_of(user(accessed=when, count=3))).last_login == 1546998304000
    assert only(harvest_of(user(accessed=when, count=0))).last_login == 0


def test_quota_and_tally() -> None:
    given = limit(
        bytes_in_avail=Decimal(214748364800), bytes_out_avail=-1, files_in_avail="1000", files_out_avail=1.0
    )
    tally = {
        "name": "tester",
        "quota_type": "user",
        "bytes_in_used": 12.7,
        "files_in_used": 3,
        "bytes_out_used": -4,
    }
    harvest = harvest_of(user(), quotalimit=[given], quotatally=[tally])
    account = only(harvest)
    assert account.filters.tally_limits == TallyLimits(
        limit_type="soft", bytes_in=214748364800, files_in=1000, files_out=1
    )
    assert account.tally == Tally(bytes_in=12, files_in=3)
    assert "filters.tally_limits" in harvest.accounts[0].says


def test_per_session_quota_has_no_tally_and_old_tables_call_the_name_userid() -> None:
    given = limit(per_session="true", limit_type="hard", files_in_avail=100) | {"userid": "tester"}
    del given["name"]
    account = only(
        harvest_of(user(), quotalimit=[given], quotatally=[{"userid": "tester", "files_in_used": 5}])
    )
    assert account.filters.tally_limits == TallyLimits(limit_type="hard", per_session=True, files_in=100)
    assert account.tally == Tally()


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("user", "group", "all"), 1),
        (("group", "all"), 2),
        (("extra", "all"), 3),
        (("all",), 4),
        (("class",), None),
    ],
)
def test_exactly_one_limit_applies_in_the_modules_order(kinds: tuple[str, ...], expected: int | None) -> None:
    rows = {
        "user": limit("tester", "user", files_in_avail=1),
        "group": limit("main", "group", files_in_avail=2),
        "extra": limit("side", "group", files_in_avail=3),
        "all": limit("", "all", files_in_avail=4),
        "class": limit("lan", "class", files_in_avail=5),
    }
    groups = [
        {"groupname": "side", "gid": 9, "members": "x, tester"},
        {"groupname": "main", "gid": 2001, "members": ""},
    ]
    harvest = harvest_of(user(), group=groups, quotalimit=[rows[kind] for kind in kinds])
    account = only(harvest)
    acting = resolve(account, {group.name: group for group in harvest.groups}).account
    limits = acting.filters.tally_limits
    assert (limits and limits.files_in) == expected
    # The primary group gives its limit; from another group an account inherits none.
    assert (account.filters.tally_limits is None) == (expected in (2, None))
    assert any("was shared" in note for note in harvest.accounts[0].notes) == (expected in (2, 3, 4))
    assert any("class" in note for note in harvest.notes) == (expected is None)


def test_groups_come_with_their_members_and_limits() -> None:
    rows = [
        {"groupname": "main", "gid": 2001, "members": None},
        {"groupname": "side", "gid": 9, "members": "tester, gone"},
        {"groupname": "side", "gid": 9, "members": "tester,other"},
        {"groupname": "empty", "gid": 7, "members": ""},
    ]
    limits = [limit("main", "group", files_in_avail=2), limit("tester", "user")]
    harvest = harvest_of(user(), user("other", gid=5), group=rows, quotalimit=limits)
    assert harvest.problems == []
    assert [(one.name, one.description) for one in harvest.groups] == [
        ("main", "group 2001 of the Openbridge gateway"),
        ("side", "group 9 of the Openbridge gateway"),
        ("empty", "group 7 of the Openbridge gateway"),
    ]
    given = [one.user_settings.filters.tally_limits for one in harvest.groups]
    assert given == [TallyLimits(limit_type="soft", files_in=2), None, None]
    assert [[(use.name, use.type) for use in one.account.groups] for one in harvest.accounts] == [
        [("main", 1), ("side", 2)],
        [("side", 2)],
    ]
    # An own row without any limit keeps that of the group away, as there.
    assert harvest.accounts[0].account.filters.tally_limits == TallyLimits(limit_type="soft")
    assert harvest.notes == ["1 names of ftpd_group are not in ftpd_user"]


def test_no_table_of_groups_says_nothing_of_groups() -> None:
    assert "groups" not in harvest_of(user(), missing=["ftpd_group"]).accounts[0].says


@pytest.mark.parametrize(
    ("tables", "what"),
    [
        ({"user": [user(uid=0)]}, "ftpd_user[0]: uid: 0 is root"),
        ({"user": [user(uid=None)]}, "ftpd_user[0]: uid: is missing"),
        ({"user": [user(gid="x")]}, "ftpd_user[0]: gid: 'x' is not a number"),
        ({"user": [user(homedir="")]}, "ftpd_user[0]: home_dir: is missing"),
        ({"user": [user(homedir="/")]}, "ftpd_user[0]: user 'tester' has the home '/'"),
        ({"user": [user(passwd="plain text")]}, "ftpd_user[0]: passwd: neither 64 hex digits nor a hash"),
        ({"user": [user(), user()]}, "ftpd_user[1]: user 'tester' stands in ftpd_user[0] already"),
        (
            {"salt": [{"userid": "a", "salt": "1"}, {"userid": "a", "salt": "2"}]},
            "ftpd_salt[1]: user 'a' has two rows",
        ),
        (
            {"userkey": [{"userid": "tester", "publickey": "nonsense"}]},
            "ftpd_userkey[0] of 'tester': neither an OpenSSH",
        ),
        ({"group": [{"groupname": "a/b", "gid": 1, "members": ""}]}, "ftpd_group[0]: name:"),
        (
            {
                "group": [{"groupname": "m", "gid": 1}],
                "quotalimit": [limit("m", "group", limit_type="medium")],
            },
            "ftpd_group[0]: ftpd_quotalimit[m]: limit_type 'medium'",
        ),
        ({"quotalimit": [limit(), limit()]}, "ftpd_quotalimit[1]: user 'tester' has two rows"),
        ({"quotalimit": [limit(kind="planet")]}, "ftpd_quotalimit[0]: quota_type 'planet'"),
        (
            {"quotalimit": [limit(limit_type="medium")]},
            "ftpd_user[0] ftpd_quotalimit[tester]: limit_type 'medium'",
        ),
        (
            {"quotalimit": [limit(per_session="maybe")]},
            "ftpd_user[0] ftpd_quotalimit[tester]: per_session 'maybe'",
        ),
        (
            {"quotalimit": [limit(bytes_in_avail="much")]},
            "ftpd_user[0] ftpd_quotalimit[tester]: bytes_in_avail 'much'",
        ),
        (
            {"quotalimit": [limit(bytes_in_avail=float("inf"))]},
            "ftpd_user[0] ftpd_quotalimit[tester]: bytes_in_avail 'inf'",
        ),
        (
            {"deny": [{"client_ip": ".example.org"}]},
            "ftpd_deny[0]: '.example.org' is not an address or network",
        ),
        ({"deny": [{"client_ip": "192.0.2.1", "allowed": "sftp"}]}, "ftpd_deny[0]: is for 'sftp' only"),
    ],
)
def test_mistakes_name_table_row_and_value(tables: dict[str, Any], what: str) -> None:
    tables = {"user": [user()]} | tables
    harvest = parse_openbridge(OpenbridgeTables(**tables), parse_key=parse_public_key)
    assert [str(problem) for problem in harvest.problems][0:1] != []
    assert str(harvest.problems[0]).startswith(what)


def test_missing_tables_and_strangers_are_noted() -> None:
    harvest = harvest_of(user(), salt=[{"userid": "gone", "salt": "x"}], missing=["ftpd_deny"])
    assert harvest.notes == [
        "there is no table ftpd_deny that may be read",
        "1 names of ftpd_salt are not in ftpd_user",
    ]


# -- allow and deny ----------------------------------------------------------------------------------------------


def rows_of(*patterns: str) -> list[dict[str, Any]]:
    return [{"client_ip": pattern, "allowed": "ALL"} for pattern in patterns]


def comes_in(
    ip: str, allow: list[dict[str, Any]], deny: list[dict[str, Any]], *, closed: bool = False
) -> bool:
    harvest = Harvest()
    rules = check_access(allow, deny, closed_by_default=closed, harvest=harvest)
    assert harvest.problems == []
    filters = Filters(allowed_ip=rules.allowed_ip, denied_ip=rules.denied_ip)
    account = Account(username="u", home_dir="/srv", permissions={"/": ("*",)}, filters=filters)
    steps = check_login(account, protocol=Protocol.SFTP, method="password", ip=ip, now_ms=0)
    return all(step.verdict != "deny" for step in steps)


@pytest.mark.parametrize(
    ("ip", "allow", "deny", "closed", "expected"),
    [
        ("192.0.2.1", [], [], False, True),
        ("192.0.2.1", ["10.0.0.1"], [], False, True),
        ("192.0.2.1", ["10.0.0.1"], [], True, False),
        ("10.0.0.1", ["10.0.0.1"], [], True, True),
        ("10.0.0.1", [], [], True, False),
        ("2001:db8::1", [], [], True, False),
        ("10.0.0.1", [], ["10."], False, False),
        ("11.0.0.1", [], ["10."], False, True),
        # Allowed is asked first there, denied first here.
        ("10.0.0.1", ["10.0.0.1"], ["10."], False, True),
        ("10.0.0.2", ["10.0.0.1"], ["10."], False, False),
        ("10.0.0.1", ["10.0.0.0/255.255.255.0"], ["ALL"], False, True),
        ("192.0.2.1", ["10.0.0.0/24"], ["ALL"], False, False),
        ("192.0.2.1", ["ALL"], ["ALL"], False, True),
        ("2001:db8::1", ["[2001:db8::]/32"], ["2001:db8::/16"], False, True),
        ("2001:db9::1", ["[2001:db8::]/32"], ["2001:db8::/16"], False, False),
        ("192.0.2.1", ["office.example.org"], ["ALL"], False, False),
    ],
)
def test_the_same_people_come_in(
    ip: str, allow: list[str], deny: list[str], closed: bool, expected: bool
) -> None:
    assert comes_in(ip, rows_of(*allow), rows_of(*deny), closed=closed) is expected


_octets = st.integers(0, 3).map(lambda number: f"10.0.0.{number}")
_nets = st.tuples(_octets, st.sampled_from([30, 31, 32])).map(lambda pair: f"{pair[0]}/{pair[1]}")


@given(_octets, st.lists(_nets, max_size=4), st.lists(_nets, max_size=4))
def test_allow_and_deny_agree_with_mod_wrap2(ip: str, allow: list[str], deny: list[str]) -> None:
    from ipaddress import ip_address, ip_network

    def matches(patterns: list[str]) -> bool:
        return any(ip_address(ip) in ip_network(pattern, strict=False) for pattern in patterns)

    expected = matches(allow) or not matches(deny)
    assert comes_in(ip, rows_of(*allow), rows_of(*deny)) is expected


def test_an_allow_table_without_effect_is_pointed_out() -> None:
    harvest = harvest_of(user(), allow=rows_of("10.0.0.1"))
    assert only(harvest).filters == Filters()
    assert "closed_by_default" in harvest.notes[0]
    closed = harvest_of(user(), allow=rows_of("10.0.0.1", ".example.org"), closed_by_default=True)
    assert only(closed).filters.allowed_ip == ("10.0.0.1/32",)
    assert closed.notes == ["ftpd_allow[1]: '.example.org' is not an address or network: left out"]


def test_too_many_networks_close_the_door() -> None:
    allow = [f"10.{a}.{b}.1" for a in range(40) for b in range(40)]
    harvest = Harvest()
    rules = check_access(rows_of(*allow), rows_of("10."), closed_by_default=False, harvest=harvest)
    assert "more than 5000 networks" in str(harvest.problems[0])
    assert rules.denied_ip == ("0.0.0.0/0", "::/0")
