# SPDX-License-Identifier: Apache-2.0
"""Login rules: may this account come in now, by this door, from there, in this way?

Everything but the credential itself. The order is that of `check_login`; the first refusal decides. A
client is never told which rule it was.

A rule is named by its reason word (``disabled``, ``held``, ``expired``, ``address``, ``geoip``, ``protocol``,
``encryption``, ``method``, ``second_factor``, ``hours``, ``password_expired``, ``password_change``,
``home``), with what matched in brackets, for instance ``address[10.0.0.0/8]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from tidegate.errors import LoginRefused
from tidegate.model import Account, Protocol
from tidegate.model.address_list import AddressList, parse_address
from tidegate.model.geography import NO_LOCATION, Location, check_location
from tidegate.policy import anonymous
from tidegate.policy.decision import Step
from tidegate.policy.hours import DAYS, describe, local_time, open_window
from tidegate.policy.methods import (
    PASSWORD,
    denied_in_steps,
    family_of,
    remaining_methods,
    uses_password,
    wants_two_steps,
)
from tidegate.policy.second_factor import asks_code, has_to_set_up

__all__ = ["Attempt", "check_login", "disconnect_reason", "refusal", "remaining_methods", "require_login"]

MS_PER_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login as its rules see it.

    Attributes:
        account: who.
        protocol: by which door.
        method: a full method, for instance ``publickey+password``; empty if it is not known yet.
        ip: from where.
        now_ms: Unix milliseconds.
        partial: `method` is the first of two steps and asked as such.
        tz: time zone of `access_time`.
        encrypted: nobody on the way can read what is sent.
        location: of `ip`, as databases have it.
    """

    account: Account
    protocol: Protocol | str
    method: str
    ip: str
    now_ms: int
    partial: bool = False
    tz: tzinfo = UTC
    encrypted: bool = True
    location: Location = NO_LOCATION

    @property
    def family(self) -> str:
        """SSH, FTP, DAV or HTTP."""
        return family_of(self.protocol)


def _status(a: Attempt) -> Step:
    if a.account.status == 1:
        if hold := a.account.filters.hold:
            hint = "wait until the move of its files has ended; if none runs, run it again, or undo it"
            return Step("held", "deny", f"the account is held: {hold}", "filters.hold", hint)
        return Step("disabled", "pass", "the account is enabled", "status")
    return Step("disabled", "deny", "the account is disabled", "status", "set status to 1")


def _expiration(a: Attempt) -> Step:
    rule, where = "expired", "expiration_date"
    limit = a.account.expiration_date
    if limit <= 0:
        return Step(rule, "pass", "the account never expires", where)
    when = _when(limit)
    if a.now_ms <= limit:
        return Step(rule, "pass", f"the account is valid until {when}", where)
    return Step(rule, "deny", f"the account expired at {when}", where, "set a later expiration_date, or 0")


def disconnect_reason(account: Account, now_ms: int) -> str:
    """The reason why sessions of an account may not go on; empty if they may.

    It is ``disabled``, ``held`` or ``expired``.

    The other rules are about coming in; who is in stays in when, say, the hours are over.
    """
    attempt = Attempt(account, "", "", "", now_ms)
    return next((s.rule for s in (_status(attempt), _expiration(attempt)) if s.verdict == "deny"), "")


