# SPDX-License-Identifier: Apache-2.0
"""Lines of the log in sentences, for pages and for the command line."""

from __future__ import annotations

from typing import Final

from tidegate.logs.filters import TRACE, LogLine
from tidegate.web.figures import lasted, size

OPERATIONS: Final = {
    "Rename": "Renamed", "Rmdir": "Removed the directory", "Mkdir": "Made the directory",
    "Symlink": "Made a link", "Link": "Made a hard link", "Remove": "Removed", "Chmod": "Changed the mode of",
    "Chown": "Changed the owner of", "Chtimes": "Changed the times of", "Truncate": "Cut to a size",
    "Copy": "Copied", "SSHCommand": "Ran",
}  # fmt: skip


def sentence(line: LogLine) -> tuple[str, str]:
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
        case "httpd" | "webdavd" | "telemetry" if text("method"):
            return f"{text('method')} {text('uri')}", f"{text('resp_status')}, {text('user_agent')}"
        case "trace":
            return text("cmd"), f"answered {text('response_code')}"
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


def path_of(line: LogLine) -> str:
    """The path that a line is about; empty for none."""
    if line.text("sender") == TRACE:
        return line.text("full_path").removeprefix("-")
    return line.text("virtual_path")


def target_of(line: LogLine) -> str:
    """The second path that a line is about; empty for none."""
    if line.text("sender") == TRACE:
        return line.text("target_path").removeprefix("-")
    return line.text("virtual_target_path")


def line_text(line: LogLine) -> str:
    """A log line as text: time (UTC), level, account and address, sentence, connection."""
    what, rest = sentence(line)
    who = line.account or line.text("admin")
    origin = " from ".join(part for part in (who, line.address) if part) or line.text("sender")
    words = [what, path_of(line)]
    if target := target_of(line):
        words.append(f"to {target}")
    text = " ".join(word for word in words if word)
    text = ", ".join(part for part in (text, line.text("rule"), rest) if part)
    identifier = f" [{line.connection}]" if line.connection else ""
    when = line.time.replace("T", " ").removesuffix("Z") or "no time"
    return f"{when} {line.text('level') or '?':<5} {origin}: {text}{identifier}"
