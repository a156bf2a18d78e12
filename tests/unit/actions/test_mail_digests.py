# SPDX-License-Identifier: Apache-2.0
"""Messages that are gathered go to those alone whom each of them is for."""

from __future__ import annotations

import asyncio
from typing import Any

from aiosmtpd.controller import Controller
from tests.support.ports import free_port

from tidegate.actions.digest import Digests
from tidegate.actions.messages import MailActions, SmtpOptions
from tidegate.model.rule import ActionType, EventAction, Trigger
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
