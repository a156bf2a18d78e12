# SPDX-License-Identifier: Apache-2.0
"""Options of event actions: each type has a section with keys of its own, and each is checked here alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from tidegate.model.rule import ActionType, FileAction
from tidegate.model.sealing import is_redacted, is_sealed
from tidegate.rules.reading import MAX_NAME, Document, Reader, filled

MAX_SECONDS: Final = 180
"""Longest time of a request or program of an action, as in SFTPGo."""


def _secret(read: Reader, key: str) -> object:
    value = read.value.get(key)
    if value is None or value in ("", {}):
        return ""
    if isinstance(value, str):
        return read.text(key, limit=65_536)
    if isinstance(value, Mapping):
        status = value.get("status")
        if status == "Plain" and isinstance(value.get("payload"), str):
            return value["payload"]
        if is_redacted(value) or is_sealed(value):
            return dict(value)
        if not status:
            return ""
    raise read.bad(key, "should be a text; secrets that SFTPGo has encrypted have to be given again")


def _seconds(read: Reader, what: str) -> int:
    found = read.number("timeout", 0, MAX_SECONDS)
    if not found:
        raise read.bad("timeout", f"a {what} needs a time of 1 to {MAX_SECONDS} seconds")
    return found


def _url(read: Reader, key: str) -> str:
    text = read.text(key, limit=4096)
    if not text:
        raise read.bad(key, "is required")
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        good = good and ("{{" in parts.netloc or parts.port != 0)  # a port that is none raises
    except ValueError:
        good = False
    if not good or any(char.isspace() for char in text):
        raise read.bad(key, f"{text[:100]!r} is no http or https URL")
    return text


def _http(options: Reader) -> Document:
    read = options.section("http_config")
    read.known(
        "endpoint", "username", "password", "headers", "timeout", "skip_tls_verify", "method",
        "query_parameters", "body", "parts", "signing_secret",
    )  # fmt: skip
    method = read.text("method", limit=10, default="POST") or "POST"
    if method not in ("GET", "POST", "PUT", "DELETE"):
        raise read.bad("method", f"{method!r} is not one of GET, POST, PUT, DELETE")
    parts = []
    for part in read.objects("parts"):
        name = part.text("name", limit=MAX_NAME)
        if not name:
            raise part.bad("name", "is empty")
        path = part.text("filepath", limit=4096)
        if path and part.text("body"):
            raise part.bad("body", "a part has a body or a file, not both")
        parts.append(
            {
                "name": name,
                **filled(
                    headers=part.pairs("headers"),
                    filepath=_path(path) if path else "",
                    body=part.text("body"),
                ),
            }
        )
    if parts and read.text("body"):
        raise read.bad("body", "a request has a body or parts, not both")
    for header in read.pairs("headers"):
        if any(char in header["key"] + header["value"] for char in "\r\n"):
            raise read.bad("headers", f"{header['key']!r} holds a line break")
    return {
        "http_config": {
            "endpoint": _url(read, "endpoint"),
            "timeout": _seconds(read, "request"),
            "method": method,
            **filled(
                username=read.text("username", limit=MAX_NAME),
                password=_secret(read, "password"),
                headers=read.pairs("headers"),
                skip_tls_verify=read.flag("skip_tls_verify"),
                query_parameters=read.pairs("query_parameters"),
                body=read.text("body"),
                parts=parts,
                signing_secret=_secret(read, "signing_secret"),
            ),
        }
    }


def _command(options: Reader) -> Document:
    read = options.section("cmd_config")
    read.known("cmd", "args", "timeout", "env_vars")
    program = read.text("cmd", limit=4096)
    if not program.startswith("/"):
        raise read.bad("cmd", f"{program[:100]!r} is no absolute path")
    args = read.items("args")
    for index, one in enumerate(args):
        if not isinstance(one, str) or "\0" in one:
            raise read.bad(f"args[{index}]", "should be a text")
    variables = read.pairs("env_vars")
    for pair in variables:
        if "=" in pair["key"] or not pair["key"].isascii():
            raise read.bad("env_vars", f"{pair['key']!r} cannot be the name of a variable")
    return {
        "cmd_config": {
            "cmd": program,
            **filled(args=list(args)),
            "timeout": _seconds(read, "program"),
            **filled(env_vars=variables),
        }
    }


def _email(options: Reader) -> Document:
    read = options.section("email_config")
    read.known(
        "recipients", "bcc", "subject", "body", "attachments", "content_type", "digest_seconds",
        "digest_subject",
    )  # fmt: skip
    recipients = read.texts("recipients")
    if not recipients:
        raise read.bad("recipients", "at least one is required")
    for address in (*recipients, *read.texts("bcc")):
        if any(char in address for char in "\r\n"):
            raise read.bad("recipients", f"{address!r} holds a line break")
    subject = read.text("subject", limit=4096)
    if not subject or any(char in subject for char in "\r\n"):
        raise read.bad("subject", "one line is required")
    if not read.text("body"):
        raise read.bad("body", "is required")
    return {
        "email_config": {
            "recipients": recipients,
            **filled(bcc=read.texts("bcc")),
            "subject": subject,
            "body": read.text("body"),
            **filled(
                attachments=[_path(one) for one in read.texts("attachments")],
                content_type=read.number("content_type", 0, 1),
                digest_seconds=read.number("digest_seconds", 0, 86_400),
                digest_subject=_title(read, "digest_subject"),
            ),
        }
    }


def _chat(options: Reader) -> Document:
    read = options.section("chat_config")
    read.known("url_secret", "style", "text", "digest_seconds", "digest_title")
    style = read.text("style", limit=20, default="slack")
    if style not in ("slack", "teams"):
        raise read.bad("style", f"{style!r} is not one of slack, teams")
    url = _secret(read, "url_secret")
    if isinstance(url, str):
        url = _url(read, "url_secret") if isinstance(read.value.get("url_secret"), str) else url
    if not url:
        raise read.bad("url_secret", "is required")
    if not read.text("text"):
        raise read.bad("text", "is required")
    return {
        "chat_config": {
            "url_secret": url,
            "style": style,
            "text": read.text("text"),
            **filled(
                digest_seconds=read.number("digest_seconds", 0, 86_400),
                digest_title=_title(read, "digest_title"),
            ),
        }
    }


def _title(read: Reader, key: str) -> str:
    """The title of a digest: one line; empty if there is none."""
    text = read.text(key, limit=4096)
    if any(char in text for char in "\r\n"):
        raise read.bad(key, "should be one line")
    if text and not read.value.get("digest_seconds"):
        raise read.bad(key, "is for messages that are gathered: digest_seconds is not set")
    return text


def _retention(options: Reader) -> Document:
    read = options.section("retention_config")
    folders = []
    for one in read.objects("folders"):
        path = one.text("path", limit=4096)
        if not path.startswith("/"):
            raise one.bad("path", f"{path[:100]!r} is no absolute path")
        folders.append(
            {
                "path": _path(path),
                "retention": one.number("retention", 0, 1_000_000),
                **filled(delete_empty_dirs=one.flag("delete_empty_dirs")),
            }
        )
    if not any(one["retention"] for one in folders):
        raise read.bad("folders", "nothing would be deleted: a folder with a retention is required")
    if len({one["path"] for one in folders}) != len(folders):
        raise read.bad("folders", "a path is given twice")
    return {"retention_config": {"folders": folders}}


def _path(text: str) -> str:
    """A virtual path, or placeholders that stand for one, with a slash in front."""
    return text if text.startswith("/") or text == "{{RetentionReports}}" else f"/{text}"


def _files(options: Reader) -> Document:
    read = options.section("fs_config")
    number = read.number("type")
    try:
        kind = FileAction(number)
    except ValueError:
        raise read.bad("type", f"{number} is no type of file system action") from None
    found: Document = {"type": int(kind)}
    match kind:
        case FileAction.RENAME | FileAction.COPY:
            key = "renames" if kind is FileAction.RENAME else "copy"
            pairs = read.pairs(key, more="update_modtime" if kind is FileAction.RENAME else "")
            if not pairs:
                raise read.bad(key, "at least one is required")
            for pair in pairs:
                if not pair["value"]:
                    raise read.bad(key, f"{pair['key']!r} has no target")
                pair["key"], pair["value"] = _path(pair["key"]), _path(pair["value"])
            found[key] = pairs
        case FileAction.COMPRESS:
            compress = read.section("compress")
            name, paths = compress.text("name", limit=4096), compress.texts("paths")
            if not name or not paths:
                raise compress.bad("name" if not name else "paths", "is required")
            found["compress"] = {"name": _path(name), "paths": [_path(one) for one in paths]}
        case _:
            key = {FileAction.DELETE: "deletes", FileAction.MKDIRS: "mkdirs", FileAction.EXIST: "exist"}[kind]
            paths = read.texts(key)
            if not paths:
                raise read.bad(key, "at least one path is required")
            found[key] = [_path(one) for one in paths]
    return {"fs_config": found}


def _password_expiration(options: Reader) -> Document:
    read = options.section("pwd_expiration_config")
    if not read.number("threshold", 0, 10_000):
        raise read.bad("threshold", "days before the expiration are required")
    read.known("threshold", "subject", "body")
    subject = read.text("subject", limit=4096)
    if any(char in subject for char in "\r\n"):
        raise read.bad("subject", "should be one line")
    more = filled(subject=subject, body=read.text("body"))
    return {"pwd_expiration_config": {"threshold": read.number("threshold"), **more}}


def _inactivity(options: Reader) -> Document:
    read = options.section("user_inactivity_config")
    disable, delete = (
        read.number("disable_threshold", 0, 100_000),
        read.number("delete_threshold", 0, 100_000),
    )
    if not disable and not delete:
        raise read.bad("disable_threshold", "at least one threshold is required")
    if disable and delete and delete <= disable:
        raise read.bad("delete_threshold", "should be more than disable_threshold")
    return {"user_inactivity_config": filled(disable_threshold=disable, delete_threshold=delete)}


def _idp(options: Reader) -> Document:
    read = options.section("idp_config")
    user, admin = read.text("template_user"), read.text("template_admin")
    if not user and not admin:
        raise read.bad("template_user", "at least one template is required")
    return {"idp_config": filled(mode=read.number("mode", 0, 1), template_user=user, template_admin=admin)}


def _nothing(_: Reader) -> Document:
    return {}


OPTIONS: Final[dict[ActionType, Callable[[Reader], Document]]] = {
    ActionType.HTTP: _http,
    ActionType.COMMAND: _command,
    ActionType.EMAIL: _email,
    ActionType.CHAT: _chat,
    ActionType.RETENTION: _retention,
    ActionType.FILESYSTEM: _files,
    ActionType.PASSWORD_EXPIRATION: _password_expiration,
    ActionType.INACTIVITY: _inactivity,
    ActionType.IDP_ACCOUNT: _idp,
    **dict.fromkeys(
        (
            ActionType.BACKUP, ActionType.USER_QUOTA_RESET, ActionType.FOLDER_QUOTA_RESET,
            ActionType.TRANSFER_QUOTA_RESET, ActionType.USER_EXPIRATION, ActionType.ROTATE_LOG,
        ),
        _nothing,
    ),
}  # fmt: skip
"""Reads the options of a type of action."""
