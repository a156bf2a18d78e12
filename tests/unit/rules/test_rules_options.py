# SPDX-License-Identifier: Apache-2.0
"""Options of each type of action: what is kept of them, and what is refused at which key; their bounds."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.errors import BadRecord
from tidegate.model.rule import ActionType
from tidegate.rules.action_options import MAX_SECONDS, OPTIONS
from tidegate.rules.reading import MAX_ITEMS, MAX_NAME, MAX_TEXT, Reader, filled, record_name
from tidegate.rules.schedules import cron_of, schedule


def read(kind: ActionType, **section: Any) -> dict[str, Any]:
    """The section that is kept."""
    (found,) = OPTIONS[kind](Reader({SECTIONS[kind]: section}, "options.")).values()
    assert isinstance(found, dict)
    return found


SECTIONS = {
    ActionType.HTTP: "http_config", ActionType.COMMAND: "cmd_config", ActionType.EMAIL: "email_config",
    ActionType.CHAT: "chat_config", ActionType.RETENTION: "retention_config", ActionType.FILESYSTEM: "fs_config",
    ActionType.PASSWORD_EXPIRATION: "pwd_expiration_config", ActionType.INACTIVITY: "user_inactivity_config",
    ActionType.IDP_ACCOUNT: "idp_config",
}  # fmt: skip
URL = "http://127.0.0.1/x"
HTTP: dict[str, Any] = {"endpoint": URL, "timeout": 5}
COMMAND: dict[str, Any] = {"cmd": "/bin/true", "timeout": 5}
MAIL: dict[str, Any] = {"recipients": ["a@example.com"], "subject": "s", "body": "b"}
CHAT: dict[str, Any] = {"url_secret": URL, "text": "t"}
KEEP: dict[str, Any] = {"folders": [{"path": "/a", "retention": 5}]}
PAIR = {"key": "K", "value": "v"}
LONG = "x" * 4097


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        (ActionType.HTTP, HTTP, {**HTTP, "method": "POST"}),
        (ActionType.HTTP, {**HTTP, "method": "", "timeout": MAX_SECONDS}, {**HTTP, "method": "POST", "timeout": MAX_SECONDS}),
        (ActionType.HTTP, {**HTTP, "endpoint": "https://{{.Name}}:{{.Name}}/x"}, {"endpoint": "https://{{.Name}}:{{.Name}}/x", "timeout": 5, "method": "POST"}),
        (
            ActionType.HTTP,
            {
                **HTTP, "method": "PUT", "username": "u", "password": {"status": "Plain", "payload": "p"}, "headers": [PAIR],
                "skip_tls_verify": True, "query_parameters": [PAIR], "body": "b", "signing_secret": "s",
            },
            {
                **HTTP, "method": "PUT", "username": "u", "password": "p", "headers": [PAIR], "skip_tls_verify": True,
                "query_parameters": [PAIR], "body": "b", "signing_secret": "s",
            },
        ),
        (
            ActionType.HTTP,
            {**HTTP, "parts": [{"name": "f", "filepath": "a/b", "headers": [PAIR]}, {"name": "g", "body": "x"}, {"name": "r", "filepath": "{{RetentionReports}}"}]},
            {**HTTP, "method": "POST", "parts": [{"name": "f", "headers": [PAIR], "filepath": "/a/b"}, {"name": "g", "body": "x"}, {"name": "r", "filepath": "{{RetentionReports}}"}]},
        ),
        (ActionType.HTTP, {**HTTP, "password": {}, "signing_secret": {"status": ""}}, {**HTTP, "method": "POST"}),
        (ActionType.COMMAND, COMMAND, COMMAND),
        (ActionType.COMMAND, {**COMMAND, "args": ["a", ""], "env_vars": [PAIR]}, {**COMMAND, "args": ["a", ""], "env_vars": [PAIR]}),
        (ActionType.EMAIL, MAIL, MAIL),
        (
            ActionType.EMAIL,
            {**MAIL, "bcc": ["b@example.com"], "attachments": ["f", "/g", "{{RetentionReports}}"], "content_type": 1, "digest_seconds": 86_400, "digest_subject": "d"},
            {**MAIL, "bcc": ["b@example.com"], "attachments": ["/f", "/g", "{{RetentionReports}}"], "content_type": 1, "digest_seconds": 86_400, "digest_subject": "d"},
        ),
        (ActionType.CHAT, CHAT, {**CHAT, "style": "slack"}),
        (ActionType.CHAT, {**CHAT, "style": "teams", "digest_seconds": 5, "digest_title": "d"}, {**CHAT, "style": "teams", "digest_seconds": 5, "digest_title": "d"}),
        (ActionType.RETENTION, KEEP, KEEP),
        (
            ActionType.RETENTION,
            {"folders": [{"path": "/a", "retention": 1_000_000, "delete_empty_dirs": True}, {"path": "/b", "retention": 0}]},
            {"folders": [{"path": "/a", "retention": 1_000_000, "delete_empty_dirs": True}, {"path": "/b", "retention": 0}]},
        ),
        (ActionType.FILESYSTEM, {"type": 1, "renames": [{"key": "a", "value": "/b", "update_modtime": True}]}, {"type": 1, "renames": [{"key": "/a", "value": "/b", "update_modtime": True}]}),
        (ActionType.FILESYSTEM, {"type": 6, "copy": [{"key": "a", "value": "b", "update_modtime": True}]}, {"type": 6, "copy": [{"key": "/a", "value": "/b"}]}),
        (ActionType.FILESYSTEM, {"type": 2, "deletes": ["a"]}, {"type": 2, "deletes": ["/a"]}),
        (ActionType.FILESYSTEM, {"type": 3, "mkdirs": ["a"]}, {"type": 3, "mkdirs": ["/a"]}),
        (ActionType.FILESYSTEM, {"type": 4, "exist": ["/a"]}, {"type": 4, "exist": ["/a"]}),
        (ActionType.FILESYSTEM, {"type": 5, "compress": {"name": "z", "paths": ["a"]}}, {"type": 5, "compress": {"name": "/z", "paths": ["/a"]}}),
        (ActionType.PASSWORD_EXPIRATION, {"threshold": 1}, {"threshold": 1}),
        (ActionType.PASSWORD_EXPIRATION, {"threshold": 10_000, "subject": "s", "body": "b\nc"}, {"threshold": 10_000, "subject": "s", "body": "b\nc"}),
        (ActionType.INACTIVITY, {"disable_threshold": 1}, {"disable_threshold": 1}),
        (ActionType.INACTIVITY, {"disable_threshold": 99_999, "delete_threshold": 100_000}, {"disable_threshold": 99_999, "delete_threshold": 100_000}),
        (ActionType.INACTIVITY, {"delete_threshold": 3}, {"delete_threshold": 3}),
        (ActionType.IDP_ACCOUNT, {"mode": 1, "template_user": "t"}, {"mode": 1, "template_user": "t"}),
        (ActionType.IDP_ACCOUNT, {"template_admin": "t"}, {"template_admin": "t"}),
    ],
)  # fmt: skip
def test_what_is_kept(kind: ActionType, given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert read(kind, **given) == kept


@pytest.mark.parametrize(
    ("kind", "given", "key"),
    [
        (ActionType.HTTP, {**HTTP, "method": "PATCH"}, "method"),
        (ActionType.HTTP, {**HTTP, "timeout": MAX_SECONDS + 1}, "timeout"),
        (ActionType.HTTP, {"endpoint": URL}, "timeout"),
        (ActionType.HTTP, {"timeout": 5}, "endpoint"),
        (ActionType.HTTP, {**HTTP, "endpoint": "ftp://127.0.0.1/"}, "endpoint"),
        (ActionType.HTTP, {**HTTP, "endpoint": "http:///x"}, "endpoint"),
        (ActionType.HTTP, {**HTTP, "endpoint": "http://a:99999/"}, "endpoint"),
        (ActionType.HTTP, {**HTTP, "endpoint": "http://a:0/"}, "endpoint"),
        (ActionType.HTTP, {**HTTP, "endpoint": "http://a/ b"}, "endpoint"),
        (ActionType.HTTP, {**HTTP, "endpoint": f"http://a/{LONG}"}, "endpoint"),
        (ActionType.HTTP, {**HTTP, "parts": [{"body": "x"}]}, "parts[0].name"),
        (ActionType.HTTP, {**HTTP, "parts": [{"name": "x" * (MAX_NAME + 1)}]}, "parts[0].name"),
        (ActionType.HTTP, {**HTTP, "parts": [{"name": "a", "filepath": "/f", "body": "x"}]}, "parts[0].body"),
        (ActionType.HTTP, {**HTTP, "parts": [{"name": "a"}], "body": "x"}, "body"),
        (ActionType.HTTP, {**HTTP, "parts": [5]}, "parts[0]"),
        (ActionType.HTTP, {**HTTP, "headers": [{"key": "A\n", "value": ""}]}, "headers"),
        (ActionType.HTTP, {**HTTP, "headers": [{"value": ""}]}, "headers[0].key"),
        (ActionType.HTTP, {**HTTP, "headers": [{"key": LONG}]}, "headers[0].key"),
        (ActionType.HTTP, {**HTTP, "query_parameters": [{"key": "k", "value": "x" * 65_537}]}, "query_parameters[0].value"),
        (ActionType.HTTP, {**HTTP, "skip_tls_verify": 1}, "skip_tls_verify"),
        (ActionType.HTTP, {**HTTP, "password": {"status": "AES-256-GCM", "payload": "x"}}, "password"),
        (ActionType.HTTP, {**HTTP, "password": 5}, "password"),
        (ActionType.HTTP, {**HTTP, "username": "x" * (MAX_NAME + 1)}, "username"),
        (ActionType.COMMAND, {**COMMAND, "cmd": "true"}, "cmd"),
        (ActionType.COMMAND, {**COMMAND, "args": ["a\0"]}, "args[0]"),
        (ActionType.COMMAND, {**COMMAND, "args": ["a", 5]}, "args[1]"),
        (ActionType.COMMAND, {**COMMAND, "args": "a"}, "args"),
        (ActionType.COMMAND, {**COMMAND, "args": ["a"] * (MAX_ITEMS + 1)}, "args"),
        (ActionType.COMMAND, {**COMMAND, "env_vars": [{"key": "A=B", "value": ""}]}, "env_vars"),
        (ActionType.COMMAND, {**COMMAND, "env_vars": [{"key": "Ä", "value": ""}]}, "env_vars"),
        (ActionType.COMMAND, {**COMMAND, "timeout": 0}, "timeout"),
        (ActionType.COMMAND, {**COMMAND, "odd": 1}, "odd"),
        (ActionType.EMAIL, {**MAIL, "recipients": [""]}, "recipients[0]"),
        (ActionType.EMAIL, {**MAIL, "recipients": ["a\nb"]}, "recipients"),
        (ActionType.EMAIL, {**MAIL, "bcc": ["a\rb"]}, "recipients"),
        (ActionType.EMAIL, {**MAIL, "subject": ""}, "subject"),
        (ActionType.EMAIL, {**MAIL, "subject": LONG}, "subject"),
        (ActionType.EMAIL, {**MAIL, "body": ""}, "body"),
        (ActionType.EMAIL, {**MAIL, "content_type": 2}, "content_type"),
        (ActionType.EMAIL, {**MAIL, "digest_seconds": 86_401}, "digest_seconds"),
        (ActionType.EMAIL, {**MAIL, "digest_subject": "d"}, "digest_subject"),
        (ActionType.EMAIL, {**MAIL, "digest_seconds": 5, "digest_subject": "d\ne"}, "digest_subject"),
        (ActionType.EMAIL, {**MAIL, "odd": 1}, "odd"),
        (ActionType.CHAT, {**CHAT, "style": "irc"}, "style"),
        (ActionType.CHAT, {**CHAT, "text": ""}, "text"),
        (ActionType.CHAT, {**CHAT, "url_secret": "x"}, "url_secret"),
        (ActionType.CHAT, {"text": "t", "url_secret": {}}, "url_secret"),
        (ActionType.CHAT, {**CHAT, "odd": 1}, "odd"),
        (ActionType.CHAT, {**CHAT, "digest_title": "d"}, "digest_title"),
        (ActionType.RETENTION, {"folders": [{"path": "a", "retention": 5}]}, "folders[0].path"),
        (ActionType.RETENTION, {"folders": [{"path": "/a", "retention": 1_000_001}]}, "folders[0].retention"),
        (ActionType.RETENTION, {"folders": [{"path": "/a", "retention": True}]}, "folders[0].retention"),
        (ActionType.RETENTION, {"folders": [{"path": "/a", "retention": 0}]}, "folders"),
        (ActionType.RETENTION, {"folders": KEEP["folders"] * 2}, "folders"),
        (ActionType.FILESYSTEM, {"type": 0}, "type"),
        (ActionType.FILESYSTEM, {"type": 1, "renames": [{"key": "a", "value": ""}]}, "renames"),
        (ActionType.FILESYSTEM, {"type": 6, "copy": []}, "copy"),
        (ActionType.FILESYSTEM, {"type": 2}, "deletes"),
        (ActionType.FILESYSTEM, {"type": 3}, "mkdirs"),
        (ActionType.FILESYSTEM, {"type": 4, "exist": [""]}, "exist[0]"),
        (ActionType.FILESYSTEM, {"type": 5, "compress": {"paths": ["a"]}}, "compress.name"),
        (ActionType.FILESYSTEM, {"type": 5, "compress": {"name": "z"}}, "compress.paths"),
        (ActionType.PASSWORD_EXPIRATION, {"threshold": 0}, "threshold"),
        (ActionType.PASSWORD_EXPIRATION, {"threshold": 10_001}, "threshold"),
        (ActionType.PASSWORD_EXPIRATION, {"threshold": 1, "odd": 1}, "odd"),
        (ActionType.PASSWORD_EXPIRATION, {"threshold": 1, "subject": "a\nb"}, "subject"),
        (ActionType.INACTIVITY, {"disable_threshold": 100_001}, "disable_threshold"),
        (ActionType.INACTIVITY, {"disable_threshold": 3, "delete_threshold": 3}, "delete_threshold"),
        (ActionType.INACTIVITY, {"delete_threshold": 100_001}, "delete_threshold"),
        (ActionType.IDP_ACCOUNT, {"mode": 2, "template_user": "t"}, "mode"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(kind: ActionType, given: dict[str, Any], key: str) -> None:
    with pytest.raises(BadRecord) as refused:
        read(kind, **given)
    assert str(refused.value).startswith(f"options.{SECTIONS[kind]}.{key}: ")


def test_types_without_options_keep_none() -> None:
    for kind in (ActionType.BACKUP, ActionType.ROTATE_LOG, ActionType.USER_EXPIRATION):
        assert OPTIONS[kind](Reader({"http_config": 5}, "options.")) == {}


def test_bounds_of_what_is_read() -> None:
    reader = Reader(
        {
            "text": "x" * MAX_TEXT, "long": "x" * (MAX_TEXT + 1), "nul": "\0", "items": [1] * MAX_ITEMS, "none": None,
            "number": 2**63 - 1, "large": 2**63, "negative": -1,
            "pairs": [{"key": "k" * 4096, "value": "v" * 65_536}], "words": ["a", "b"],
        },
        "",
    )  # fmt: skip
    assert len(reader.text("text")) == MAX_TEXT
    assert len(reader.items("items")) == MAX_ITEMS
    assert reader.number("number") == 2**63 - 1
    assert len(reader.pairs("pairs")) == 1
    assert reader.texts("words", ("a", "b")) == ["a", "b"]
    for key, found in (("text", ""), ("number", 0), ("items", ()), ("texts", [])):
        assert getattr(reader, key)("none") == found
        assert getattr(reader, key)("missing") == found
    assert (reader.text("none", default="d"), reader.number("none", default=7)) == ("d", 7)
    for call in (
        lambda: reader.text("long"),
        lambda: reader.text("nul"),
        lambda: reader.text("number"),
        lambda: reader.number("large"),
        lambda: reader.number("negative"),
        lambda: reader.items("items", MAX_ITEMS - 1),
        lambda: reader.texts("words", ("a",)),
        lambda: reader.section("words"),
    ):
        with pytest.raises(BadRecord):
            call()
    assert filled(a="", b=0, c=False, d=[], e={}, f=None, g="x", h=5) == {"g": "x", "h": 5}


def test_names_of_records() -> None:
    def name(given: object, base: str = "") -> str:
        return record_name(Reader({"name": given}, ""), base)

    assert (name("a b"), name(None, "old"), name("", "old"), name("x" * MAX_NAME)) == (
        "a b", "old", "old", "x" * MAX_NAME,
    )  # fmt: skip
    for bad in (None, " a", "a ", "a/b", "a\nb", "x" * (MAX_NAME + 1), 5):
        with pytest.raises(BadRecord, match=r"^name: "):
            name(bad)


@pytest.mark.parametrize(
    ("given", "cron"),
    [
        ({}, "0 * * * *"),
        ({"hour": "", "minute": ""}, "0 * * * *"),
        ({"hour": "0/6", "minute": "5"}, "5 0-23/6 * * *"),
        ({"hour": "*/2", "day_of_week": "1-5"}, "0 */2 * * 1-5"),
        ({"day_of_week": "0,7"}, "0 * * * 0,7"),
        ({"day_of_week": "1/2"}, "0 * * * 1-6/2"),
        ({"day_of_week": "1/2,7"}, "0 * * * 1-7/2,7"),
        ({"day_of_month": "1,31", "month": "12"}, "0 * 1,31 12 *"),
        ({"day_of_month": "2/5", "month": "3/2"}, "0 * 2-31/5 3-12/2 *"),
        ({"minute": "0-59/10", "hour": "23"}, "0-59/10 23 * * *"),
        ({"minute": "30/10"}, "30-59/10 * * * *"),
    ],
)
def test_schedules(given: dict[str, str], cron: str) -> None:
    assert cron_of(schedule(Reader(given, "s."))) == cron


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("hour", "24"), ("hour", "*/0"), ("hour", "*/x"), ("hour", "*/"), ("hour", "1-2-3"), ("hour", "5-2"),
        ("hour", "a"), ("hour", ","), ("hour", "²"), ("day_of_month", "0"), ("day_of_month", "32"),
        ("month", "13"), ("month", "JAN"), ("month", "0"), ("day_of_week", "8"), ("minute", "60"), ("minute", "-1"),
    ],
)  # fmt: skip
def test_schedules_that_are_none(key: str, text: str) -> None:
    with pytest.raises(BadRecord, match=f"^s.{key}: "):
        schedule(Reader({key: text}, "s."))
