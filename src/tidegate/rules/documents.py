# SPDX-License-Identifier: Apache-2.0
"""Documents of event actions and event rules, in the shape of SFTPGo's dumps and REST API.

Long, because it has the whole shape of both records: each option is checked here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from tidegate.errors import BadRecord
from tidegate.model.rule import (
    ACTION_SECRETS,
    ActionType,
    EventAction,
    EventRule,
    FileAction,
    RuleAction,
    Trigger,
)
from tidegate.model.sealing import is_redacted, is_sealed
from tidegate.rules.book import MAX_ACTIONS
from tidegate.rules.facts import FILE_EVENTS, LOGIN_EVENTS, PRE_EVENTS, PROVIDER_EVENTS, SYNC_EVENTS
from tidegate.rules.patterns import MAX_PATTERNS, pattern_problem
from tidegate.rules.translate import OBJECTS

Document = dict[str, Any]

PROTOCOLS: Final = ("SFTP", "SCP", "SSH", "FTP", "DAV", "HTTP", "HTTPShare", "OIDC")
MAX_SECONDS: Final = 180
"""Longest time of a request or program of an action, as in SFTPGo."""
MAX_TEXT: Final = 1_048_576
"""Characters of a body or template."""
MAX_ITEMS: Final = 1_000
MAX_NAME: Final = 255
_SECTIONS: Final = (
    "http_config", "cmd_config", "email_config", "retention_config", "fs_config", "pwd_expiration_config",
    "user_inactivity_config", "idp_config",
)  # fmt: skip
"""Sections that every answer has, empty ones included."""
_CRON: Final = (("hour", 0, 23), ("day_of_month", 1, 31), ("month", 1, 12), ("day_of_week", 0, 7))


class _Reader:
    """Reads values of a document by key; each mistake names its place."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise BadRecord(where.rstrip(".") or "document", "should be an object")
        self.value = value
        self.where = where

    def bad(self, key: str, message: str) -> BadRecord:
        return BadRecord(f"{self.where}{key}", message)

    def text(self, key: str, *, limit: int = MAX_TEXT, default: str = "") -> str:
        found = self.value.get(key)
        if found is None:
            return default
        if not isinstance(found, str) or "\0" in found:
            raise self.bad(key, "should be a text")
        if len(found) > limit:
            raise self.bad(key, f"is longer than {limit} characters")
        return found

    def number(self, key: str, low: int = 0, high: int = 2**63 - 1, default: int = 0) -> int:
        found = self.value.get(key)
        if found is None:
            return default
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise self.bad(key, f"should be a number from {low} to {high}")
        return found

    def flag(self, key: str) -> bool:
        found = self.value.get(key, False)
        if not isinstance(found, bool):
            raise self.bad(key, "should be true or false")
        return found

    def items(self, key: str, limit: int = MAX_ITEMS) -> Sequence[Any]:
        found = self.value.get(key)
        if found is None:
            return ()
        if not isinstance(found, list) or len(found) > limit:
            raise self.bad(key, f"should be a list of at most {limit}")
        return found

    def texts(self, key: str, known: Sequence[str] = ()) -> list[str]:
        found = []
        for index, one in enumerate(self.items(key)):
            if not isinstance(one, str) or not one or "\0" in one:
                raise self.bad(f"{key}[{index}]", "should be a text")
            if known and one not in known:
                raise self.bad(f"{key}[{index}]", f"{one!r} is not one of {', '.join(known)}")
            found.append(one)
        return found

    def objects(self, key: str) -> list[_Reader]:
        return [_Reader(one, f"{self.where}{key}[{index}].") for index, one in enumerate(self.items(key))]

    def section(self, key: str) -> _Reader:
        return _Reader(self.value.get(key) or {}, f"{self.where}{key}.")

    def pairs(self, key: str, *, more: str = "") -> list[Document]:
        """Lists of ``{key, value}``."""
        found = []
        for one in self.objects(key):
            name = one.text("key", limit=4096)
            if not name:
                raise one.bad("key", "is empty")
            pair: Document = {"key": name, "value": one.text("value", limit=65_536)}
            if more and one.flag(more):
                pair[more] = True
            found.append(pair)
        return found

    def known(self, *names: str) -> None:
        for name in self.value:
            if name not in names:
                raise self.bad(str(name), "there is no such key")


