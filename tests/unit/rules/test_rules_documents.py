# SPDX-License-Identifier: Apache-2.0
"""Documents of event actions and rules: what is accepted, what is refused and by which name, secrets."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.errors import BadRecord
from tidegate.model.rule import ActionType, Trigger
from tidegate.rules.documents import cron_of, decode_action, decode_rule, encode_action, encode_rule
from tidegate.rules.translate import configured_rules

HTTP = {"endpoint": "http://127.0.0.1/x", "method": "GET", "timeout": 5}
USE = {"name": "a", "order": 1, "relation_options": {"execute_sync": True}}


def action(kind: int, **options: Any) -> dict[str, Any]:
    return {"name": "x", "type": kind, "options": options}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (action(0), "type"),
        (action(10), "type"),
        ({"type": 4}, "name"),
        ({"name": "a/b", "type": 4}, "name"),
        (action(1, http_config={"method": "GET", "timeout": 5}), "options.http_config.endpoint"),
        (action(1, http_config={**HTTP, "endpoint": "file:///etc/passwd"}), "options.http_config.endpoint"),
        (action(1, http_config={**HTTP, "timeout": 0}), "options.http_config.timeout"),
        (action(1, http_config={**HTTP, "method": "PATCH"}), "options.http_config.method"),
        (action(1, http_config={**HTTP, "headers": [{"key": "A", "value": "x\r\nB: y"}]}), "headers"),
        (action(1, http_config={**HTTP, "nosuch": 1}), "options.http_config.nosuch"),
        (action(2, cmd_config={"cmd": "bin/true", "timeout": 5}), "options.cmd_config.cmd"),
        (action(2, cmd_config={"cmd": "/bin/true"}), "options.cmd_config.timeout"),
        (action(3, email_config={"subject": "s", "body": "b"}), "options.email_config.recipients"),
        (action(3, email_config={"recipients": ["a@b"], "subject": "x\ny", "body": "b"}), "subject"),
        (action(8), "options.retention_config.folders"),
        (action(9, fs_config={"type": 9}), "options.fs_config.type"),
        (action(9, fs_config={"type": 1, "renames": []}), "options.fs_config.renames"),
        (action(11), "options.pwd_expiration_config.threshold"),
        (action(13, idp_config={"mode": 0}), "options.idp_config.template_user"),
        (action(14), "options.user_inactivity_config.disable_threshold"),
        (action(101, chat_config={"text": "x"}), "options.chat_config.url_secret"),
        ("text", "document"),
    ],
)
def test_bad_actions_are_named(document: Any, field: str) -> None:
    with pytest.raises(BadRecord) as refused:
        decode_action(document)
    assert field in str(refused.value)


def test_a_program_has_to_be_enabled() -> None:
    document = action(2, cmd_config={"cmd": "/bin/true", "timeout": 5})
    with pytest.raises(BadRecord, match="enabled_commands"):
        decode_action(document, enabled=())
    assert decode_action(document, enabled=("/bin/true",)).type is ActionType.COMMAND


def test_secrets_stay_and_are_not_shown() -> None:
    stored = decode_action(action(1, http_config={**HTTP, "username": "u", "password": "geheim"}))
    shown = encode_action(stored, confidential=False)
    assert "geheim" not in str(shown)
    assert shown["options"]["http_config"]["password"] == {"status": "Redacted"}
    assert shown["options"]["fs_config"] == {"compress": {}}
    again = decode_action(shown, base=stored)
    assert again.options == stored.options
    moved = {**shown["options"]["http_config"], "endpoint": "http://evil.example/x"}
    with pytest.raises(BadRecord, match="Redacted"):
        decode_action(action(1, http_config=moved), base=stored)
    assert encode_action(stored, confidential=True)["options"]["http_config"]["password"] == "geheim"


def rule(trigger: int, conditions: dict[str, Any], *actions: dict[str, Any]) -> dict[str, Any]:
    return {"name": "r", "status": 1, "trigger": trigger, "conditions": conditions, "actions": list(actions)}


PLAIN = {"name": "a", "order": 1, "relation_options": {}}


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (rule(1, {"fs_events": ["pre-upload"]}, PLAIN), "pre-upload needs"),
        (rule(1, {"fs_events": ["rename"]}, USE), "execute_sync is only"),
        (rule(2, {"provider_events": ["add"]}, USE), "execute_sync is only"),
        (rule(1, {"fs_events": ["list"]}, PLAIN), "'list' is not one of"),
        (rule(1, {"fs_events": []}, PLAIN), "at least one event"),
        (rule(1, {"fs_events": ["upload"]}), "at least one action"),
        (
            rule(
                1, {"fs_events": ["upload"]}, {"name": "a", "relation_options": {"is_failure_action": True}}
            ),
            "no failure",
        ),
        (rule(1, {"fs_events": ["upload"], "options": {"protocols": ["NFS"]}}, PLAIN), "'NFS'"),
        (rule(9, {}, PLAIN), "no trigger"),
        (rule(6, {}, PLAIN, {**PLAIN, "name": "b"}), "given twice"),
        (rule(3, {"schedules": []}, PLAIN), "schedules"),
        (rule(3, {"schedules": [{"hour": "25"}]}, PLAIN), "conditions.schedules[0].hour"),
        (rule(3, {"schedules": [{"hour": "5-2"}]}, PLAIN), "hour"),
        (rule(1, {"fs_events": ["upload"], "options": {"names": [{"pattern": "[a"}]}}, PLAIN), "pattern"),
        (rule(1, {"fs_events": ["upload"], "options": {"min_size": 9, "max_size": 3}}, PLAIN), "max_size"),
    ],
)
def test_bad_rules_are_named(document: dict[str, Any], word: str) -> None:
    with pytest.raises(BadRecord) as refused:
        decode_rule(document)
    assert word in str(refused.value)


def test_a_rule_comes_back_as_it_was() -> None:
    found = decode_rule(rule(1, {"fs_events": ["pre-upload"]}, {**USE, "order": 2}, {**PLAIN, "name": "b"}))
    assert [use.name for use in found.actions] == ["b", "a"]
    assert decode_rule(encode_rule(found)) == found
    assert found.trigger is Trigger.FILE


def test_schedules_as_cron() -> None:
    both = {"hour": "0/6", "day_of_week": "1-5", "day_of_month": "*", "month": "*"}
    assert cron_of(both) == "0 0-23/6 * * 1-5"
    assert cron_of({**both, "minute": "*/15", "hour": "*"}) == "*/15 * * * 1-5"
    assert cron_of({**both, "day_of_week": "0/2"}).endswith(
        " 0-6/2"
    )  # Sunday is 0, and 7 only if somebody says so
    assert cron_of({**both, "day_of_week": "1/2,7"}).endswith(" 1-7/2,7")


def test_actions_of_the_configuration_become_rules() -> None:
    files = {"execute_on": ["upload", "pre-delete", "mkdir"], "execute_sync": ["upload"], "hook": "/bin/x"}
    records = {"execute_on": ["add"], "command": "/bin/y", "hook": "http://h/x", "execute_for": []}
    rules, problems = configured_rules(files, records)
    assert not problems
    assert [(one.name, sorted(one.condition.events)) for one in rules] == [
        ("common.actions.hook", ["mkdir"]),
        ("common.actions.hook (waited for)", ["pre-delete", "upload"]),
        ("data_provider.actions.command", ["add"]),
    ]
    assert [one.asks for one in rules] == [False, True, False]
    old, _ = configured_rules({"execute_on": ["upload", "mkdir"], "command": "/bin/x"}, {})
    assert sorted(old[0].condition.events) == ["upload"]
    for bad in ({"command": "bin/x"}, {"http_notification_url": "/x"}, {"hook": "http://"}, {"x": 1}):
        _, problems = configured_rules({"execute_on": ["upload"], **bad}, {})
        assert problems
        assert problems[0].where.startswith("common.actions.")


def test_secrets_in_the_shapes_of_dumps() -> None:
    def stored(password: Any) -> Any:
        return decode_action(action(1, http_config={**HTTP, "password": password})).options["http_config"]

    assert stored({"status": "Plain", "payload": "p"})["password"] == "p"
    for nothing in (None, "", {}, {"status": ""}):
        assert "password" not in stored(nothing)
    for sealed in ({"status": "Secretbox", "payload": "x"}, {"status": "Plain", "payload": 7}, ["p"], 7):
        with pytest.raises(BadRecord, match="password"):
            stored(sealed)


@pytest.mark.parametrize(
    "document",
    [
        action(3, email_config={"recipients": ["a@b"], "subject": "s", "body": "b", "digest_subject": "t"}),
        action(
            3,
            email_config={
                "recipients": ["a@b"], "subject": "s", "body": "b", "digest_seconds": 5, "digest_subject": "a\nb",
            },
        ),
        action(101, chat_config={"url_secret": "https://h.example/x", "text": "t", "digest_title": "t"}),
    ],
)  # fmt: skip
def test_titles_of_digests_that_cannot_be(document: Any) -> None:
    """They are one line, and of messages that are gathered."""
    with pytest.raises(BadRecord, match="digest"):
        decode_action(document)


def test_titles_of_digests_are_kept() -> None:
    chat = {
        "url_secret": "https://h.example/x",
        "text": "t",
        "digest_seconds": 5,
        "digest_title": "{{Count}}",
    }
    stored = decode_action(action(101, chat_config=chat))
    assert stored.options["chat_config"]["digest_title"] == "{{Count}}"
    again = decode_action(encode_action(stored, confidential=False), base=stored)
    assert again.options == stored.options
