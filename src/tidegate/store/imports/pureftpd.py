# SPDX-License-Identifier: Apache-2.0
"""Pure-FTPd's virtual users: the text file that pure-pw keeps (``pureftpd.passwd``)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tidegate.errors import BadRecord
from tidegate.model import Account, Filters, TimeWindow
from tidegate.store.imports.common import (
    ALL_PERMISSIONS,
    DEFAULT_RULES,
    Harvest,
    Rules,
    ids_of,
    number_of,
    records,
    with_password,
)
from tidegate.store.validate_values import check_networks

_FORM: Final = (
    "account:password:uid:gid:gecos:home:upload rate:download rate:upload ratio:download ratio:sessions:"
    "files:size:allowed local:denied local:allowed clients:denied clients:hours"
)
_FIELDS: Final = 18
_LEAST_FIELDS: Final = 6
_LAST_MINUTE: Final = "23:59"


def parse_pureftpd(text: str, *, name: str = "pureftpd.passwd", rules: Rules = DEFAULT_RULES) -> Harvest:
    """Accounts of a Pure-FTPd user file.

    Rates are kept in KB/s (the file has bytes/s), quotas and sessions as they are, client networks and hours
    as filters. Local addresses cannot be expressed: a rule on them is a problem, because leaving it out
    would open the account.
    """
    harvest = Harvest(source="pureftpd")
    for where, fields in records(text, name, _LEAST_FIELDS, _FIELDS, harvest, form=_FORM):
        fields += [""] * (_FIELDS - len(fields))
        says, notes = {"uid", "gid", "home_dir", "description"}, list[str]()
        try:
            account = with_password(_account(fields, says, notes), says, notes, fields[1])
        except BadRecord as error:
            harvest.problem(where, str(error))
            continue
        harvest.add(where, account, says, notes, rules)
    if any("filters.access_time" in one.says for one in harvest.accounts):
        harvest.notes.append(
            "hours were in the old server's time zone; here they are in the one of access_time"
        )
    return harvest


def _account(fields: list[str], says: set[str], notes: list[str]) -> Account:
    uid, gid = ids_of(fields[2], fields[3])
    if not uid or not gid:
        raise BadRecord("uid" if not uid else "gid", "0 is root, which Pure-FTPd does not accept either")
    home, jail, rest = fields[5].partition("/./")
    if not jail:
        notes.append("was not confined to its home; here it is")
    elif rest.strip("/"):
        notes.append(f"started in {rest.strip('/')!r} below its root")
    values: dict[str, int] = {
        "upload_bandwidth": _rate(fields[6], "upload rate"),
        "download_bandwidth": _rate(fields[7], "download rate"),
        "max_sessions": number_of(fields[10], "sessions"),
        "quota_files": number_of(fields[11], "files"),
        "quota_size": number_of(fields[12], "size"),
    }
    says.update(key for key, value in values.items() if value)
    for place, label in ((8, "upload"), (9, "download")):
        if number_of(fields[place], f"{label} ratio"):
            notes.append(f"{label} ratio {fields[place]} is not kept")
    if fields[11] == "0" or fields[12] == "0":
        raise BadRecord("quota", "a quota of 0 forbids every upload, which 0 would not here")
    if fields[13] or fields[14]:
        raise BadRecord("local addresses", "rules on the server's own addresses cannot be kept")
    filters = Filters(
        allowed_ip=_networks(fields[15], "allowed clients"),
        denied_ip=_networks(fields[16], "denied clients"),
        access_time=_hours(fields[17]),
    )
    says.update(
        f"filters.{key}" for key in ("allowed_ip", "denied_ip", "access_time") if getattr(filters, key)
    )
    account = Account(
        username=fields[0],
        uid=uid,
        gid=gid,
        home_dir=home,
        description=fields[4].strip(),
        permissions=dict(ALL_PERMISSIONS),
        filters=filters,
    )
    return replace(account, **values)  # type: ignore[arg-type]  # each by its own field


def _rate(text: str, what: str) -> int:
    """KB/s of bytes/s, rounded up: a tiny limit must not become none."""
    return -(-number_of(text, what) // 1024)


def _networks(text: str, what: str) -> tuple[str, ...]:
    """Networks of a list such as ``10.0.0.0/8,192.0.2.1``; host names are refused, not left out."""
    return check_networks(what, tuple(part.strip() for part in text.split(",") if part.strip()))


def _hours(text: str) -> tuple[TimeWindow, ...]:
    """``900-1800`` on every day; a window over midnight becomes two."""
    if not text:
        return ()
    begin, dash, end = text.partition("-")
    if not dash:
        raise BadRecord("hours", f"{text[:40]!r} is not of the form hhmm-hhmm")
    first, last = _clock(begin), _clock(end)
    parts = [(first, last)] if first <= last else [(first, _LAST_MINUTE), ("00:00", last)]
    return tuple(
        TimeWindow(day_of_week=day, from_=since, to=until) for day in range(7) for since, until in parts
    )


def _clock(text: str) -> str:
    value = number_of(text.strip(), "hours", most=2359)
    if not text.strip() or value % 100 > 59:
        raise BadRecord("hours", f"{text[:40]!r} is not a time of the form hhmm")
    return f"{value // 100:02d}:{value % 100:02d}"
