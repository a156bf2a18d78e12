# SPDX-License-Identifier: Apache-2.0
"""HTTP actions: requests with placeholders, parts and files, signed if there is a secret."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import posixpath
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from tidegate.actions.hooks import ID_HEADER, of_status
from tidegate.actions.outcome import Outcome, may_pass
from tidegate.actions.retention import ARCHIVE, REPORTS, archive_of
from tidegate.errors import OutsideBusy, OutsideFailed, TidegateError
from tidegate.model.rule import EventAction
from tidegate.outgoing.http import HttpCaller
from tidegate.rules.book import Rule
from tidegate.rules.facts import Facts
from tidegate.rules.placeholders import Escape, render

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes of a request, files included."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  a prefix
"""Before a signing secret that is base64, as Standard Webhooks write it."""

OpensSecret = Callable[[EventAction, str, str], str]
"""A secret of an action in plain text, by section and key; empty if it has none."""
ReadsFile = Callable[[Facts, Rule, str], Awaitable[bytes]]
"""The content of a file of the account that an event names, by virtual path."""


class HttpActions:
    """Sends requests.

    Args:
        http: calls URLs.
        insecure: the same without looking at certificates, for actions that say so.
        opens: opens secrets.
        reads: reads files for parts.
    """

    def __init__(self, http: HttpCaller, insecure: HttpCaller, opens: OpensSecret, reads: ReadsFile) -> None:
        self._http = http
        self._insecure = insecure
        self._opens = opens
        self._reads = reads

    async def run(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Send one request; see `tidegate.actions.runner.ActionWork`."""
        config: Mapping[str, Any] = action.options["http_config"]
        headers = {one["key"]: _line(render(one["value"], facts)) for one in config.get("headers", ())}
        try:
            body = await self._body(config, headers, facts, rule)
        except TidegateError as error:
            return Outcome(f"its body cannot be made: {error}", again=may_pass(error))
        if len(body) > MAX_BODY:
            return Outcome(f"its body is larger than {MAX_BODY} bytes")
        if username := config.get("username"):
            password = self._opens(action, "http_config", "password")
            both = base64.b64encode(f"{username}:{password}".encode()).decode()
            headers.setdefault("Authorization", f"Basic {both}")
        if facts.id:
            headers.setdefault(ID_HEADER, facts.id)
        if secret := self._opens(action, "http_config", "signing_secret"):
            headers |= signature(secret, facts.id, int(time.time()), body)
        query = [(one["key"], render(one["value"], facts)) for one in config.get("query_parameters", ())]
        url = render(config["endpoint"], facts, "url")
        if query:
            text = urlencode(sorted(query), encoding="utf-8", errors="surrogateescape")
            url = f"{url}{'&' if '?' in url else '?'}{text}"
        caller = self._insecure if config.get("skip_tls_verify") else self._http
        try:
            answer = await caller.call(
                config["method"], url, body=body, headers=headers, seconds=float(config["timeout"])
            )
        except OutsideBusy as error:
            return Outcome(error.detail or str(error), again=True)
        except OutsideFailed as error:
            return Outcome(error.detail or str(error), again=True)
        return of_status(answer)

    async def _body(
        self, config: Mapping[str, Any], headers: dict[str, str], facts: Facts, rule: Rule
    ) -> bytes:
        parts = config.get("parts", ())
        if not parts:
            kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
            text = render(config.get("body", ""), facts, "json" if "json" in kind else "")
            return text.encode("utf-8", "surrogateescape")
        boundary = secrets.token_hex(16)
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        body = bytearray()
        for part in parts:
            lines = {one["key"]: _line(render(one["value"], facts)) for one in part.get("headers", ())}
            disposition = f'form-data; name="{_quoted(part["name"])}"'
            if path := part.get("filepath"):
                reports = path.lstrip("/") in REPORTS
                path = ARCHIVE if reports else posixpath.normpath("/" + render(path, facts).lstrip("/"))
                disposition += f'; filename="{_quoted(posixpath.basename(path))}"'
                lines.setdefault("Content-Type", "application/octet-stream")
                content = archive_of(facts) if reports else await self._reads(facts, rule, path)
            else:
                escape: Escape = "json" if "json" in lines.get("Content-Type", "") else ""
                content = render(part.get("body", ""), facts, escape).encode("utf-8", "surrogateescape")
            body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n".encode()
            for name, value in lines.items():
                body += f"{name}: {value}\r\n".encode()
            body += b"\r\n" + content + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        return bytes(body)


def signature(secret: str, event_id: str, at: int, body: bytes) -> dict[str, str]:
    """Headers that prove who sends a body (Standard Webhooks 1.0): HMAC-SHA256 over id, time and body."""
    key = secret.encode()
    if secret.startswith(SECRET_PREFIX):
        with contextlib.suppress(binascii.Error):  # else it is a text that happens to begin like that
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    signed = b".".join((event_id.encode(), str(at).encode(), body))
    digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {"Webhook-Timestamp": str(at), "Webhook-Signature": f"v1,{digest}"}


def _line(text: str) -> str:
    """A value of a header: one line, whatever a file is called."""
    return "".join(char if char.isprintable() else " " for char in text)


def _quoted(text: str) -> str:
    return _line(text).replace("\\", "\\\\").replace('"', '\\"')
