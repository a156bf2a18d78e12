# SPDX-License-Identifier: Apache-2.0
"""Payloads for programs and URLs of the configuration (`common.actions`, `data_provider.actions`).

Arguments, variables, queries and bodies are those of SFTPGo 0.9 and 2.x, as recorded from the programs.
Variables have a second name each, with TIDEGATE in place of SFTPGO.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from tidegate.rules.facts import Facts

Era = Literal["0.9", "2"]
_compact: Final = json.JSONEncoder(separators=(",", ":")).encode
EVENT_ID: Final = "TIDEGATE_EVENT_ID"
"""Variable with the id of the event, which is the same at each try."""


@dataclass(frozen=True, slots=True)
class HookCall:
    """A program or URL of the configuration.

    Attributes:
        target: absolute path of a program, or URL.
        era: whose arguments, variables and payloads it gets.
        about: what it is told of.
    """

    target: str
    era: Era
    about: Literal["files", "records"] = "files"

    @property
    def is_url(self) -> bool:
        """True if it is asked over HTTP."""
        return self.target.startswith(("http://", "https://"))


def _size(facts: Facts) -> str:
    return str(facts.size) if facts.size > 0 else ""


def _local(facts: Facts) -> str:
    return "false" if facts.fs_provider else "true"


def arguments(hook: HookCall, facts: Facts) -> tuple[str, ...]:
    """Arguments of the program, without its own name."""
    if hook.era == "2":
        return ()
    if hook.about == "files":
        return facts.event, facts.name, facts.fs_path, facts.fs_target_path, facts.ssh_command
    user = _user(facts)
    return (
        facts.event,
        facts.object_name,
        *(str(user.get(key, 0)) for key in ("id", "status", "expiration_date")),
        str(user.get("home_dir", "")),
        str(user.get("uid", 0)),
        str(user.get("gid", 0)),
    )


def variables(hook: HookCall, facts: Facts) -> dict[str, str]:
    """Variables of the program."""
    match hook.era, hook.about:
        case "0.9", "files":
            values = {
                "ACTION": facts.event,
                "ACTION_USERNAME": facts.name,
                "ACTION_PATH": facts.fs_path,
                "ACTION_TARGET": facts.fs_target_path,
                "ACTION_SSH_CMD": facts.ssh_command,
                "ACTION_FILE_SIZE": _size(facts),
                "ACTION_LOCAL_FILE": _local(facts),
            }
        case "0.9", _:
            user = _user(facts)
            values = {
                "USER_ACTION": facts.event,
                "USER_USERNAME": facts.object_name,
                "USER_PASSWORD": str(user.get("password", "")),
                "USER_HOME_DIR": str(user.get("home_dir", "")),
                "USER_FS_PROVIDER": str((user.get("filesystem") or {}).get("provider", 0)),
            }
            for key in (
                "id", "status", "expiration_date", "uid", "gid", "quota_files", "quota_size",
                "upload_bandwidth", "download_bandwidth", "max_sessions",
            ):  # fmt: skip
                values[f"USER_{key.upper()}"] = str(user.get(key, 0))
        case _, "files":
            values = {
                "ACTION": facts.event,
                "ACTION_USERNAME": facts.name,
                "ACTION_PATH": facts.fs_path,
                "ACTION_TARGET": facts.fs_target_path,
                "ACTION_VIRTUAL_PATH": facts.virtual_path,
                "ACTION_VIRTUAL_TARGET": facts.virtual_target_path,
                "ACTION_SSH_CMD": facts.ssh_command,
                "ACTION_FILE_SIZE": str(facts.file_size),
                "ACTION_ELAPSED": str(facts.elapsed),
                "ACTION_FS_PROVIDER": str(facts.fs_provider),
                "ACTION_BUCKET": facts.bucket,
                "ACTION_ENDPOINT": facts.endpoint,
                "ACTION_STATUS": str(facts.status),
                "ACTION_PROTOCOL": facts.protocol,
                "ACTION_IP": facts.ip,
                "ACTION_SESSION_ID": facts.session_id,
                "ACTION_OPEN_FLAGS": str(facts.open_flags),
                "ACTION_TIMESTAMP": str(facts.at),
                "ACTION_ROLE": facts.role,
            }
        case _:
            values = {
                "PROVIDER_ACTION": facts.event,
                "PROVIDER_OBJECT_TYPE": facts.object_type,
                "PROVIDER_OBJECT_NAME": facts.object_name,
                "PROVIDER_USERNAME": facts.name,
                "PROVIDER_IP": facts.ip,
                "PROVIDER_ROLE": facts.role,
                "PROVIDER_TIMESTAMP": str(facts.at // 1_000_000),
                "PROVIDER_OBJECT": _shown(facts),
            }
    # No program can be given a NUL; what is before it would look like another name.
    values = {name: value.replace("\0", "\ufffd") for name, value in values.items()}
    both = {f"SFTPGO_{name}": value for name, value in values.items()}
    both |= {f"TIDEGATE_{name}": value for name, value in values.items()}
    return both | {EVENT_ID: facts.id}


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A request to a URL of the configuration."""

    method: Literal["GET", "POST"]
    url: str
    body: bytes = b""
    content_type: str = ""


