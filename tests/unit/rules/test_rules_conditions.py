# SPDX-License-Identifier: Apache-2.0
"""Patterns, conditions and placeholders of event rules."""

from __future__ import annotations

import json
import time

import pytest

from tidegate.events.kinds import LoginFailed, Operated, QuotaWarning, Transferred
from tidegate.model import Action, Origin
from tidegate.model.rule import EventRule, RuleAction, Trigger
from tidegate.rules.conditions import condition_of
from tidegate.rules.facts import Facts, decode_facts, encode_facts, facts_of
from tidegate.rules.patterns import Pattern, any_matches, pattern_problem
from tidegate.rules.placeholders import render, unknown_placeholders

UPLOAD = Facts(
    trigger=Trigger.FILE,
    event="upload",
    id="o-7",
    name="v1",
    virtual_path="/in/a b.tar.gz",
    fs_path="/srv/v1/in/a b.tar.gz",
    size=6,
    elapsed=12,
    protocol="SFTP",
    ip="192.0.2.1",
    at=1_767_379_669_557_030_685,
)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("/in/*", "/in/x", True),
        ("/in/*", "/in/x/y", False),
        ("/in/**", "/in/x/y", True),
        ("/in/**", "/in", True),
        ("/**/*.csv", "/a/b/c.csv", True),
        ("/**/*.csv", "/c.csv", True),
        ("/a/**/z", "/a/b/c/y", False),
        ("/a/**/b/**/c", "/a/x/b/b/y/c", True),
        ("/a/**/b/**/c", "/a/x/c/b", False),
        ("**", "/anything/at/all", True),
        ("v?", "v1", True),
        ("v?", "V1", False),
        ("[ab]*", "bx", True),
    ],
)
def test_patterns_of_paths(pattern: str, text: str, matches: bool) -> None:
    assert Pattern(pattern).matches(text) is matches
    assert Pattern(pattern, inverse=True).matches(text) is not matches


def test_a_pattern_cannot_be_made_slow() -> None:
    pattern = Pattern("/".join(["**", "*a*a*a*a*b"] * 20))
    text = "/".join(["a" * 200] * 200)
    began = time.process_time()
    assert not pattern.matches(text)
    assert time.process_time() - began < 5


def test_bad_patterns_are_named() -> None:
    assert pattern_problem("/in/**/*.csv") is None
    assert "closed" in (pattern_problem("/in/[a") or "")
    assert "empty" in (pattern_problem("") or "")
    assert any_matches((), "x")
    assert not any_matches((Pattern("a"), Pattern("b")), "x")


def rule(trigger: Trigger = Trigger.FILE, events: list[str] | None = None, **options: object) -> EventRule:
    key = {Trigger.FILE: "fs_events", Trigger.LOGIN: "login_events"}.get(trigger, "x")
    return EventRule(
        name="r",
        trigger=trigger,
        conditions={key: events or ["upload"], "options": options},
        actions=(RuleAction(name="a"),),
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, ""),
        ({"names": [{"pattern": "v*"}]}, ""),
        ({"names": [{"pattern": "v*", "inverse_match": True}]}, "names"),
        ({"fs_paths": [{"pattern": "/out/**"}]}, "paths"),
        ({"protocols": ["FTP"]}, "protocol"),
        ({"min_size": 7}, "min_size"),
        ({"max_size": 5}, "max_size"),
        ({"max_size": 6, "min_size": 6}, ""),
        ({"event_statuses": [2]}, "status"),
        ({"event_statuses": [1, 2]}, ""),
    ],
)
def test_the_first_part_that_does_not_hold_is_named(options: dict[str, object], word: str) -> None:
    refusal = condition_of(rule(**options)).refusal(UPLOAD)
    assert (word in refusal) if word else refusal == ""


def test_broken_transfers_count_only_where_a_rule_asks() -> None:
    from dataclasses import replace

    broken = replace(UPLOAD, status=2)
    assert "not complete" in condition_of(rule()).refusal(broken)
    assert condition_of(rule(event_statuses=[2])).holds(broken)


def test_facts_of_events() -> None:
    origin = Origin("c1", "ana", "FTP", "192.0.2.9")
    done = Transferred(origin, 5.5, Action.UPLOAD, "ok", "/f", "/srv/f", 3, 0.25, "", first=True)
    upload, first = facts_of(done, "o-1")
    assert (upload.event, first.event, upload.size, upload.elapsed) == ("upload", "first-upload", 3, 250)
    (failed,) = facts_of(LoginFailed(origin=origin, reason="bad password"))
    assert (failed.trigger, failed.event, failed.status) == (Trigger.LOGIN, "login-failed", 2)
    (quota,) = facts_of(QuotaWarning(origin=origin, limit="quota_size", percent=90, used=9, allowed=10))
    assert "90 %" in quota.error


