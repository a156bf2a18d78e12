# SPDX-License-Identifier: Apache-2.0
"""Messages that are gathered go to those alone whom each of them is for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from tests.support.ports import free_port

from tidegate.actions.digest import Digests
from tidegate.actions.messages import ChatActions, MailActions, SmtpOptions
from tidegate.actions.outcome import DONE, Outcome
from tidegate.model.rule import ActionType, EventAction, Trigger
from tidegate.outgoing.http import HttpCaller
from tidegate.rules.book import Rule
from tidegate.rules.conditions import Condition
from tidegate.rules.facts import Facts


class Box:
    """A mail server's inbox: recipients and content of each message."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        del server, session
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


async def reads(facts: Facts, rule: Rule, path: str) -> bytes:
    raise AssertionError((facts, rule, path))


async def test_hidden_recipients_get_no_messages_about_others() -> None:
    box = Box()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    await asyncio.to_thread(controller.start)
    try:
        options = SmtpOptions(
            host="127.0.0.1", port=controller.port, sender="s@example.com", encryption="none"
        )
        digests = Digests()
        mail = MailActions(options, reads, digests)
        config = {
            "recipients": ["ops@example.com"], "bcc": ["{{Email}}"], "subject": "files",
            "body": "secret of {{Name}}", "digest_seconds": 1,
        }  # fmt: skip
        action = EventAction(name="tell", type=ActionType.EMAIL, options={"email_config": config})
        rule = Rule("r", Condition(trigger=Trigger.FILE), ())

        def facts(name: str) -> Facts:
            return Facts(trigger=Trigger.FILE, event="upload", name=name, email=f"{name}@example.com")

        outcomes = await asyncio.gather(
            *(mail.run(action, facts(name), rule) for name in ("ann", "bob", "ann"))
        )
        assert all(outcome.ok for outcome in outcomes), outcomes
        await digests.close()
    finally:
        await asyncio.to_thread(controller.stop)
    told = {to[-1]: text for to, text in box.mails}
    assert set(told) == {"ann@example.com", "bob@example.com"}
    assert told["ann@example.com"].count("secret of ann") == 2
    assert "secret of bob" not in told["ann@example.com"]
    assert "secret of ann" not in told["bob@example.com"]


@pytest.mark.parametrize(
    ("more", "names", "subjects"),
    [
        ({}, ("ann", "ann"), {"2 events: files"}),
        ({}, ("ann",), {"of ann"}),
        (
            {"digest_subject": "{{.RuleName}}: {{.Count}} of {{Name}}, {{.NoSuch}}"},
            ("ann", "ann"),
            {"files: 2 of ann, {{.NoSuch}}"},
        ),
        ({"digest_subject": "{{.Count}} new"}, ("ann",), {"1 new"}),
    ],
)
async def test_subjects_of_digests(more: dict[str, Any], names: tuple[str, ...], subjects: set[str]) -> None:
    sent: list[tuple[str, str]] = []

    class Kept(MailActions):
        async def _send(  # noqa: PLR0917
            self, to: list[str], hidden: list[str], subject: str, body: str, html: bool, files: Any
        ) -> Outcome:
            del to, hidden, html, files
            sent.append((subject, body))
            return DONE

    mail = Kept(SmtpOptions(host="mail.example.com"), reads, Digests())
    config = {
        "recipients": ["ops@example.com"],
        "subject": "of {{Name}}",
        "body": "x",
        "digest_seconds": 0.01,
    }
    action = EventAction(name="tell", type=ActionType.EMAIL, options={"email_config": {**config, **more}})
    rule = Rule("files", Condition(trigger=Trigger.FILE), ())
    facts = [Facts(trigger=Trigger.FILE, event="upload", name=name) for name in names]
    await asyncio.gather(*(mail.run(action, one, rule) for one in facts))
    assert {subject for subject, _ in sent} == subjects
    assert sum(body.count("of ann") for _, body in sent) == len(names)


async def test_a_digest_is_of_one_rule() -> None:
    """An action that two rules use makes one digest for each: the title names the rule."""
    sent: list[str] = []

    class Kept(ChatActions):
        async def _post(self, url: str, style: str, text: str, event_id: str) -> Outcome:
            del url, style, event_id
            sent.append(text)
            return DONE

    chat = Kept(cast("HttpCaller", None), lambda *_: "https://chat.example.com/x", Digests())
    config = {"style": "slack", "text": "{{Name}}", "digest_seconds": 0.01}
    facts = Facts(trigger=Trigger.FILE, event="upload", name="ann")
    for title, expected in (
        ("{{.Count}} by {{.RuleName}}", ["1 by r\nann", "2 by s\nann\nann"]),
        ("", ["ann", "ann\nann"]),
    ):
        options = {"chat_config": {**config, "digest_title": title}}
        action = EventAction(name="tell", type=ActionType.CHAT, options=options)
        rules = [Rule(name, Condition(trigger=Trigger.FILE), ()) for name in ("r", "s", "s")]
        await asyncio.gather(*(chat.run(action, facts, rule) for rule in rules))
        assert sorted(sent) == expected
        sent.clear()
