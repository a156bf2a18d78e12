# SPDX-License-Identifier: Apache-2.0
"""Lines of the log as pages show them: a sentence, an icon, and links to the story and the reason."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

from tidegate.logs.filters import LogLine
from tidegate.policy.mistakes import METHODS
from tidegate.web.admin.pages.explain import why_link
from tidegate.web.admin.rendering import size, span, url, visible
from tidegate.web.admin.visit import Visit

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
OPERATIONS: Final = {
    "Rename": "Renamed", "Rmdir": "Removed the directory", "Mkdir": "Made the directory",
    "Symlink": "Made a link", "Link": "Made a hard link", "Remove": "Removed", "Chmod": "Changed the mode of",
    "Chown": "Changed the owner of", "Chtimes": "Changed the times of", "Truncate": "Cut to a size",
    "Copy": "Copied", "SSHCommand": "Ran",
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
        links = {"user": self.user_link, "story": self.story, "why": self.why}
        return {"key": self.key, "exact": self.exact, "tone": self.tone, "texts": texts, "links": links}


BLANK: Final = LogRow(key="", time="", exact="", level="", tone="", sender="", icon="")
"""The row that scripts copy."""


def log_row(visit: Visit, line: LogLine) -> LogRow:
    """A line for a page."""
    sender, level = line.text("sender"), line.text("level")
    what, detail = _sentence(line)
    user = line.text("username")
    return LogRow(
        key=key_of(line),
        time=clock(line),
        exact=line.time,
        level=level or "unknown",
        tone=TONES.get(level, ""),
        sender=sender or "not a line of the log",
        icon=ICONS.get(sender, "dot" if sender not in OPERATIONS else "file"),
        user=user or line.text("admin"),
        user_link=url("users", user)
        if user and visit.may("view_users") and sender != "connection_failed"
        else "",
        address=line.address,
        what=what,
        path=line.text("virtual_path"),
        target=line.text("virtual_target_path"),
        rule=line.text("rule"),
        detail=detail[:MAX_DETAIL],
        story=url("logs", "connections", line.connection) if line.connection else "",
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


def lasted(milliseconds: int) -> str:
    """A length of time in words; empty if it is not known."""
    if milliseconds < 0:
        return ""
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 60_000 else span(milliseconds / 1000)


def _sentence(line: LogLine) -> tuple[str, str]:
    """The sentence about a line, and the rest of it. Paths, rule, account and address stand beside it."""
    text, sender = line.text, line.text("sender")
    match sender:
        case "Upload" | "Download":
            return _transfer(line)
        case "login":
            words = [f"by {text('method')}", text("client"), text("cipher")]
            return "Logged in", ", ".join(word for word in words if word)
        case "connection_failed" if text("login_type") == "no_auth_tried":
            return "Left without logging in", text("error")
        case "connection_failed":
            return f"Login by {text('login_type') or 'nothing'} refused", text("error")
        case "connected":
            return f"Reached the door {text('protocol')}", text("local_addr")
        case "disconnected":
            words = [lasted(line.number("duration_ms")), text("error"), text("client")]
            who = text("by")
            return f"Closed by {who}" if who else "Left", ", ".join(word for word in words if word)
        case "refused":
            return f"{text('intent').replace('_', ' ').capitalize()} refused", text("text")
        case "failed":
            words = [text("errno"), text("text")]
            return f"{text('intent').replace('_', ' ').capitalize()} failed", ", ".join(w for w in words if w)
        case "quarantined":
            return "Put into quarantine", text("text")
        case "quota_warning":
            return f"Uses {text('percent')} % of {text('limit')}", f"{text('used')} of {text('allowed')}"
        case "administered":
            verb = {"add": "Added", "change": "Changed", "remove": "Removed"}.get(
                text("action"), text("action")
            )
            return f"{verb} {text('kind').replace('_', ' ')} {text('name')}", text("fields")
        case "httpd":
            return f"{text('method')} {text('uri')}", f"{text('resp_status')}, {text('user_agent')}"
        case _ if sender in OPERATIONS:
            words = [text("ssh_command"), "" if line.number("size") < 0 else size(line.number("size"))]
            return OPERATIONS[sender], ", ".join(word for word in words if word)
    return text("message") or "Said", text("error")


def _transfer(line: LogLine) -> tuple[str, str]:
    name, status = line.text("sender"), line.text("status")
    moved, took = max(line.number("size_bytes"), 0), line.number("elapsed_ms")
    words = [size(moved)]
    if took >= 0:
        words[0] += f" in {lasted(took)}"
    if took > 0 and moved >= 100_000:
        words.append(size(1000 * moved / took, rate=True))
    words.append(line.text("error"))
    what = {"ok": name, "quota": f"{name} stopped by a limit"}.get(status, f"{name} failed")
    return what, ", ".join(word for word in words if word)


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
