# SPDX-License-Identifier: Apache-2.0
"""Answers of `tidegate events test`: every text filled in, no secret, nothing done."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.model.rule import ActionType, EventAction, EventRule, RuleAction, Trigger
from tidegate.rules.book import Rule, Step, ready
from tidegate.rules.conditions import Condition
from tidegate.rules.facts import Facts
from tidegate.rules.hooks import HookCall
from tidegate.rules.rehearse import MAX_SHOWN, rehearse

UPLOAD = Facts(
    trigger=Trigger.FILE, event="upload", name="v1", virtual_path="/in/a b", fs_path="/srv/a b", size=6
)


def with_action(kind: ActionType, **options: Any) -> Rule:
    action = EventAction(name="a", type=kind, options=options)
    return Rule("r", Condition(trigger=Trigger.FILE), (Step("a", action),))


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        (
            with_action(ActionType.HTTP, http_config={
                "method": "PUT", "endpoint": "http://h/x", "password": "geheim", "body": "{{Name}}",
                "query_parameters": [{"key": "p", "value": "{{VirtualPath}}"}, {"key": "q", "value": "1"}]}),
            {"method": "PUT", "query": "p=/in/a b&q=1", "body": "v1"},
        ),
        (
            with_action(ActionType.COMMAND, cmd_config={
                "cmd": "/bin/x", "args": ["{{VirtualPath}}", "y"], "env_vars": [{"key": "N", "value": "{{Name}} z"}]}),
            {"arguments": "'/in/a b' y", "variables": "N='v1 z'"},
        ),
        (
            with_action(ActionType.EMAIL, email_config={
                "recipients": ["a@b", "{{Email}}"], "subject": "s {{Event}}", "body": "b {{Name}}",
                "digest_subject": "{{Name}}: {{Count}}"}),
            {"to": "a@b, ", "subject": "s upload", "body": "b v1", "subject of digests": "v1: {{Count}}"},
        ),
        (
            with_action(ActionType.CHAT, chat_config={"url_secret": "https://geheim", "text": "{{Name}}"}),
            {"text": "v1"},
        ),
        (
            with_action(ActionType.FILESYSTEM, fs_config={
                "renames": [{"key": "/a", "value": "/b/{{Name}}"}], "copy": [{"key": "/c", "value": "/d"}],
                "deletes": ["/e"], "mkdirs": ["/f"], "exist": ["/g"],
                "compress": {"name": "/z.zip", "paths": ["/h", "/i"]}}),
            {"paths": "/a -> /b/v1; /c -> /d; /e; /f; /g; /h, /i -> /z.zip"},
        ),
        (with_action(ActionType.BACKUP), {}),
        (
            Rule("r", Condition(trigger=Trigger.FILE), (Step("h", HookCall("https://h/x?k=1", "0.9")),)),
            {"method": "GET", "query": "k=1&action=upload&file_size=6&local_file=true&path=%2Fsrv%2Fa+b&username=v1"},
        ),
    ],
)  # fmt: skip
def test_what_an_action_would_get(rule: Rule, shown: dict[str, str]) -> None:
    found = rehearse(rule, UPLOAD)
    assert (found["refusal"], found["waits"], found["on_failure"]) == ("", False, [])
    (step,) = found["steps"]
    assert step["with"] == shown
    assert "geheim" not in str(found)


def test_a_program_of_the_configuration() -> None:
    rule = Rule("r", Condition(trigger=Trigger.FILE), (Step("h", HookCall("/bin/x", "0.9")),))
    (step,) = rehearse(rule, UPLOAD)["steps"]
    assert step["with"]["arguments"] == "upload v1 '/srv/a b' '' ''"
    assert "SFTPGO_ACTION_PATH='/srv/a b'" in step["with"]["variables"]
    assert "TIDEGATE" not in step["with"]["variables"]
    records = Rule(
        "r", Condition(trigger=Trigger.PROVIDER), (Step("h", HookCall("/bin/x", "0.9", "records")),)
    )
    change = Facts(
        trigger=Trigger.PROVIDER, event="add", object_type="user", object_data='{"password":"geheim"}'
    )
    assert "geheim" not in str(rehearse(records, change))


def test_steps_refusals_and_failures() -> None:
    actions = {name: EventAction(name=name, type=ActionType.BACKUP) for name in "abc"}
    uses = (
        RuleAction(name="a", order=1, execute_sync=True, stop_on_failure=True),
        RuleAction(name="b", order=2),
        RuleAction(name="c", order=3, is_failure_action=True),
    )
    conditions = {"fs_events": ["upload"], "options": {"group_names": [{"pattern": "g"}]}}
    record = EventRule(name="r", trigger=Trigger.FILE, conditions=conditions, actions=uses)
    rule = ready(record, actions)
    refused = rehearse(rule, UPLOAD)
    assert "groups" in refused["refusal"]
    assert (refused["steps"], refused["on_failure"]) == ([], [])
    member = Facts(trigger=Trigger.FILE, event="upload", groups=("g",))
    found = rehearse(rule, member)
    assert (found["rule"], found["refusal"], found["waits"]) == ("r", "", True)
    assert [(one["name"], one["stops_on_failure"]) for one in found["steps"]] == [("a", True), ("b", False)]
    assert [one["name"] for one in found["on_failure"]] == ["c"]
    assert "event" in rehearse(rule, Facts(trigger=Trigger.FILE, event="rename", groups=("g",)))["refusal"]
    assert (
        "'b' does not exist"
        in rehearse(ready(record, {"a": actions["a"], "c": actions["c"]}), member)["refusal"]
    )


def test_long_texts_are_cut() -> None:
    rule = with_action(ActionType.CHAT, chat_config={"text": "x" * (MAX_SHOWN + 1)})
    (step,) = rehearse(rule, UPLOAD)["steps"]
    assert step["with"]["text"] == "x" * MAX_SHOWN