def request(hook: HookCall, facts: Facts) -> HookRequest:
    """The request that tells a URL."""
    match hook.era, hook.about:
        case "0.9", "files":
            # Keys in their order; what is empty is left out but for the path.
            query = {
                "action": facts.event,
                "file_size": _size(facts),
                "local_file": _local(facts),
                "path": facts.fs_path,
                "ssh_cmd": facts.ssh_command,
                "target_path": facts.fs_target_path,
                "username": facts.name,
            }
            kept = {key: value for key, value in query.items() if value or key == "path"}
            return HookRequest("GET", _with_query(hook.target, kept))
        case "0.9", _:
            return HookRequest(
                "POST",
                _with_query(hook.target, {"action": facts.event}),
                _shown(facts).encode(),
                "application/json",
            )
        case _, "files":
            return HookRequest("POST", hook.target, _body(facts), "application/json")
        case _:
            query = {
                "action": facts.event,
                "ip": facts.ip,
                "object_name": facts.object_name,
                "object_type": facts.object_type,
                "role": facts.role,
                "timestamp": str(facts.at),
                "username": facts.name,
            }
            kept = {key: value for key, value in query.items() if value}
            return HookRequest(
                "POST", _with_query(hook.target, kept), _shown(facts).encode(), "application/json"
            )


def _body(facts: Facts) -> bytes:
    """The JSON of a file event: what is empty is left out, but for the storage and the status."""
    values: dict[str, Any] = {
        "action": facts.event,
        "username": facts.name,
        "path": facts.fs_path,
        "target_path": facts.fs_target_path,
        "virtual_path": facts.virtual_path,
        "virtual_target_path": facts.virtual_target_path,
        "ssh_cmd": facts.ssh_command,
        "file_size": facts.file_size,
        "fs_provider": facts.fs_provider,
        "bucket": facts.bucket,
        "endpoint": facts.endpoint,
        "status": facts.status,
        "protocol": facts.protocol,
        "ip": facts.ip,
        "session_id": facts.session_id,
        "timestamp": facts.at,
        "elapsed": facts.elapsed,
        "open_flags": facts.open_flags,
        "role": facts.role,
    }
    always = (
        "action",
        "username",
        "path",
        "fs_provider",
        "status",
        "protocol",
        "ip",
        "session_id",
        "timestamp",
    )
    kept = {key: value for key, value in values.items() if value or key in always}
    return _compact(kept).encode()


def _with_query(url: str, query: Mapping[str, str]) -> str:
    """The URL with keys added to its query; names of any bytes go as they are."""
    text = urlencode(query, encoding="utf-8", errors="surrogateescape")
    return f"{url}{'&' if '?' in url else '?'}{text}"


def _user(facts: Facts) -> dict[str, Any]:
    try:
        found = json.loads(facts.object_data or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


_SECRET_KEYS: Final = ("password",)


def _shown(facts: Facts) -> str:
    """The record as JSON without what only a program of the old line is given."""
    found = _user(facts)
    return json.dumps(
        {key: value for key, value in found.items() if key not in _SECRET_KEYS}, separators=(",", ":")
    )