def _denied_ip(a: Attempt) -> Step:
    texts = a.account.filters.denied_ip
    networks = AddressList(texts)
    where = "filters.denied_ip"
    if texts and a.account.filters.ip_order == "allowed":
        allowed = a.account.filters.allowed_ip
        if (index := AddressList(allowed).match(a.ip)) is not None:
            why = f"{a.ip} is in {allowed[index]}, which is allowed before denied networks are asked"
            return Step(f"address[{allowed[index]}]", "pass", why, f"filters.allowed_ip[{index}]")
    if not networks:
        return Step("address", "pass", "no network is denied", where)
    if (bad := networks.unreadable()) is not None:
        why = f"{texts[bad]!r} is no network, so it cannot be ruled out that {a.ip} is in it"
        return Step("address", "deny", why, f"{where}[{bad}]", "write it as CIDR, for instance 10.0.0.0/8")
    if parse_address(a.ip) is None:
        hint = "find out why the door knows no address (PROXY protocol?)"
        return Step("address", "deny", f"{a.ip!r} is no address", where, hint)
    if (index := networks.match(a.ip)) is not None:
        why = f"{a.ip} is in {texts[index]}, which is denied before allowed networks are asked"
        return Step(
            f"address[{texts[index]}]",
            "deny",
            why,
            f"{where}[{index}]",
            f"remove or narrow {where}[{index}]",
        )
    return Step("address", "pass", f"{a.ip} is in none of {', '.join(texts)}", where)


def _allowed_ip(a: Attempt) -> Step:
    texts = a.account.filters.allowed_ip
    where = "filters.allowed_ip"
    if not texts:
        return Step("address", "pass", "every network is allowed", where)
    index = AddressList(texts).match(a.ip)
    if index is not None:
        return Step(f"address[{texts[index]}]", "allow", f"{a.ip} is in {texts[index]}", f"{where}[{index}]")
    why = f"{a.ip} is in none of {', '.join(texts)}"
    return Step("address", "deny", why, where, f"add a network that holds {a.ip}")


def _location(a: Attempt) -> Step:
    rules, where = a.account.filters.geoip, "filters.geoip"
    if rules is None:
        return Step("geoip", "pass", "every country is allowed", where)
    verdict = check_location(rules, a.ip, a.location)
    where = f"{where}.{verdict.field}" if verdict.field else where
    rule = f"geoip[{verdict.matched}]" if verdict.matched else "geoip"
    if verdict.allowed:
        return Step(rule, "pass" if verdict.field in ("", "unknown") else "allow", verdict.why, where)
    if verdict.field == "unknown":
        hint = "give common.geoip.databases one that has the address, or set filters.geoip.unknown to allow"
        return Step(rule, "deny", verdict.why, where, hint)
    hint = f"remove {verdict.matched} from {where}" if verdict.matched else f"add to {where}"
    return Step(rule, "deny", verdict.why, where, hint)


def _protocol(a: Attempt) -> Step:
    denied = a.account.filters.denied_protocols
    where = "filters.denied_protocols"
    index = next((i for i, word in enumerate(denied) if word in {a.family, str(a.protocol)}), None)
    if index is not None:
        why = f"{a.protocol} is denied by {denied[index]}"
        rule = f"protocol[{denied[index]}]"
        return Step(rule, "deny", why, f"{where}[{index}]", f"remove {denied[index]} from {where}")
    if a.account.filters.is_anonymous and a.family not in anonymous.DOORS:
        why = f"accounts without a password come in by FTP and WebDAV alone, not by {a.protocol}"
        return Step("protocol[is_anonymous]", "deny", why, anonymous.WHERE, anonymous.HINT)
    return Step("protocol", "pass", f"{a.family} is not denied", where)


def _encryption(a: Attempt) -> Step:
    rule, where = "encryption", "filters.ftp_security"
    if not a.account.filters.ftp_security:
        return Step(rule, "pass", "the account does not ask for TLS; the binding may", where)
    if a.encrypted:
        return Step(rule, "pass", "the connection speaks TLS, and data connections have to", where)
    why = "the account wants FTP by TLS alone, and the connection is in the clear"
    return Step(rule, "deny", why, where, "connect with AUTH TLS or by FTPS, or set ftp_security to 0")


