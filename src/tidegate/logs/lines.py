# SPDX-License-Identifier: Apache-2.0
"""Log lines: one JSON object each, free of secrets and of characters that break lines.

Lines of events (`event_line`) are the ones that count: a transfer of a small file is one of them, and made
in the general way (every field searched, `json.dumps`) it cost 0.16 ms, more than
opening, reading and closing the file. So their layout is worked out once for each set of field names, and
texts that were found clean, such as the addresses and the user of a connection, are not searched again.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, Final

from tidegate.logs import redact

LEVEL_NAMES: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}

_DIRECTIONS: Final = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Marks, embeddings, overrides, isolates of the bidirectional algorithm: they reorder what is shown."""

_CONTROL: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *_DIRECTIONS, 0xFEFF)
}
"""Characters that terminals or line splitters obey and JSON would let through."""

KNOWN_LIMIT: Final = 4096
"""texts that are remembered as clean"""
KNOWN_CHARS: Final = 256
"""characters of a text that is remembered"""
LAYOUTS_LIMIT: Final = 256
"""sets of field names whose layout is remembered"""

_Layout = tuple[str, tuple[bool, ...]]
"""A format string, and for each field whether it holds a path."""

_known: dict[str, str] = {}
"""Texts without secrets, and how JSON writes them. Never one that had a secret taken out."""
_layouts: dict[tuple[str, ...], _Layout | None] = {}
_second: tuple[int, str] = (-1, "")


def event_line(created: float, level: int, sender: str, fields: dict[str, Any]) -> bytes:
    """The line of an event, its end included."""
    names = tuple(fields)
    try:
        layout = _layouts[names]
    except KeyError:
        layout = _layout(names)
    if layout is None:
        return _general(created, level, sender, fields)
    known = _known
    try:
        values = [
            (known.get(value) or _quoted(value, is_path))
            if (kind := type(value)) is str
            else (value if kind is int else _plain(value, is_path))
            for value, is_path in zip(fields.values(), layout[1], strict=True)
        ]
    except TypeError:
        return _general(created, level, sender, fields)
    head = stamp(created), LEVEL_NAMES.get(level, "info"), known.get(sender) or _quoted(sender, False)
    # Surrogates stand for bytes that are not UTF-8; written as \\udcXX they are legal JSON escapes.
    return (layout[0] % (*head, *values)).encode("utf-8", "backslashreplace")


def _plain(value: object, is_path: bool) -> str:
    """The JSON form of a value that is no plain text.

    Raises:
        TypeError: it takes more than that.
    """
    if isinstance(value, str):  # a path
        return _quoted(value, is_path)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    raise TypeError


def _layout(names: tuple[str, ...]) -> _Layout | None:
    """The layout of a line with these fields; None if it needs the general way."""
    layout: _Layout | None = None
    if not any(type(name) is not str or redact.is_secret_name(name) for name in names):
        shape = "".join("," + to_json(name).replace("%", "%%") + ":%s" for name in names)
        paths = tuple(name in redact.PATH_NAMES for name in names)
        layout = '{"time":"%s","level":"%s","sender":%s' + shape + "}\n", paths
    if len(_layouts) >= LAYOUTS_LIMIT:
        _layouts.clear()
    _layouts[names] = layout
    return layout


def _quoted(value: str, is_path: bool) -> str:
    clean = redact.path(value) if is_path else redact.text(value)
    quoted = encode_basestring(clean)
    if not quoted.isascii() or "\x7f" in quoted:
        quoted = quoted.translate(_CONTROL)
    if not is_path and clean is value and len(value) <= KNOWN_CHARS:
        if len(_known) >= KNOWN_LIMIT:
            _known.clear()
        _known[value] = quoted
    return quoted


def _general(created: float, level: int, sender: str, fields: dict[str, Any]) -> bytes:
    line = {"time": stamp(created), "level": LEVEL_NAMES.get(level, "info"), "sender": sender, **fields}
    return (to_json(redact.fields(line)) + "\n").encode("utf-8", "backslashreplace")


def own_line(message: str, level: str = "error") -> bytes:
    """A line of the log about itself."""
    line = {"time": stamp(time.time()), "level": level, "sender": "log", "message": message}
    return (to_json(line) + "\n").encode()


def to_json(value: object) -> str:
    """Compact JSON without anything that a terminal or a line splitter obeys."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() and "\x7f" not in text else text.translate(_CONTROL)


def stamp(created: float) -> str:
    """UTC to the millisecond, as in 2026-01-31T12:00:00.000Z."""
    global _second
    whole, thousandths = divmod(int(created * 1000), 1000)
    second, text = _second
    if second != whole:
        text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _second = whole, text  # one assignment: other threads see both or neither
    return f"{text}.{thousandths:03}Z"


# -- records of any logger -----------------------------------------------------------------------------------


class LineFormatter(logging.Formatter):
    """Makes lines of records that are no events.

    Time, level and sender come first; then what a caller gave as ``extra={"fields": {...}}``, the message,
    and a traceback as ``error``. Secrets are removed here, so that no author has to.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": stamp(record.created),
            "level": LEVEL_NAMES.get(record.levelno, "info"),
            "sender": getattr(record, "sender", record.name),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line.update(fields)
        if message := record.getMessage():
            line["message"] = message
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            line["error"] = "".join(traceback.format_exception(*record.exc_info))
        return to_json(redact.fields(line))


# -- to the log ----------------------------------------------------------------------------------------------

_record = logging.getLogger("tidegate.record")
_above = logging.getLogger("tidegate")
_root = logging.getLogger()

_COMMON: Final = logging.LogRecord(_record.name, logging.INFO, "", 0, "", None, None).__dict__


class _EventRecord(logging.LogRecord):
    """A record of an event: what it has in common with all others is not worked out again (5 us each)."""

    def __init__(self, created: float, level: int, sender: str, fields: dict[str, Any]) -> None:
        self.__dict__ = {
            **_COMMON,
            "created": created,
            "msecs": created * 1000 % 1000,
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "sender": sender,
            "fields": fields,
        }


def wanted(level: int) -> bool:
    """True if lines of a level are written."""
    return _record.isEnabledFor(level)


def write(created: float, level: int, sender: str, fields: dict[str, Any]) -> None:
    """Hand a line to the log, which takes out secrets and writes it off the loop.

    Args:
        created: seconds since the epoch.
        level: of `logging`; the caller has asked `wanted`.
        sender: first field of the line.
        fields: the others, in order.
    """
    handlers = _root.handlers
    if len(handlers) == 1 and not _record.handlers and not _above.handlers and not _record.filters:
        # Nobody but the server's own log listens, as nearly always: it needs no record.
        put = getattr(handlers[0], "put_event", None)
        if put is not None:
            put(created, level, sender, fields)
            return
    _record.handle(_EventRecord(created, level, sender, fields))
