# SPDX-License-Identifier: Apache-2.0
"""Rules made ready: which of them an event sets off, in which order, and which are asked before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidegate.actions.active import ActiveRules
from tidegate.events.kinds import (
    Administered,
    Banned,
    LoggedIn,
    LoginFailed,
    Operated,
    QuotaWarning,
    Transferred,
)
from tidegate.inspection.inspections import RULE_PROTOCOL
from tidegate.model import Action, Origin
from tidegate.model.rule import ActionType, EventAction, EventRule, RuleAction, Trigger
from tidegate.rules.book import RuleBook, book_of, ready, shown_rule
from tidegate.rules.conditions import Condition, condition_of
from tidegate.rules.facts import Facts
from tidegate.rules.hooks import HookCall
from tidegate.rules.translate import configured_rules

ACTIONS = {
    name: EventAction(
        name=name,
        type=ActionType.HTTP,
        options={"http_config": {"endpoint": "https://u:p@h.example/x?key=1"}},
    )
    for name in ("a", "b", "c")
}


def rule(
    name: str, *uses: RuleAction, trigger: Trigger = Trigger.FILE, status: int = 1, **conditions: Any
) -> EventRule:
    return EventRule(name=name, trigger=trigger, status=status, conditions=conditions, actions=uses)


def use(name: str, order: int = 1, **more: bool) -> RuleAction:
    return RuleAction(name=name, order=order, **more)


def facts(event: str, **more: Any) -> Facts:
    return Facts(trigger=Trigger.FILE, event=event, **more)


def names(rules: Any) -> list[str]:
    return [one.name for one in rules]


def test_steps_by_order_and_kind() -> None:
    both = ready(
        rule("r", use("c", 3, is_failure_action=True), use("b", 2), use("a", 1, execute_sync=True, stop_on_failure=True),
             fs_events=["upload", "pre-upload"]),
        ACTIONS,
    )  # fmt: skip
    assert names(both.steps) == ["a", "b", "c"]
    assert [(one.sync, one.failure, one.stops) for one in both.steps] == [
        (True, False, True), (False, False, False), (False, True, False),
    ]  # fmt: skip
    # Of an upload the client waits for what says so; before one it waits for everything but for failures.
    # Those for failures belong to both.
    assert names(both.sync_steps("upload")) == ["a", "c"]
    assert names(both.later_steps("upload")) == ["b", "c"]
    assert names(both.sync_steps("pre-upload")) == ["a", "b", "c"]
    assert both.sync_steps("rename") == both.sync_steps("upload")
    assert both.later_steps("pre-upload") == ()
    assert both.asks
    assert both.missing == ()
    assert not both.gathers
    lacking = ready(rule("l", use("a"), use("z", 2), fs_events=["upload"]), ACTIONS)
    assert (names(lacking.steps), lacking.missing) == (["a"], ("z",))
    assert not lacking.asks
    # A step that is said to be waited for asks by itself; so does an event that is about to happen.
    assert ready(rule("s", use("a", execute_sync=True), fs_events=["upload"]), ACTIONS).asks
    assert ready(rule("p", use("a"), fs_events=["pre-delete"]), ACTIONS).asks


@pytest.mark.parametrize(("section", "seconds", "gathers"), [
    ("email_config", 5, True), ("chat_config", 5, True), ("email_config", 0, False), ("http_config", 5, False),
])  # fmt: skip
def test_rules_that_gather(section: str, seconds: int, gathers: bool) -> None:
    action = EventAction(name="a", type=ActionType.EMAIL, options={section: {"digest_seconds": seconds}})
    assert ready(rule("r", use("a"), fs_events=["upload"]), {"a": action}).gathers is gathers


def test_a_book() -> None:
    configured, problems = configured_rules(
        {"execute_on": ["upload"], "hook": "https://u:p@h.example/c?k=1"}, {}
    )
    assert not problems
    book = book_of(
        configured,
        [
            rule("later", use("a"), fs_events=["upload"]),
            rule("off", use("a"), status=0, fs_events=["upload"]),
            rule(
                "sync", use("a", execute_sync=True), use("b", 2, is_failure_action=True), fs_events=["upload"]
            ),
            rule("before", use("a", execute_sync=True), fs_events=["pre-delete"]),
            rule("clock", use("a"), trigger=Trigger.SCHEDULE, schedules=[]),
            rule("certificate", use("a"), trigger=Trigger.CERTIFICATE),
        ],
        ACTIONS.values(),
    )
    assert names(book.rules) == ["common.actions.hook", "later", "sync", "before", "clock", "certificate"]
    assert book
    assert not RuleBook()
    found = book.find("later")
    assert found is not None
    assert found.name == "later"
    assert book.find("off") is None
    assert names(book.later(facts("upload"))) == ["common.actions.hook", "later"]
    assert names(book.asked(facts("upload"))) == ["sync"]
    assert names(book.asked(facts("pre-delete"))) == ["before"]
    assert book.later(facts("pre-delete")) == []
    assert book.later(Facts(trigger=Trigger.LOGIN, event="upload")) == []
    assert book.asked(Facts(trigger=Trigger.LOGIN, event="upload")) == []
    assert names(book.scheduled()) == ["clock"]
    assert names(book.of_certificates()) == ["certificate"]
    assert [event for event in ("upload", "pre-upload", "pre-delete", "rename") if book.asks_of(event)] == [
        "upload",
        "pre-delete",
    ]
    # A broken transfer is told to hooks of the configuration, and to no rule that does not ask for it.
    assert names(book.later(facts("upload", status=2))) == ["common.actions.hook"]


def test_rules_in_lists_show_no_secret() -> None:
    muted = replace(
        ready(
            rule("r", use("a", execute_sync=True, stop_on_failure=True), use("z", 2), fs_events=["upload"]),
            ACTIONS,
        ),
        muted_until=1_000.5,
    )
    assert shown_rule(muted) == {
        "name": "r", "source": "record", "trigger": "file", "events": ["upload"],
        "actions": [{"name": "a", "does": "http https://h.example/x", "sync": True, "stops": True}],
        "missing": ["z"], "muted_until": 1_000_500,
    }  # fmt: skip
    (configured,), _ = configured_rules({"execute_on": ["upload"], "hook": "https://u:p@h.example/c?k=1"}, {})
    assert shown_rule(configured) == {
        "name": "common.actions.hook", "source": "config", "trigger": "file", "events": ["upload"],
        "actions": [{"name": "hook", "does": "GET or POST https://h.example/c"}],
    }  # fmt: skip
    (program,), _ = configured_rules({}, {"execute_on": ["add"], "command": "/bin/x"})
    assert program.steps[0].does == "program /bin/x"


@pytest.mark.parametrize(
    ("condition", "wholly"),
    [
        ({"fs_events": ["upload"]}, {"upload"}),
        ({"fs_events": ["upload"], "options": {"event_statuses": [1, 2]}}, {"upload"}),
        ({"fs_events": ["upload"], "options": {"event_statuses": [2]}}, set()),
        ({"fs_events": ["upload"], "options": {"names": [{"pattern": "v*"}]}}, set()),
        ({"fs_events": ["upload"], "options": {"fs_paths": [{"pattern": "/**"}]}}, set()),
        ({"fs_events": ["upload"], "options": {"protocols": ["SFTP"]}}, set()),
        ({"fs_events": ["upload"], "options": {"min_size": 1}}, set()),
        ({"fs_events": ["upload"], "options": {"max_size": 1}}, set()),
        (
            {"fs_events": ["upload", "download"], "options": {"group_names": [{"pattern": "g"}]}},
            {"upload", "download"},
        ),
    ],
)
def test_events_that_are_wanted_whatever_else_is_true(condition: dict[str, Any], wholly: set[str]) -> None:
    assert condition_of(rule("r", use("a"), **condition)).wholly == wholly


def test_no_other_trigger_wants_files() -> None:
    assert Condition(trigger=Trigger.LOGIN, events=frozenset(("upload",))).wholly == frozenset()


ORIGIN = Origin("c1", "ana", "SFTP", "192.0.2.9")
UPLOAD = Transferred(ORIGIN, 5.5, Action.UPLOAD, "ok", "/in/f", "/srv/f", 3, 0.25, "", first=True)
EVENTS = {
    "upload": UPLOAD,
    "upload_failed": UPLOAD._replace(status="failed", first=False),
    "download": UPLOAD._replace(action=Action.DOWNLOAD),
    "remove": Operated(origin=ORIGIN, action=Action.REMOVE, virtual_path="/in/f"),
    "mkdir": Operated(origin=ORIGIN, action=Action.MKDIR, virtual_path="/in/f"),
    "administration": Administered(origin=ORIGIN, action="add", kind="user", name="u"),
    "login": LoggedIn(origin=ORIGIN),
    "login_failed": LoginFailed(origin=ORIGIN, reason="bad_credential"),
    "banned": Banned(origin=ORIGIN, source="192.0.2.9"),
    "quota_warning": QuotaWarning(origin=ORIGIN, limit="quota_size", percent=90),
}


@pytest.mark.parametrize(
    ("trigger", "conditions", "wanted"),
    [
        (Trigger.FILE, {"fs_events": ["upload"]}, {"upload"}),
        (Trigger.FILE, {"fs_events": ["first-upload"]}, {"upload"}),
        (Trigger.FILE, {"fs_events": ["first-download"]}, {"download"}),
        (Trigger.FILE, {"fs_events": ["upload"], "options": {"event_statuses": [2, 3]}}, {"upload_failed"}),
        (Trigger.FILE, {"fs_events": ["upload"], "options": {"fs_paths": [{"pattern": "/in/*"}]}}, {"upload"}),
        (Trigger.FILE, {"fs_events": ["upload"], "options": {"fs_paths": [{"pattern": "/out/*"}]}}, set()),
        (Trigger.FILE, {"fs_events": ["delete", "mkdir"]}, {"remove", "mkdir"}),
        (Trigger.FILE, {"fs_events": ["pre-upload"]}, set()),
        (Trigger.PROVIDER, {"provider_events": ["add"]}, {"administration"}),
        (Trigger.PROVIDER, {"provider_events": ["delete"]}, set()),
        (Trigger.LOGIN, {"login_events": ["login"]}, {"login"}),
        (Trigger.LOGIN, {}, {"login", "login_failed"}),
        (Trigger.IP_BLOCKED, {}, {"banned"}),
        (Trigger.QUOTA, {}, {"quota_warning"}),
        (Trigger.SCHEDULE, {}, set()),
    ],
)  # fmt: skip
def test_what_is_kept_for_rules(trigger: Trigger, conditions: dict[str, Any], wanted: set[str]) -> None:
    """Events that a rule wants are kept, and no others; acts of rules set off none."""
    active = ActiveRules(RuleBook((ready(rule("r", use("a"), trigger=trigger, **conditions), ACTIONS),)))
    found = {name for name, event in EVENTS.items() if active.wants(event)}
    assert found == wanted
    assert wanted <= active.names()
    own = replace(ORIGIN, protocol=RULE_PROTOCOL)
    assert not active.wants(UPLOAD._replace(origin=own))
    assert not ActiveRules().wants(UPLOAD)


def test_a_rule_with_failure_actions_alone_left_over_wants_nothing() -> None:
    """Its other action is waited for: nothing is to be done after the event."""
    sync = rule("r", use("a", execute_sync=True), use("b", 2, is_failure_action=True), fs_events=["upload"])
    active = ActiveRules(RuleBook((ready(sync, ACTIONS),)))
    assert not active.wants(UPLOAD)


def test_changes_are_told_once() -> None:
    told: list[str] = []
    active = ActiveRules()
    active.on_change(lambda: told.append("changed"))
    assert not active.replace(RuleBook())
    book = RuleBook((ready(rule("r", use("a"), fs_events=["upload"]), ACTIONS),))
    assert active.replace(book)
    assert active.names() == {"upload"}
    assert not active.replace(RuleBook(book.rules))
    assert told == ["changed"]


def test_a_hook_is_a_program_or_a_url() -> None:
    assert HookCall("http://h/x", "2").is_url
    assert HookCall("https://h/x", "2").is_url
    assert not HookCall("/http://x", "2").is_url