def _method(a: Attempt) -> Step:
    rule, where = "method", "filters.denied_login_methods"
    if not a.method:
        return Step(rule, "pass", "no method is given", where)
    if a.account.filters.is_anonymous and a.method != PASSWORD:
        why = f"accounts without a password come in by any password, not by {a.method}"
        return Step(f"{rule}[is_anonymous]", "deny", why, anonymous.WHERE, anonymous.HINT)
    if a.partial:
        following = remaining_methods(a.account, a.method, protocol=a.protocol)
        if following:
            why = f"{a.method} is the first of two steps; {' or '.join(following)} has to follow"
            return Step(rule, "pass", why, where)
        why = f"{a.method} is not the first of two steps"
        return Step(rule, "deny", why, where, _two_steps_hint(a.account))
    index = denied_in_steps(a.account, a.method, a.protocol)
    if index is not None:
        word = a.account.filters.denied_login_methods[index]
        why = f"{a.method} over {a.family} is denied by {word}"
        if following := remaining_methods(a.account, a.method, protocol=a.protocol):
            why = f"{a.method} alone is denied by {word}; {' or '.join(following)} has to follow it"
        return Step(f"{rule}[{word}]", "deny", why, f"{where}[{index}]", f"remove {word} from {where}")
    if a.family == "SSH" and "+" in a.method and not wants_two_steps(a.account):
        # Reached only by a door that asks for more than it has to; two right answers are no less than one.
        why = f"{a.method} is not denied, though one step would do"
        return Step(rule, "pass", why, where)
    return Step(rule, "pass", f"{a.method} over {a.family} is not denied", where)


def _two_steps_hint(account: Account) -> str:
    if wants_two_steps(account):
        return "begin with publickey"
    return "two steps need publickey, password and keyboard-interactive all denied and a pair of them not"


def _second_factor(a: Attempt) -> Step:
    rule, where = "second_factor", "filters.two_factor_protocols"
    if asks_code(a.account, a.family):
        after = "a password" if not a.method or uses_password(a.method) else "a password, and none was used"
        return Step(rule, "pass", f"a one-time code follows {after}", "filters.totp_config")
    if not has_to_set_up(a.account, a.family):
        return Step(rule, "pass", f"no one-time code is asked for over {a.family}", where)
    if a.family == "HTTP":
        return Step(rule, "pass", "one-time codes have to be set up, which can be done over HTTP", where)
    why = f"one-time codes have to be set up before logging in over {a.family}"
    hint = f"set them up (tidegate user totp {a.account.username} --enable), or take {a.family} off {where}"
    return Step(rule, "deny", why, where, hint)


def _hours(a: Attempt) -> Step:
    windows = a.account.filters.access_time
    where = "filters.access_time"
    if not windows:
        return Step("hours", "pass", "logging in is allowed at any time", where)
    moment = local_time(a.now_ms, a.tz)
    moment_text = f"{DAYS[(moment.weekday() + 1) % 7]} {moment:%H:%M %Z}" if moment else f"{a.now_ms} ms"
    index = open_window(windows, a.now_ms, a.tz)
    if index is not None:
        why = f"{moment_text} is within {describe(windows[index])}"
        return Step(f"hours[{index}]", "allow", why, f"{where}[{index}]")
    why = f"{moment_text} is in none of the windows {', '.join(map(describe, windows))}"
    return Step("hours", "deny", why, where, "add a window, or wait for one")


def _password_age(a: Attempt) -> Step:
    rule, where = "password_expired", "filters.password_expiration"
    days = a.account.filters.password_expiration
    if days <= 0:
        return Step(rule, "pass", "passwords do not expire", where)
    if not uses_password(a.method):
        return Step(rule, "pass", f"{a.method or 'the method'} uses no password", where)
    changed = a.account.last_password_change or a.account.created_at
    if changed > 0 and a.now_ms <= changed + days * MS_PER_DAY:
        why = f"the password of {_when(changed)} is valid until {_when(changed + days * MS_PER_DAY)}"
        return Step(rule, "pass", why, where)
    since = f"is of {_when(changed)}" if changed > 0 else "is of unknown age"
    why = f"the password {since} and was good for {days} days"
    return Step(rule, "deny", why, where, "set a new password, or raise password_expiration")


