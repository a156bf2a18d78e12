# SPDX-License-Identifier: Apache-2.0
"""Messages to people: e-mail by SMTP, and webhooks of Slack and Teams; one by one, or gathered."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from typing import Any, Final, Literal

from tidegate import __version__
from tidegate.actions.digest import Digests
from tidegate.actions.hooks import of_status
from tidegate.actions.outcome import DONE, Outcome, may_pass
from tidegate.actions.requests import OpensSecret, ReadsFile
from tidegate.actions.retention import ARCHIVE, REPORTS, archive_of
from tidegate.errors import OutsideFailed, TidegateError
from tidegate.model.rule import EventAction
from tidegate.outgoing.http import HttpCaller
from tidegate.rules.book import Rule
from tidegate.rules.facts import Facts
from tidegate.rules.placeholders import render

MAX_ATTACHED: Final = 10 * 1024 * 1024
"""Bytes of all attachments of a message."""
SMTP_SECONDS: Final = 30.0
CHAT_SECONDS: Final = 20.0
DIGEST_SUBJECT: Final = "{{.Count}} events: {{.RuleName}}"
"""Subject of several messages in one, where the action has none of its own."""


@dataclass(frozen=True, slots=True)
class SmtpOptions:
    """Section ``smtp`` of the configuration.

    Attributes:
        host: of the mail server; empty sends nothing.
        sender: address in From, perhaps with a name.
        encryption: none, TLS from the start, or STARTTLS.
        domain: name that we call ourselves; empty takes the host's.
    """

    host: str = ""
    port: int = 587
    sender: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    encryption: Literal["none", "tls", "starttls"] = "none"
    domain: str = ""


class MailActions:
    """Sends e-mail.

    Args:
        options: of the mail server.
        reads: reads files to attach.
        digests: gathers messages.
    """

    def __init__(self, options: SmtpOptions, reads: ReadsFile, digests: Digests) -> None:
        self._options = options
        self._reads = reads
        self._digests = digests

    async def run(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Send one message, or add to the next one; see `tidegate.actions.runner.ActionWork`."""
        config: Mapping[str, Any] = action.options["email_config"]
        if not self._options.host:
            return Outcome("there is no mail server: smtp.host is empty")
        to = _addresses(config["recipients"], facts)
        if not to:
            return Outcome("no recipient is left: the account has no e-mail address")
        hidden = _addresses(config.get("bcc", ()), facts)
        html = config.get("content_type") == 1
        body = render(config["body"], facts, "html" if html else "")
        subject = _line(render(config["subject"], facts))
        seconds = config.get("digest_seconds", 0)
        if seconds:

            async def send(texts: list[str]) -> Outcome:
                title, own = subject, config.get("digest_subject")
                if own or len(texts) > 1:
                    title = digest_title(own or DIGEST_SUBJECT, facts, rule, len(texts))
                return await self._send(to, hidden, title, ("<hr>" if html else "\n\n").join(texts), html, [])

            # Nobody reads what is others', and a title speaks of one rule.
            key = "\0".join((rule.name, action.name, ",".join(to), ",".join(hidden)))
            return await self._digests.add(key, seconds, f"{subject}\n{body}", send)
        try:
            files = await self._attachments(config, facts, rule)
        except TidegateError as error:
            return Outcome(f"an attachment cannot be read: {error}", again=may_pass(error))
        if sum(len(content) for _, content in files) > MAX_ATTACHED:
            return Outcome(f"its attachments are larger than {MAX_ATTACHED} bytes together")
        return await self._send(to, hidden, subject, body, html, files)

    async def _attachments(
        self, config: Mapping[str, Any], facts: Facts, rule: Rule
    ) -> list[tuple[str, bytes]]:
        found = []
        for one in config.get("attachments", ()):
            if one.lstrip("/") in REPORTS:
                found.append((ARCHIVE, archive_of(facts)))
                continue
            path = posixpath.normpath("/" + render(one, facts).lstrip("/"))
            found.append((posixpath.basename(path), await self._reads(facts, rule, path)))
        return found

    async def _send(  # noqa: PLR0917  the parts of a message
        self,
        to: list[str],
        hidden: list[str],
        subject: str,
        body: str,
        html: bool,
        files: list[tuple[str, bytes]],
    ) -> Outcome:
        import aiosmtplib

        options = self._options
        name, sender = parseaddr(options.sender or options.user)
        message = EmailMessage()
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=options.domain or None)
        message["Subject"] = subject
        message["From"] = Address(name, addr_spec=sender) if name else sender
        message["To"] = ", ".join(to)
        message["User-Agent"] = f"Tidegate {__version__}"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        clean = body.encode("utf-8", "replace").decode()
        message.set_content(clean, subtype="html" if html else "plain", cte="quoted-printable")
        for file, content in files:
            subtype = "zip" if file == ARCHIVE else "octet-stream"
            message.add_attachment(content, maintype="application", subtype=subtype, filename=_line(file))
        try:
            await aiosmtplib.send(
                message,
                sender=sender,
                recipients=[*to, *hidden],
                hostname=options.host,
                port=options.port,
                username=options.user or None,
                password=options.password or None,
                use_tls=options.encryption == "tls",
                start_tls=options.encryption == "starttls",
                local_hostname=options.domain or None,
                timeout=SMTP_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            return Outcome(f"{options.host} refuses the recipients: {_line(str(error))}")
        except aiosmtplib.SMTPResponseException as error:
            # 5xx is final (RFC 5321, 4.2.1); 4xx may pass.
            return Outcome(f"{options.host}: {error.code} {_line(error.message)}", again=error.code < 500)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Outcome(f"{options.host}: {type(error).__name__}: {_line(str(error))}", again=True)
        return DONE


class ChatActions:
    """Sends messages to webhooks of Slack and Teams.

    Args:
        http: calls URLs.
        opens: opens the secret, which is the whole URL.
        digests: gathers messages.
    """

    def __init__(self, http: HttpCaller, opens: OpensSecret, digests: Digests) -> None:
        self._http = http
        self._opens = opens
        self._digests = digests

    async def run(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Send one message, or add to the next one; see `tidegate.actions.runner.ActionWork`."""
        config: Mapping[str, Any] = action.options["chat_config"]
        url = self._opens(action, "chat_config", "url_secret")
        text = render(config["text"], facts)

        async def send(texts: list[str]) -> Outcome:
            lines = list(texts)
            if title := config.get("digest_title"):
                lines.insert(0, digest_title(title, facts, rule, len(texts)))
            return await self._post(url, config["style"], "\n".join(lines), facts.id)

        if seconds := config.get("digest_seconds", 0):
            return await self._digests.add(f"{rule.name}\0{action.name}", seconds, text, send)
        return await send([text])

    async def _post(self, url: str, style: str, text: str, event_id: str) -> Outcome:
        body = json.dumps(slack(text) if style == "slack" else teams(text)).encode()
        try:
            answer = await self._http.call(
                "POST",
                url,
                body=body,
                headers={"Content-Type": "application/json", "Webhook-Id": event_id},
                seconds=CHAT_SECONDS,
            )
        except OutsideFailed:
            return Outcome(f"the webhook of {style} cannot be reached", again=True)  # its URL is a secret
        return of_status(answer)


def digest_title(text: str, facts: Facts, rule: Rule, count: int) -> str:
    """The title of a digest: placeholders are those of its first event, and `DIGEST`.

    Args:
        text: the template.
        facts: of the first event.
        rule: the rule that gathers.
        count: of messages.
    """
    return _line(render(text, facts, more={"Count": str(count), "RuleName": rule.name}))


def slack(text: str) -> dict[str, Any]:
    """A message of Slack's incoming webhooks: what would be a mention or link is plain text."""
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def teams(text: str) -> dict[str, Any]:
    """A message of a Teams workflow: an adaptive card."""
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "TextBlock", "text": text, "wrap": True}],
    }
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}


def _addresses(texts: list[str], facts: Facts) -> list[str]:
    """Addresses with placeholders filled in; what is no address then is left out."""
    found = [_line(render(text, facts)).strip() for text in texts]
    return list(dict.fromkeys(one for one in found if "@" in parseaddr(one)[1]))


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
