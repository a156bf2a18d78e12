# SPDX-License-Identifier: Apache-2.0
"""Login rules: status, expiry, addresses, protocols, methods, hours, password age, home."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import LoginRefused
from tidegate.model import Account, Filters, Protocol, StorageConfig, TimeWindow
from tidegate.model.address_list import AddressList, parse_address, parse_network
from tidegate.policy.hours import open_window, parse_clock
from tidegate.policy.login import check_login, refusal, require_login
from tidegate.policy.methods import (
    LOGIN_METHODS,
    combined,
    remaining_methods,
    uses_certificate,
    uses_password,
    wants_two_steps,
)

DAY = 86_400_000
NOW = 1_790_000_000_000  # Monday 2026-09-21 14:13:20 UTC


def account(filters: Filters | None = None, **more: Any) -> Account:
    defaults: dict[str, Any] = {"username": "ana", "home_dir": "/srv/ana", "permissions": {"/": ("*",)}}
    return Account(**(defaults | more), filters=filters or Filters())


def reason(
    who: Account,
    *,
    protocol: Protocol | str = Protocol.SFTP,
    method: str = "password",
    ip: str = "192.0.2.7",
    now_ms: int = NOW,
    **more: Any,
) -> str:
    """The reason word of the refusal, empty if the login is let in."""
    steps = check_login(who, protocol=protocol, method=method, ip=ip, now_ms=now_ms, **more)
    refused = refusal(steps, who.username)
    denials = [step for step in steps if step.verdict == "deny"]
    assert denials == (steps[-1:] if refused else [])
    if refused is None:
        require_login(who, protocol=protocol, method=method, ip=ip, now_ms=now_ms, **more)
        return ""
    assert denials[0].where
    assert denials[0].hint
    with pytest.raises(LoginRefused) as caught:
        require_login(who, protocol=protocol, method=method, ip=ip, now_ms=now_ms, **more)
    assert (caught.value.reason, caught.value.rule, caught.value.username) == (
        refused.reason,
        denials[0].rule,
        "ana",
    )
    assert caught.value.text == LoginRefused.default_text
    return refused.reason


def test_plain_account_comes_in() -> None:
    assert not reason(account())


@pytest.mark.parametrize("status", [0, 2, -1])
def test_disabled(status: int) -> None:
    assert reason(account(status=status)) == "disabled"


def test_expiration() -> None:
    assert not reason(account(expiration_date=NOW))
    assert not reason(account(expiration_date=0))
    assert reason(account(expiration_date=NOW - 1)) == "expired"


@pytest.mark.parametrize(
    ("allowed", "denied", "ip", "refused"),
    [
        ((), (), "192.0.2.7", False),
        (("192.0.2.0/24",), (), "192.0.2.7", False),
        (("192.0.2.0/24",), (), "192.0.3.7", True),
        (("192.0.2.0/24",), ("192.0.2.7",), "192.0.2.7", True),
        (("192.0.2.7/32",), ("192.0.2.0/24",), "192.0.2.7", True),
        ((), ("192.0.2.0/24",), "192.0.2.7", True),
        ((), ("192.0.2.0/24",), "::ffff:192.0.2.7", True),
        (("192.0.2.0/24",), (), "::ffff:192.0.2.7", False),
        (("::ffff:192.0.2.0/120",), (), "192.0.2.7", False),
        ((), ("::ffff:192.0.2.0/120",), "::ffff:c000:207", True),
        (("2001:db8::/32",), (), "2001:db8::1", False),
        (("2001:db8::/32",), (), "2001:db9::1", True),
        (("fe80::/10",), (), "fe80::1%eth0", False),
        ((), ("fe80::/10",), "[fe80::1%eth0]", True),
        (("0.0.0.0/0",), (), "2001:db8::1", True),
        ((), ("::/0",), "192.0.2.7", False),
        (("192.0.2.7/24",), (), "192.0.2.200", False),
        (("192.0.2.0/255.255.255.0",), (), "192.0.2.200", False),
        (("nonsense",), (), "192.0.2.7", True),
        ((), ("nonsense",), "192.0.2.7", True),
        ((), ("192.0.2.0/24",), "unix", True),
        (("192.0.2.0/24",), (), "", True),
        ((), (), "unix", False),
    ],
)
def test_addresses(allowed: tuple[str, ...], denied: tuple[str, ...], ip: str, refused: bool) -> None:
    assert reason(account(Filters(allowed_ip=allowed, denied_ip=denied)), ip=ip) == (
        "address" if refused else ""
    )


def test_which_address_rule() -> None:
    filters = Filters(denied_ip=("10.0.0.0/8", "192.0.2.0/24"))
    steps = check_login(account(filters), protocol="SFTP", method="password", ip="192.0.2.7", now_ms=NOW)
    assert (steps[-1].rule, steps[-1].where) == ("address[192.0.2.0/24]", "filters.denied_ip[1]")


@pytest.mark.parametrize(
    ("denied", "protocol", "refused"),
    [
        (("SSH",), Protocol.SFTP, True),
        (("SSH",), Protocol.SCP, True),
        (("SSH",), Protocol.SSH, True),
        (("SSH",), Protocol.FTP, False),
        (("FTP", "DAV"), Protocol.DAV, True),
        (("FTP", "DAV"), Protocol.SFTP, False),
        (("HTTP",), Protocol.HTTP, True),
        (("SFTP",), Protocol.SFTP, True),
        (("SFTP",), Protocol.SCP, False),
    ],
)
def test_protocols(denied: tuple[str, ...], protocol: Protocol, refused: bool) -> None:
    who = account(Filters(denied_protocols=denied))
    assert reason(who, protocol=protocol) == ("protocol" if refused else "")


@pytest.mark.parametrize(
    ("denied", "protocol", "method", "refused"),
    [
        ((), "SFTP", "password", False),
        (("password",), "SFTP", "password", True),
        (("password",), "FTP", "password", True),
        (("password-over-SSH",), "SFTP", "password", True),
        (("password-over-SSH",), "SSH", "password", True),
        (("password-over-SSH",), "FTP", "password", False),
        (("password",), "SFTP", "publickey", False),
        (("password",), "SFTP", "keyboard-interactive", False),
        (("publickey",), "SFTP", "publickey", True),
        (("keyboard-interactive",), "SFTP", "keyboard-interactive", True),
        (("publickey", "password", "keyboard-interactive"), "SFTP", "publickey+password", False),
        (("publickey", "password", "keyboard-interactive"), "SFTP", "publickey", True),
        (("publickey", "password", "keyboard-interactive"), "SFTP", "password", True),
        (("publickey+password",), "SFTP", "publickey+password", True),
        (("TLSCertificate",), "FTP", "TLSCertificate", True),
        (("TLSCertificate",), "FTP", "TLSCertificate+password", False),
    ],
)
def test_methods(denied: tuple[str, ...], protocol: str, method: str, refused: bool) -> None:
    who = account(Filters(denied_login_methods=denied))
    assert reason(who, protocol=protocol, method=method) == ("method" if refused else "")


SINGLE = ("publickey", "password", "keyboard-interactive")


@pytest.mark.parametrize(
    ("denied", "first", "after_key"),
    [
        ((), SINGLE, ()),
        (("password",), ("publickey", "keyboard-interactive"), ()),
        (("password", "keyboard-interactive"), ("publickey",), ()),
        (SINGLE, ("publickey",), ("password", "keyboard-interactive")),
        (
            ("publickey", "password-over-SSH", "keyboard-interactive"),
            ("publickey",),
            ("password", "keyboard-interactive"),
        ),
        ((*SINGLE, "publickey+password"), ("publickey",), ("keyboard-interactive",)),
        ((*SINGLE, "publickey+keyboard-interactive"), ("publickey",), ("password",)),
        ((*SINGLE, "publickey+password", "publickey+keyboard-interactive"), (), ()),
        (LOGIN_METHODS, (), ()),
    ],
)
def test_two_steps(denied: tuple[str, ...], first: tuple[str, ...], after_key: tuple[str, ...]) -> None:
    who = account(Filters(denied_login_methods=denied))
    assert remaining_methods(who) == first
    assert remaining_methods(who, "publickey") == after_key
    assert remaining_methods(who, "password") == ()
    assert remaining_methods(who, "keyboard-interactive") == ()
    assert remaining_methods(who, "publickey", protocol="FTP") == ()
    assert wants_two_steps(who) is bool(after_key)
    # The first step by itself is no login, and as a first step it is one exactly if something can follow.
    assert reason(who, method="publickey", partial=True) == ("" if after_key else "method")
    assert reason(who, method="password", partial=True) == "method"
    for following in after_key:
        assert not reason(who, method=combined("publickey", following))
    if after_key:
        assert reason(who, method="publickey") == "method"


def test_names_of_two_steps() -> None:
    assert combined("publickey", "password") == "publickey+password"
    assert combined("password", "publickey") == "publickey+password"
    assert combined("", "password") == "password"
    assert uses_password("publickey+keyboard-interactive")
    assert not uses_password("publickey")
    assert not uses_password("TLSCertificate")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


MONDAY = TimeWindow(day_of_week=1, from_="08:00", to="17:30")
NIGHT = TimeWindow(day_of_week=6, from_="22:00", to="02:00")


@pytest.mark.parametrize(
    ("windows", "when", "index"),
    [
        ((MONDAY,), "2026-09-21T08:00:00+00:00", 0),
        ((MONDAY,), "2026-09-21T07:59:59+00:00", None),
        ((MONDAY,), "2026-09-21T17:30:59+00:00", 0),
        ((MONDAY,), "2026-09-21T17:31:00+00:00", None),
        ((MONDAY,), "2026-09-22T12:00:00+00:00", None),
        ((TimeWindow(day_of_week=0),), "2026-09-20T00:00:00+00:00", 0),
        ((TimeWindow(day_of_week=0),), "2026-09-20T23:59:59+00:00", 0),
        ((TimeWindow(day_of_week=0),), "2026-09-21T00:00:00+00:00", None),
        ((NIGHT,), "2026-09-26T23:00:00+00:00", 0),
        ((NIGHT,), "2026-09-27T02:00:30+00:00", 0),
        ((NIGHT,), "2026-09-27T02:01:00+00:00", None),
        ((NIGHT,), "2026-09-26T01:00:00+00:00", None),
        ((NIGHT, MONDAY), "2026-09-21T09:00:00+00:00", 1),
        ((TimeWindow(day_of_week=1, from_="8:00", to="17:30"),), "2026-09-21T09:00:00+00:00", None),
        ((TimeWindow(day_of_week=1, from_="00:00", to="24:00"),), "2026-09-21T09:00:00+00:00", None),
        ((TimeWindow(day_of_week=9),), "2026-09-21T09:00:00+00:00", None),
    ],
)
def test_hours(windows: tuple[TimeWindow, ...], when: str, index: int | None) -> None:
    assert open_window(windows, at(when)) == index
    assert reason(account(Filters(access_time=windows)), now_ms=at(when)) == (
        "hours" if index is None else ""
    )


def test_hours_in_another_zone() -> None:
    who = account(Filters(access_time=(MONDAY,)))
    berlin = ZoneInfo("Europe/Berlin")
    assert not reason(who, now_ms=at("2026-09-21T06:00:00+00:00"), tz=berlin)
    assert reason(who, now_ms=at("2026-09-21T16:00:00+00:00"), tz=berlin) == "hours"
    assert reason(who, now_ms=at("2026-09-21T06:00:00+00:00")) == "hours"
    # Winter time: the wall clock counts.
    assert reason(who, now_ms=at("2026-12-21T06:30:00+00:00"), tz=berlin) == "hours"
    late = timezone(timedelta(hours=14))
    assert not reason(who, now_ms=at("2026-09-20T19:00:00+00:00"), tz=late)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("00:00", 0), ("23:59", 1439), ("24:00", None), ("7:00", None), ("07:00\n", None), ("", None)],
)
def test_clock(text: str, minutes: int | None) -> None:
    assert parse_clock(text) == minutes


@pytest.mark.parametrize("now_ms", [-(10**18), 10**18, 0])
def test_absurd_clocks(now_ms: int) -> None:
    assert reason(account(Filters(access_time=(MONDAY,))), now_ms=now_ms) == "hours"


def test_password_age() -> None:
    who = account(Filters(password_expiration=30), last_password_change=NOW - 30 * DAY)
    assert not reason(who)
    old = replace(who, last_password_change=NOW - 30 * DAY - 1)
    for method in ("password", "keyboard-interactive", "publickey+password"):
        assert reason(old, method=method) == "password_expired"
    assert not reason(old, method="publickey")
    assert not reason(replace(old, last_password_change=0, created_at=NOW - DAY))
    assert reason(replace(old, last_password_change=0)) == "password_expired"


def test_password_change_first() -> None:
    who = account(Filters(require_password_change=True))
    assert reason(who) == "password_change"
    assert not reason(who, protocol=Protocol.HTTP)
    assert not reason(who, method="publickey")


@pytest.mark.parametrize("home", ["", "srv/ana", "./x", "C:\\x", "/a\0b"])
def test_home_has_to_be_absolute(home: str) -> None:
    assert reason(account(home_dir=home)) == "home"


def test_home_elsewhere_than_on_disk() -> None:
    assert not reason(account(home_dir="", filesystem=StorageConfig("s3")))
    assert reason(account(home_dir="", filesystem=StorageConfig())) == "home"


def test_order_and_the_rest_for_explain() -> None:
    who = account(
        Filters(denied_ip=("0.0.0.0/0",), denied_protocols=("SSH",), denied_login_methods=("password",)),
        status=0,
        expiration_date=1,
        home_dir="",
    )
    asked: dict[str, Any] = {"protocol": "SFTP", "method": "password", "ip": "192.0.2.7", "now_ms": NOW}
    assert [s.rule for s in check_login(who, **asked)] == ["disabled"]
    denials = [s.rule for s in check_login(who, **asked, stop=False) if s.verdict == "deny"]
    assert denials == [
        "disabled",
        "expired",
        "address[0.0.0.0/0]",
        "protocol[SSH]",
        "method[password]",
        "home",
    ]


def test_steps_hold_no_secret() -> None:
    who = account(password="$argon2id$secret", public_keys=("ssh-ed25519 AAAAsecret",))
    assert "secret" not in repr(
        check_login(who, protocol="SFTP", method="password", ip="1.2.3.4", now_ms=NOW)
    )


# --- addresses ----------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30) | st.ip_addresses().map(str))
def test_addresses_never_raise(text: str) -> None:
    parse_address(text)
    parse_network(text)
    listed = AddressList([text, "0.0.0.0/0", "::/0"])
    assert (listed.match(text) is None) == (parse_address(text) is None)


@settings(max_examples=200, deadline=None)
@given(address=st.ip_addresses(v=4), bits=st.integers(0, 32))
def test_mapped_addresses_are_the_ones_they_hold(address: Any, bits: int) -> None:
    plain = AddressList([f"{address}/{bits}"])
    mapped = AddressList([f"::ffff:{address}/{bits + 96}"])
    for text in (str(address), f"::ffff:{address}"):
        assert plain.match(text) == 0
        assert mapped.match(text) == 0
    assert parse_address(f"::ffff:{address}") == address


def test_utc_is_the_default_zone() -> None:
    assert open_window((MONDAY,), at("2026-09-21T08:00:00+00:00"), UTC) == 0


CERTIFICATES = ("TLSCertificate", "TLSCertificate+password")


@pytest.mark.parametrize(
    ("tls_username", "denied", "used", "follows"),
    [
        ("CommonName", (), True, ()),
        ("CommonName", CERTIFICATES[:1], True, ("password",)),
        ("CommonName", CERTIFICATES[1:], True, ()),
        ("CommonName", CERTIFICATES, False, ()),
        ("None", (), False, ()),
        ("", (), False, ()),
    ],
)
def test_certificates_of_tls(
    tls_username: str, denied: tuple[str, ...], used: bool, follows: tuple[str, ...]
) -> None:
    who = account(Filters(tls_username=tls_username, denied_login_methods=denied))
    assert uses_certificate(who) is used
    assert remaining_methods(who, "TLSCertificate", protocol=Protocol.FTP) == follows
    assert remaining_methods(who, "password", protocol=Protocol.FTP) == ()
    alone = reason(who, protocol=Protocol.FTP, method="TLSCertificate")
    assert alone == ("method" if CERTIFICATES[0] in denied else "")
    first = reason(who, protocol=Protocol.FTP, method="TLSCertificate", partial=True)
    assert first == ("" if follows else "method")
    assert reason(who, protocol=Protocol.FTP, method=CERTIFICATES[1]) == (
        "method" if CERTIFICATES[1] in denied else ""
    )


@pytest.mark.parametrize(
    ("security", "protocol", "encrypted", "refused"),
    [
        (1, Protocol.FTP, False, "encryption"),
        (1, Protocol.FTP, True, ""),
        (0, Protocol.FTP, False, ""),
        (1, Protocol.HTTP, False, ""),
        (1, Protocol.SFTP, True, ""),
    ],
)
def test_ftp_by_tls_alone(security: int, protocol: Protocol, encrypted: bool, refused: str) -> None:
    assert reason(account(Filters(ftp_security=security)), protocol=protocol, encrypted=encrypted) == refused