# -- actions ------------------------------------------------------------------------------------------------


def decode_action(
    document: object,
    *,
    base: EventAction | None = None,
    where: str = "",
    enabled: Sequence[str] | None = None,
) -> EventAction:
    """Read and check an event action.

    Args:
        document: the JSON value.
        base: the action it replaces: secrets that the document does not give stay.
        where: prefix of places in errors.
        enabled: programs that commands may run; None does not ask.

    Raises:
        BadRecord: with the place of the first mistake.
    """
    read = _Reader(document, where)
    name = _name(read, base.name if base is not None else "")
    number = read.value.get("type", base.type if base is not None else 0)
    try:
        kind = ActionType(number)
    except ValueError:
        raise read.bad("type", f"{number!r} is no type of action") from None
    options = read.section("options")
    given = _OPTIONS[kind](options)
    if base is not None:
        given = _with_kept_secrets(given, options, base)
    _check_secrets(given, where)
    if kind is ActionType.COMMAND and enabled is not None and given["cmd_config"]["cmd"] not in enabled:
        raise read.bad(
            "options.cmd_config.cmd",
            f"{given['cmd_config']['cmd']!r} is not in common.event_manager.enabled_commands",
        )
    return EventAction(
        name=name,
        type=kind,
        description=read.text("description", limit=4096, default=base.description if base else ""),
        options=given,
        id=base.id if base is not None else read.number("id"),
        created_at=base.created_at if base is not None else 0,
        updated_at=base.updated_at if base is not None else 0,
    )


def encode_action(action: EventAction, *, confidential: bool, rules: Sequence[str] | None = None) -> Document:
    """The document of an action; secrets only if `confidential`, else marked as Redacted."""
    options: Document = {section: {} for section in _SECTIONS}
    for section, values in action.options.items():
        options[section] = dict(values) if isinstance(values, Mapping) else values
    options["fs_config"] = {**options["fs_config"], "compress": options["fs_config"].get("compress", {})}
    if not confidential:
        for section, key in ACTION_SECRETS:
            if options.get(section, {}).get(key):
                options[section][key] = {"status": "Redacted"}
    document: Document = {
        "id": action.id,
        "name": action.name,
        "description": action.description,
        "type": int(action.type),
        "options": options,
    }
    if not action.description:
        del document["description"]
    if rules:
        document["rules"] = list(rules)
    return document


def _check_secrets(options: Mapping[str, Any], where: str) -> None:
    for section, key in ACTION_SECRETS:
        if is_redacted((options.get(section) or {}).get(key)):
            what = "is Redacted, and no secret is stored for where it would be sent"
            raise BadRecord(f"{where}options.{section}.{key}", what)


def _with_kept_secrets(given: Document, options: _Reader, base: EventAction) -> Document:
    for section, key in ACTION_SECRETS:
        stored = (base.options.get(section) or {}).get(key)
        if not stored or section not in given:
            continue
        value = (options.value.get(section) or {}).get(key)
        same = _destination(given, section) == _destination(base.options, section)
        if (value is None or is_redacted(value)) and same:
            given[section][key] = stored
    return given


def _destination(options: Mapping[str, Any], section: str) -> tuple[str, str, bool]:
    """Scheme and host that a section's secret is sent to, and True if anybody may stand in for the host.

    Kept secrets never go another way: not to another host, not in the clear, not to whoever is between.
    """
    config = options.get(section) or {}
    endpoint, anybody = config.get("endpoint", ""), config.get("skip_tls_verify") is True
    try:
        parts = urlsplit(endpoint if isinstance(endpoint, str) else "")
    except ValueError:
        return "", "", anybody
    return parts.scheme, parts.netloc, anybody


def _secret(read: _Reader, key: str) -> object:
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