def _password_change(a: Attempt) -> Step:
    rule, where = "password_change", "filters.require_password_change"
    if not a.account.filters.require_password_change:
        return Step(rule, "pass", "the password need not be changed first", where)
    if not uses_password(a.method):
        return Step(rule, "pass", f"{a.method or 'the method'} uses no password", where)
    if a.family == "HTTP":
        return Step(rule, "pass", "the password has to be changed, which can be done over HTTP", where)
    why = f"the password has to be changed first, which cannot be done over {a.family}"
    return Step(rule, "deny", why, where, "set a new password for the user, or let them change it over HTTP")


def _home(a: Attempt) -> Step:
    home = a.account.home_dir
    if not a.account.filesystem.is_local and not home:
        return Step("home", "pass", "the home is not on local disk", "home_dir")
    # Not os.path: a Windows path is no home on this host, and the other way round.
    if home.startswith("/") and "\0" not in home:
        return Step("home", "pass", "the home is an absolute directory", "home_dir")
    why = "the home is not set" if not home else "the home is no absolute directory"
    return Step("home", "deny", why, "home_dir", "set home_dir to an absolute directory of the host")


_RULES: Final[tuple[Callable[[Attempt], Step], ...]] = (
    _status,
    _expiration,
    _denied_ip,
    _allowed_ip,
    _location,
    _protocol,
    _encryption,
    _method,
    _second_factor,
    _hours,
    _password_age,
    _password_change,
    _home,
)
"""In the order of asking."""


def check_login(
    account: Account,
    *,
    protocol: Protocol | str,
    method: str,
    ip: str,
    now_ms: int,
    partial: bool = False,
    tz: tzinfo = UTC,
    encrypted: bool = True,
    location: Location = NO_LOCATION,
    stop: bool = True,
) -> list[Step]:
    """Ask every login rule in order. Pure, and total over any account and input.

    Args:
        account: who wants to come in.
        protocol: the door.
        method: ``password``, ``publickey``, ``keyboard-interactive``, ``publickey+password``...; empty leaves
            out the rules about methods.
        ip: the client's address.
        now_ms: Unix milliseconds.
        partial: `method` is offered as the first of two steps, see `remaining_methods`.
        tz: time zone of `access_time`.
        encrypted: nobody on the way can read what is sent; asked of FTP alone.
        location: of `ip`, as databases have it.
        stop: end at the first refusal, as the server does; False asks the rest as well, for `explain`.

    Returns:
        the rules asked. With `stop` only the last one can refuse; see `refusal`.
    """
    steps: list[Step] = []
    attempt = Attempt(account, protocol, method, ip, now_ms, partial, tz, encrypted, location)
    for rule in _RULES:
        if rule is _encryption and attempt.family != "FTP":
            continue
        if rule is _location and not account.filters.geoip:
            continue
        steps.append(rule(attempt))
        if stop and steps[-1].verdict == "deny":
            break
    return steps


def refusal(steps: list[Step], username: str = "") -> LoginRefused | None:
    """The error for the first refusal among login steps, with its reason word; None if there is none."""
    for step in steps:
        if step.verdict == "deny":
            return LoginRefused(step.rule.partition("[")[0], rule=step.rule, username=username)
    return None


def require_login(
    account: Account,
    *,
    protocol: Protocol | str,
    method: str,
    ip: str,
    now_ms: int,
    partial: bool = False,
    tz: tzinfo = UTC,
    encrypted: bool = True,
    location: Location = NO_LOCATION,
) -> None:
    """Return if every login rule lets the account in.

    Raises:
        LoginRefused: reason ``disabled``, ``held``, ``expired``, ``address``, ``geoip``, ``protocol``,
            ``encryption``, ``method``, ``second_factor``, ``hours``, ``password_expired``,
            ``password_change`` or ``home``.
    """
    steps = check_login(
        account,
        protocol=protocol,
        method=method,
        ip=ip,
        now_ms=now_ms,
        partial=partial,
        tz=tz,
        encrypted=encrypted,
        location=location,
    )
    refused = refusal(steps, account.username)
    if refused is not None:
        raise refused


def _when(ms: int) -> str:
    moment = local_time(ms)
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else f"{ms} ms"
