# SPDX-License-Identifier: Apache-2.0
"""Rules that are asked before an act counts: which act is which event, and which answer refuses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from tidegate.actions.active import ActiveRules
from tidegate.actions.files import NOT_THERE, FileActions
from tidegate.actions.inspector import RuleInspector, facts_of_act
from tidegate.actions.runner import RuleResult, Runner
from tidegate.contracts.inspection import Inspected, InspectedAct
from tidegate.inspection.inspections import RULE_PROTOCOL
from tidegate.model import Origin
from tidegate.model.rule import ActionType, EventAction, EventRule, RuleAction, Trigger
from tidegate.rules.book import Rule, RuleBook, Step, ready
from tidegate.rules.facts import Facts

ORIGIN = Origin("c1", "ana", "FTP", "192.0.2.9")
OPENED = InspectedAct(Inspected.OPEN_UPLOAD, ORIGIN, "/in/f", 6, location="/srv/f", open_flags=577)


class Answers:
    """Runs rules, and answers what it is told."""

    def __init__(self, **results: RuleResult) -> None:
        self.results = results
        self.ran: list[tuple[str, str, str]] = []

    async def run(self, rule: Rule, facts: Facts, steps: Sequence[Step], *, waits: bool) -> RuleResult:
        assert waits
        assert [one.name for one in steps] == ["tell"]
        self.ran.append((rule.name, facts.event, facts.id))
        return self.results.get(rule.name, RuleResult())


def rule(name: str, *events: str, muted: float = 0.0) -> Rule:
    record = EventRule(
        name=name, trigger=Trigger.FILE, conditions={"fs_events": list(events)},
        actions=(RuleAction(name="tell", execute_sync=True),),
    )  # fmt: skip
    return replace(ready(record, {"tell": EventAction(name="tell", type=ActionType.HTTP)}), muted_until=muted)


def inspector(answers: Answers, *rules: Rule) -> RuleInspector:
    return RuleInspector(ActiveRules(RuleBook(rules)), cast("Runner", answers))


@pytest.mark.parametrize(
    ("kind", "event", "size"),
    [
        (Inspected.OPEN_UPLOAD, "pre-upload", 6),
        (Inspected.UPLOAD, "upload", 6),
        (Inspected.DOWNLOAD, "pre-download", -1),
        (Inspected.DELETE, "pre-delete", 6),
    ],
)
def test_facts_of_acts(kind: Inspected, event: str, size: int) -> None:
    facts = facts_of_act(replace(OPENED, kind=kind), 7)
    assert facts == Facts(
        trigger=Trigger.FILE, event=event, name="ana", virtual_path="/in/f", fs_path="/srv/f", size=size,
        protocol="FTP", ip="192.0.2.9", session_id="c1", open_flags=577, at=7,
    )  # fmt: skip


def test_acts_that_no_rule_is_asked_about() -> None:
    assert facts_of_act(replace(OPENED, kind=Inspected.LOGIN), 7) is None
    assert facts_of_act(replace(OPENED, kind=Inspected.UPLOAD, resized=True), 7) is None
    assert facts_of_act(replace(OPENED, kind=Inspected.DELETE, size=None), 7) is None  # a directory
    gone = facts_of_act(replace(OPENED, kind=Inspected.UPLOAD, complete=False, size=None), 7)
    assert gone is not None
    assert (gone.client_gone, gone.size) == (True, -1)


async def test_the_first_rule_that_fails_decides() -> None:
    refuses = RuleResult(error="exit status 1", text="not on Sundays")
    answers = Answers(b=refuses, c=RuleResult(error="never asked"))
    asked = inspector(answers, rule("a", "pre-upload"), rule("b", "pre-upload"), rule("c", "pre-upload"))
    verdict = await asked.inspect(OPENED)
    assert (verdict.allowed, verdict.text, verdict.reason) == (
        False,
        "not on Sundays",
        "rule b: exit status 1",
    )
    assert [(name, event) for name, event, _ in answers.ran] == [("a", "pre-upload"), ("b", "pre-upload")]
    ids = {one for _, _, one in answers.ran}
    assert len(ids) == 1
    assert len(ids.pop()) == 22
    assert (await asked.inspect(replace(OPENED, kind=Inspected.DELETE))).allowed
    assert len(answers.ran) == 2


async def test_who_is_not_asked() -> None:
    answers = Answers(a=RuleResult(error="no"))
    muted = inspector(answers, rule("a", "pre-upload", muted=time.time() + 60))
    assert (await muted.inspect(OPENED)).allowed
    own = replace(OPENED, origin=replace(ORIGIN, protocol=RULE_PROTOCOL))
    assert (await inspector(answers, rule("a", "pre-upload")).inspect(own)).allowed
    assert answers.ran == []
    heard = inspector(answers, rule("a", "pre-upload", muted=time.time() - 1))
    assert not (await heard.inspect(OPENED)).allowed


@pytest.mark.parametrize(
    ("events", "acts"),
    [
        (("pre-upload",), {Inspected.OPEN_UPLOAD}),
        (("upload",), {Inspected.UPLOAD}),
        (("pre-download", "pre-delete"), {Inspected.DOWNLOAD, Inspected.DELETE}),
    ],
)
async def test_acts_that_are_waited_for(events: tuple[str, ...], acts: set[Inspected]) -> None:
    found = inspector(Answers(), rule("a", *events))
    await found.open()
    use: Any = found.use()
    assert use.acts == acts
    assert use.keeps_old
    await found.close()
    assert inspector(Answers()).use().acts == frozenset()


def acting(kind: ActionType) -> Rule:
    record = EventRule(
        name="m", trigger=Trigger.FILE, conditions={"fs_events": ["upload"]},
        actions=(RuleAction(name="act", execute_sync=True),),
    )  # fmt: skip
    return ready(record, {"act": EventAction(name="act", type=kind)})


@pytest.mark.parametrize("kind", [ActionType.FILESYSTEM, ActionType.COMMAND, ActionType.HTTP])
def test_old_files_stay_and_uploads_have_their_names_whatever_is_done_with_them(kind: ActionType) -> None:
    use = inspector(Answers(), acting(kind)).use()
    assert (use.keeps_old, use.named) == (True, True)


def test_rules_have_a_question_about_what_they_are_asked_about() -> None:
    upload = replace(OPENED, kind=Inspected.UPLOAD)
    use = inspector(Answers(), rule("a", "upload")).use()
    assert use.wants is not None
    assert use.wants(upload)
    for other in (
        OPENED,
        replace(upload, resized=True),
        replace(upload, origin=replace(ORIGIN, protocol=RULE_PROTOCOL)),
    ):
        assert not use.wants(other)


async def test_an_upload_without_its_name_is_not_worked_on() -> None:
    """Its name is the old file's until then, on storage that cannot set that aside."""
    files = FileActions(cast("Any", None), cast("Any", None))
    action = EventAction(
        name="move", type=ActionType.FILESYSTEM, options={"fs_config": {"type": 2, "deletes": ["/f"]}}
    )
    facts = facts_of_act(replace(OPENED, kind=Inspected.UPLOAD, location=""), 7)
    assert facts is not None
    outcome = await files.run(action, facts, rule("a", "upload"))
    assert (outcome.error, outcome.again) == (NOT_THERE, False)