def _seconds(read: _Reader, what: str) -> int:
    found = read.number("timeout", 0, MAX_SECONDS)
    if not found:
        raise read.bad("timeout", f"a {what} needs a time of 1 to {MAX_SECONDS} seconds")
    return found


def _url(read: _Reader, key: str) -> str:
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


def _filled(**values: Any) -> Document:
    """The values that say anything."""
    return {key: value for key, value in values.items() if value not in ("", 0, False, [], {}, None)}


def _http(options: _Reader) -> Document:
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
                **_filled(
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
            **_filled(
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


def _command(options: _Reader) -> Document:
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
            **_filled(args=list(args)),
            "timeout": _seconds(read, "program"),
            **_filled(env_vars=variables),
        }
    }


def _email(options: _Reader) -> Document:
    read = options.section("email_config")
    read.known("recipients", "bcc", "subject", "body", "attachments", "content_type", "digest_seconds")
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
            **_filled(bcc=read.texts("bcc")),
            "subject": subject,
            "body": read.text("body"),
            **_filled(
                attachments=[_path(one) for one in read.texts("attachments")],
                content_type=read.number("content_type", 0, 1),
                digest_seconds=read.number("digest_seconds", 0, 86_400),
            ),
        }
    }


def _chat(options: _Reader) -> Document:
    read = options.section("chat_config")
    read.known("url_secret", "style", "text", "digest_seconds")
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
            **_filled(digest_seconds=read.number("digest_seconds", 0, 86_400)),
        }
    }


def _retention(options: _Reader) -> Document:
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
                **_filled(delete_empty_dirs=one.flag("delete_empty_dirs")),
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


def _files(options: _Reader) -> Document:
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


def _password_expiration(options: _Reader) -> Document:
    read = options.section("pwd_expiration_config")
    if not read.number("threshold", 0, 10_000):
        raise read.bad("threshold", "days before the expiration are required")
    return {"pwd_expiration_config": {"threshold": read.number("threshold")}}


def _inactivity(options: _Reader) -> Document:
    read = options.section("user_inactivity_config")
    disable, delete = (
        read.number("disable_threshold", 0, 100_000),
        read.number("delete_threshold", 0, 100_000),
    )
    if not disable and not delete:
        raise read.bad("disable_threshold", "at least one threshold is required")
    if disable and delete and delete <= disable:
        raise read.bad("delete_threshold", "should be more than disable_threshold")
    return {"user_inactivity_config": _filled(disable_threshold=disable, delete_threshold=delete)}


def _idp(options: _Reader) -> Document:
    read = options.section("idp_config")
    user, admin = read.text("template_user"), read.text("template_admin")
    if not user and not admin:
        raise read.bad("template_user", "at least one template is required")
    return {"idp_config": _filled(mode=read.number("mode", 0, 1), template_user=user, template_admin=admin)}


def _nothing(_: _Reader) -> Document:
    return {}


