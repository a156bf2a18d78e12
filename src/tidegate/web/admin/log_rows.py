# SPDX-License-Identifier: Apache-2.0
"""Lines of the log as pages show them: a sentence, an icon, and links to the story and the reason."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

from tidegate.logs.filters import TRACE, LogLine
from tidegate.policy.mistakes import METHODS
from tidegate.web.admin.pages.explain import why_link
from tidegate.web.admin.rendering import url, visible
from tidegate.web.admin.visit import Visit
from tidegate.web.log_sentences import OPERATIONS, path_of, sentence, target_of

MAX_DETAIL: Final = 600
"""Characters of a message in a row."""

TONES: Final = {"debug": "off", "info": "", "warn": "soon", "error": "now"}
ICONS: Final = {
    "Upload": "arrow-down-to-line", "Download": "arrow-up-from-line", "login": "key-round",
    "connection_failed": "ban", "connected": "plug", "disconnected": "log-out", "refused": "ban",
    "failed": "triangle-alert", "quarantined": "shield-alert", "quota_warning": "gauge",
    "administered": "user-cog", "httpd": "globe", "Rename": "pencil", "Mkdir": "folder-plus",
    "Rmdir": "trash-2", "Remove": "trash-2", "Copy": "copy", "SSHCommand": "terminal",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """A line as pages show it; texts are as they came, links are paths of the site.

    Attributes:
        key: digest of the line.
        time: of the day, with the date where `LogRow.exact` has it.
        exact: time in full.
        level: of the line.
        tone: of the level: a class of pills.
        sender: of the line.
        icon: of the sender.
        user: account or administrator; empty for none.
        user_link: page of the account; empty if there is none to see.
        address: of the client.
        what: the sentence.
        path: that it is about.
        target: second path.
        rule: that decided.
        detail: the rest.
        story: of the connection.
        around: the lines around that time.
        why: explains a refusal.
        raw: the line.
    """

    key: str
    time: str
    exact: str
    level: str
    tone: str
    sender: str
    icon: str
    user: str = ""
    user_link: str = ""
    address: str = ""
    what: str = ""
    path: str = ""
    target: str = ""
    rule: str = ""
    detail: str = ""
    story: str = ""
    around: str = ""
    why: str = ""
    raw: str = ""

    def frame(self) -> dict[str, Any]:
        """The row for a script that builds it: texts as they are shown, and links."""
        texts = {
            name: visible(getattr(self, name))
            for name in (
                "time",
                "level",
                "sender",
                "user",
                "address",
                "what",
                "path",
                "target",
                "rule",
                "detail",
            )
        }
        links = {"user": self.user_link, "story": self.story, "around": self.around, "why": self.why}
        return {"key": self.key, "exact": self.exact, "tone": self.tone, "texts": texts, "links": links}


BLANK: Final = LogRow(key="", time="", exact="", level="", tone="", sender="", icon="")
"""The row that scripts copy."""


def log_row(visit: Visit, line: LogLine) -> LogRow:
    """A line for a page."""
    sender, level = line.text("sender"), line.text("level")
    what, detail = sentence(line)
    user = line.account
    # Of these two nobody can tell whether there is an account of the name.
    named = sender == "connection_failed" or (sender == TRACE and line.protocol == "HTTP")
    return LogRow(
        key=key_of(line),
        time=clock(line),
        exact=line.time,
        level=level or "unknown",
        tone=TONES.get(level, ""),
        sender=sender or "not a line of the log",
        icon=ICONS.get(sender, "dot" if sender not in OPERATIONS else "file"),
        user=user or line.text("admin"),
        user_link=url("users", user) if user and visit.may("view_users") and not named else "",
        address=line.address,
        what=what,
        path=path_of(line),
        target=target_of(line),
        rule=line.text("rule"),
        detail=detail[:MAX_DETAIL],
        story=url("logs", "connections", line.connection) if line.connection else "",
        around=url("logs", around=line.time) if line.time else "",
        why=_why(visit, line),
        raw=line.raw,
    )


def key_of(line: LogLine) -> str:
    """A digest of a line, by which a script knows it again."""
    return blake2b(line.raw.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def clock(line: LogLine, *, now: float | None = None) -> str:
    """The time of the day of a line; with the date, and without thousandths, if that is not today's."""
    if not line.time:
        return "no time"
    today = datetime.fromtimestamp(time.time() if now is None else now, UTC).strftime("%Y-%m-%d")
    return line.time[11:23] if line.time[:10] == today else line.time[:19].replace("T", " ")


def seconds_of(line: LogLine) -> float:
    """The time of a line in seconds since the epoch; 0 if it has none."""
    try:
        return datetime.fromisoformat(line.time).timestamp() if line.time else 0.0
    except ValueError:
        return 0.0


def _why(visit: Visit, line: LogLine) -> str:
    """The link that explains a refusal; empty if there is nothing to explain."""
    text = line.text
    user, protocol = text("username"), text("protocol")
    match text("sender"):
        case "refused":
            intent = "" if text("intent") in ("connect", "banned") else text("intent")
            path = text("virtual_path")
            return why_link(visit, intent, user=user, ip=line.address, protocol=protocol, path=path)
        case "connection_failed" if text("login_type") != "no_auth_tried":
            method = text("login_type") if text("login_type") in METHODS else ""
            return why_link(visit, "login", user=user, ip=line.address, protocol=protocol, method=method)
    return ""