def test_rules_know_ftp_by_tls_as_ftp() -> None:
    origin = Origin("c1", "ana", "FTPS", "192.0.2.9")
    (made,) = facts_of(Operated(origin=origin, action=Action.MKDIR, virtual_path="/d"))
    assert made.protocol == "FTP"
    assert condition_of(rule(events=["mkdir"], protocols=["FTP"])).holds(made)


def test_facts_survive_the_way_through_the_store() -> None:
    odd = Facts(trigger=Trigger.FILE, event="upload", virtual_path="/caf\udcff", size=0, client_gone=True)
    assert decode_facts(encode_facts(odd)) == odd
    assert decode_facts(encode_facts(UPLOAD)) == UPLOAD
    nothing = Facts(trigger=Trigger.ON_DEMAND, event="")
    assert decode_facts(encode_facts(nothing)) == nothing
    for bad in ("[]", "{}", '{"event":"upload","size":"6"}', '{"event":"upload","trigger":99}'):
        with pytest.raises(ValueError):
            decode_facts(bad)


def test_placeholders_as_recorded() -> None:
    names = [
        "Name",
        "Event",
        "Status",
        "StatusString",
        "ErrorString",
        "VirtualPath",
        "EscapedVirtualPath",
        "VirtualDirPath",
        "FsPath",
        "VirtualTargetDirPath",
        "TargetName",
        "ObjectName",
        "ObjectBaseName",
        "Ext",
        "FileSize",
        "Elapsed",
        "DateTime",
        "Year",
        "Month",
        "UID",
        "IDPFieldx",
        "NoSuch",
    ]
    filled = {name: render(f"{{{{.{name}}}}}", UPLOAD) for name in names}
    assert filled == {
        "Name": "v1", "Event": "upload", "Status": "1", "StatusString": "OK", "ErrorString": "",
        "VirtualPath": "/in/a b.tar.gz", "EscapedVirtualPath": "%2Fin%2Fa+b.tar.gz", "VirtualDirPath": "/in",
        "FsPath": "/srv/v1/in/a b.tar.gz", "VirtualTargetDirPath": "{{.VirtualTargetDirPath}}",
        "TargetName": "{{.TargetName}}", "ObjectName": "a b.tar.gz", "ObjectBaseName": "a b.tar", "Ext": ".gz",
        "FileSize": "6", "Elapsed": "12", "DateTime": "2026-01-02T18:47:49.557", "Year": "2026", "Month": "01",
        "UID": "o-7", "IDPFieldx": "{{.IDPFieldx}}", "NoSuch": "{{.NoSuch}}",
    }  # fmt: skip
    assert render("{{Name}}-{{ Name }}", UPLOAD) == "v1-{{ Name }}"
    assert unknown_placeholders("{{.Name}} {{.Nam}} {{.IDPFieldx}}") == ["Nam"]


def test_what_a_name_holds_is_never_read_for_placeholders() -> None:
    from dataclasses import replace

    sly = replace(UPLOAD, name='{{.IP}}"<b>', virtual_path="/x")
    assert render("{{.Name}}", sly) == '{{.IP}}"<b>'
    assert json.loads(render('{"n":"{{.Name}}"}', sly, "json")) == {"n": '{{.IP}}"<b>'}
    assert render("{{.Name}}", sly, "html") == "{{.IP}}&quot;&lt;b&gt;"
    failed = replace(UPLOAD, status=2, error="unexpected EOF")
    assert render("{{.ErrorString}}", failed) == '"upload" failed: unexpected EOF'


def test_records_in_texts() -> None:
    """The record is JSON by itself; its text is escaped in whatever it stands."""
    from dataclasses import replace

    change = replace(UPLOAD, trigger=Trigger.PROVIDER, object_data='{"a":"\u00e4"}')
    both = '{"d":{{.ObjectData}},"s":"{{.ObjectDataString}}"}'
    for escape in ("", "json"):
        found = json.loads(render(both, change, escape))  # type: ignore[arg-type]
        assert found == {"d": {"a": "\u00e4"}, "s": '{"a":"\u00e4"}'}
        assert render(both, change, escape).count("\u00e4") == 2  # type: ignore[arg-type]  written as it is
    assert render("{{.ObjectData}}{{.Metadata}}{{.MetadataString}}", UPLOAD) == "{}{}"
    named = replace(change, object_name="u.1", virtual_path="/x")
    assert render("{{ObjectName}} {{ObjectBaseName}} {{Ext}}", named) == "u.1 u .1"