_OPTIONS: Final[dict[ActionType, Callable[[_Reader], Document]]] = {
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


# -- rules
# ----------------------------------------------------------------------------------------------------


def decode_rule(document: object, *, base: EventRule | None = None, where: str = "") -> EventRule:
    """Read and check an event rule; whether its actions exist is not known here.

    Raises:
        BadRecord: with the place of the first mistake.
    """
    read = _Reader(document, where)
    name = _name(read, base.name if base is not None else "")
    number = read.value.get("trigger", base.trigger if base is not None else 0)
    try:
        trigger = Trigger(number)
    except ValueError:
        raise read.bad("trigger", f"{number!r} is no trigger") from None
    conditions = _conditions(read.section("conditions"), trigger)
    actions = _uses(read)
    _check_sync(read, trigger, conditions, actions)
    status = read.number("status", 0, 1, default=base.status if base is not None else 0)
    return EventRule(
        name=name,
        trigger=trigger,
        status=status,
        description=read.text("description", limit=4096),
        conditions=conditions,
        actions=actions,
        muted_until=read.number("muted_until"),
        id=base.id if base is not None else read.number("id"),
        created_at=base.created_at if base is not None else read.number("created_at"),
        updated_at=base.updated_at if base is not None else read.number("updated_at"),
    )


def encode_rule(
    rule: EventRule, actions: Mapping[str, EventAction] | None = None, *, confidential: bool = False
) -> Document:
    """The document of a rule; with `actions` each use shows its action too."""
    uses = []
    for use in rule.actions:
        action = (actions or {}).get(use.name)
        shown: Document = {"name": use.name}
        if action is not None:
            shown = encode_action(action, confidential=confidential)
        uses.append(
            {
                **shown,
                "order": use.order,
                "relation_options": {
                    "is_failure_action": use.is_failure_action,
                    "stop_on_failure": use.stop_on_failure,
                    "execute_sync": use.execute_sync,
                },
            }
        )
    document: Document = {
        "id": rule.id,
        "name": rule.name,
        "status": rule.status,
        **_filled(description=rule.description),
        "created_at": rule.created_at,
        "updated_at": rule.updated_at,
        "trigger": int(rule.trigger),
        "conditions": {**rule.conditions, "options": rule.conditions.get("options", {})},
        "actions": uses,
    }
    if rule.muted_until:
        document["muted_until"] = rule.muted_until
    return document


def _name(read: _Reader, base: str) -> str:
    name = read.text("name", limit=MAX_NAME, default=base) or base
    if not name:
        raise read.bad("name", "is required")
    if not name.isprintable() or name != name.strip() or "/" in name:
        raise read.bad("name", f"{name!r} should be printable, without '/' and without spaces around it")
    return name


def _uses(read: _Reader) -> tuple[RuleAction, ...]:
    found: list[RuleAction] = []
    orders: set[int] = set()
    for index, one in enumerate(read.objects("actions")):
        relation = one.section("relation_options")
        name = one.text("name", limit=MAX_NAME)
        if not name:
            raise one.bad("name", "is required")
        order = one.number("order", 0, 1_000_000, default=index + 1)
        if order in orders:
            raise one.bad("order", f"{order} is given twice")
        orders.add(order)
        found.append(
            RuleAction(
                name=name,
                order=order,
                is_failure_action=relation.flag("is_failure_action"),
                stop_on_failure=relation.flag("stop_on_failure"),
                execute_sync=relation.flag("execute_sync"),
            )
        )
    if not found:
        raise read.bad("actions", "at least one action is required")
    if len(found) > MAX_ACTIONS:
        raise read.bad("actions", f"more than {MAX_ACTIONS} actions")
    if all(use.is_failure_action for use in found):
        raise read.bad("actions", "at least one action that is no failure action is required")
    return tuple(sorted(found, key=lambda use: use.order))


def _check_sync(
    read: _Reader, trigger: Trigger, conditions: Mapping[str, Any], actions: Sequence[RuleAction]
) -> None:
    events = set(conditions.get("fs_events") or ())
    if any(use.execute_sync and use.is_failure_action for use in actions):
        raise read.bad("actions", "a failure action cannot be waited for")
    waits = any(use.execute_sync for use in actions)
    allowed = (trigger is Trigger.FILE and events <= SYNC_EVENTS) or trigger is Trigger.IDP_LOGIN
    if waits and not allowed:
        raise read.bad(
            "actions", "execute_sync is only for upload, pre-* events and identity provider logins"
        )
    if not waits and events & PRE_EVENTS:
        raise read.bad("actions", f"{min(events & PRE_EVENTS)} needs an action with execute_sync")


def _conditions(read: _Reader, trigger: Trigger) -> Document:
    found: Document = {}
    match trigger:
        case Trigger.FILE:
            found["fs_events"] = _events(read, "fs_events", FILE_EVENTS)
        case Trigger.PROVIDER:
            found["provider_events"] = _events(read, "provider_events", PROVIDER_EVENTS)
        case Trigger.LOGIN:
            found["login_events"] = _events(read, "login_events", LOGIN_EVENTS)
        case Trigger.SCHEDULE:
            found["schedules"] = [_schedule(one) for one in read.objects("schedules")]
            if not found["schedules"]:
                raise read.bad("schedules", "at least one is required")
        case Trigger.IDP_LOGIN:
            found |= _filled(idp_login_event=read.number("idp_login_event", 0, 2))
        case _:
            pass
    options = read.section("options")
    for key in ("group_names", "role_names"):
        _patterns(options, key)
    low, high = options.number("min_size"), options.number("max_size")
    if high and low > high:
        raise options.bad("max_size", "is less than min_size")
    chosen = _filled(
        names=_patterns(options, "names"),
        group_names=_patterns(options, "group_names"),
        role_names=_patterns(options, "role_names"),
        fs_paths=_patterns(options, "fs_paths"),
        protocols=options.texts("protocols", PROTOCOLS),
        provider_objects=options.texts("provider_objects", OBJECTS),
        min_size=low,
        max_size=high,
        event_statuses=_statuses(options),
        concurrent_execution=options.flag("concurrent_execution"),
    )
    if chosen:
        found["options"] = chosen
    return found


def _events(read: _Reader, key: str, known: Sequence[str]) -> list[str]:
    events = list(dict.fromkeys(read.texts(key, known)))
    if not events:
        raise read.bad(key, "at least one event is required")
    return events


def _statuses(options: _Reader) -> list[int]:
    found = list(options.items("event_statuses"))
    for index, one in enumerate(found):
        if one not in (1, 2, 3) or isinstance(one, bool):
            raise options.bad(f"event_statuses[{index}]", "should be 1, 2 or 3")
    return found


def _patterns(options: _Reader, key: str) -> list[Document]:
    found = []
    if len(options.items(key)) > MAX_PATTERNS:
        raise options.bad(key, f"more than {MAX_PATTERNS} patterns")
    for one in options.objects(key):
        text = one.text("pattern", limit=4096)
        if (problem := pattern_problem(text)) is not None:
            raise one.bad("pattern", problem)
        found.append({"pattern": text, **_filled(inverse_match=one.flag("inverse_match"))})
    return found


def _schedule(read: _Reader) -> Document:
    found: Document = {}
    for key, low, high in _CRON:
        text = read.text(key, limit=100, default="*") or "*"
        if (problem := _cron_problem(text, low, high)) is not None:
            raise read.bad(key, f"{text!r} {problem}")
        found[key] = text
    minute = read.text("minute", limit=100)
    if minute:
        if (problem := _cron_problem(minute, 0, 59)) is not None:
            raise read.bad("minute", f"{minute!r} {problem}")
        found["minute"] = minute
    return found


def _cron_problem(text: str, low: int, high: int) -> str | None:
    """The fault of a field of a schedule; names of months and days are not known here."""
    for part in text.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            return "has a step that is no number"
        ends = [str(low), str(high)] if span == "*" else span.split("-")
        if len(ends) > 2 or not all(end.isascii() and end.isdigit() for end in ends):
            return "is no field of a schedule: *, numbers, a-b, lists, /steps"
        numbers = [int(end) for end in ends]
        if not all(low <= number <= high for number in numbers) or numbers != sorted(numbers):
            return f"is out of {low} to {high}"
    return None


def cron_of(schedule: Mapping[str, str]) -> str:
    """The five fields of a schedule; without a minute it is the full hour, as in SFTPGo."""
    day = schedule["day_of_week"]
    # A step that begins at a number ("0/6") goes to the end of the range.
    fields = [
        _spelt(schedule.get("minute", "0"), 59),
        _spelt(schedule["hour"], 23),
        _spelt(schedule["day_of_month"], 31),
        _spelt(schedule["month"], 12),
        _spelt(day, 7 if "7" in day else 6),
    ]
    return " ".join(fields)


def _spelt(field: str, high: int) -> str:
    parts = []
    for part in field.split(","):
        span, slash, step = part.partition("/")
        parts.append(f"{span}-{high}/{step}" if slash and span.isdigit() else part)
    return ",".join(parts)
