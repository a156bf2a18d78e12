# SPDX-License-Identifier: Apache-2.0
"""One handler at the root logger, one chain of processors, one thread that writes.

Lines are made (and cleaned of secrets) where they are logged, because context variables live there; the
finished bytes go through a bounded queue to the writing thread, so a slow disk never holds the loop.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tidegate.errors import ConfigError, Problem
from tidegate.logs import redact
from tidegate.logs.options import LogOptions
from tidegate.logs.rotation import LogFile

QUEUE_LIMIT: Final = 50_000
"""lines that wait for the disk at most; beyond it the newest are lost, counted and reported"""

STOP_SECONDS: Final = 10.0
"""how long closing waits for the disk"""

RECORD_LOGGER: Final = "tidegate.record"
"""Logger of event lines; its records carry ``record.sender`` and ``record.fields``."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_LEVEL_NAMES: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}
_CHATTY: Final = (
    "asyncssh",
    "alembic",
    "uvicorn.access",
    "aiosqlite",
    "asyncio",
    "multipart",
    "zeroconf",
)
"""Loggers of libraries whose information is our debugging."""
_SILENT: Final = ("sqlalchemy",)
"""Loggers of libraries whose information is statements with their values: hashes, keys, what users stored."""

_CONTROL: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), 0xFEFF)
}
"""Characters that terminals or line splitters obey and JSON would let through."""


class Log:
    """The running log. Made by `open_log`; `close` writes what is queued and takes the handler away."""

    def __init__(self, options: LogOptions) -> None:
        self.options = options
        self._queue: queue.Queue[bytes | _Order] = queue.Queue(QUEUE_LIMIT)
        self._handler = _Handler(self._queue)
        self._before: list[tuple[logging.Logger, int, bool]] = []
        self._thread: threading.Thread | None = None
        self._file: LogFile | None = None

    def open(self) -> None:
        """Start the thread and take over the root logger.

        Raises:
            ConfigError: the log file cannot be written.
        """
        options = self.options
        if not options.file_path:
            self._take(logging.CRITICAL + 1, None)
            return
        if options.file_path != "-":
            file = LogFile(
                Path(options.file_path),
                max_bytes=options.max_size * 1024 * 1024,
                max_backups=options.max_backups,
                max_age_days=options.max_age,
                compress=options.compress,
            )
            try:
                file.open()
            except OSError as error:
                raise ConfigError(
                    [Problem("--log-file-path", f"{file.path} cannot be written: {error.strerror}")]
                ) from None
            self._file = file
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        self._take(_LEVELS[options.level], self._handler)

    def rotate(self) -> None:
        """Rotate the file now (SIGUSR1); done by the writing thread, after what was logged before."""
        if self._file is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(_ROTATE)

    def wait_written(self) -> None:
        """Wait until everything logged before is in the file."""
        if self._thread is not None:
            done = _Order("mark")
            self._queue.put(done, timeout=STOP_SECONDS)
            done.done.wait(STOP_SECONDS)

    def close(self) -> None:
        """Write what is queued, then give the root logger back. Safe to call twice."""
        for logger, level, propagate in self._before:
            logger.setLevel(level)
            logger.propagate = propagate
        self._before.clear()
        logging.getLogger().removeHandler(self._handler)
        logging.getLogger().removeHandler(_NOTHING)
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put(_STOP, timeout=STOP_SECONDS)
            self._thread.join(STOP_SECONDS)
            self._thread = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self, level: int, handler: logging.Handler | None) -> None:
        root = logging.getLogger()
        chatty = [logging.getLogger(name) for name in _CHATTY]
        silent = [logging.getLogger(name) for name in _SILENT]
        record = logging.getLogger(RECORD_LOGGER)
        self._before = [(lg, lg.level, lg.propagate) for lg in (root, record, *chatty, *silent)]
        root.setLevel(level)
        root.addHandler(handler or _NOTHING)
        record.setLevel(logging.DEBUG if level == logging.INFO else level)
        for logger in chatty:
            logger.setLevel(max(level, logging.INFO if level <= logging.DEBUG else logging.WARNING))
        for logger in silent:
            logger.setLevel(max(level, logging.WARNING))

    def _run(self) -> None:
        """The writing thread."""
        lost = 0
        while True:
            item = self._queue.get()
            try:
                if isinstance(item, bytes):
                    self._write(item)
                elif item is _STOP:
                    return
                elif item is _ROTATE and self._file is not None:
                    self._file.rotate()
                else:
                    item.done.set()
                if self._handler.lost > lost and self._queue.qsize() < QUEUE_LIMIT // 2:
                    count, lost = self._handler.lost - lost, self._handler.lost
                    self._write(_own_line(f"{count} lines lost: the disk is too slow"))
            except Exception as error:  # the log must never take the server down
                with contextlib.suppress(Exception):
                    sys.stderr.write(f"tidegate: log: {type(error).__name__}\n")

    def _write(self, line: bytes) -> None:
        if self._file is not None:
            self._file.write(line)
        else:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


class _Order:
    """Something for the writing thread to do, other than a line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = threading.Event()


_STOP: Final = _Order("stop")
_ROTATE: Final = _Order("rotate")
_NOTHING: Final = logging.NullHandler()


class _Handler(logging.Handler):
    """Makes lines and queues them; never blocks, never raises."""

    def __init__(self, lines: queue.Queue[bytes | _Order]) -> None:
        super().__init__()
        self._lines = lines
        self.lost = 0
        self.setFormatter(_formatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # Surrogates stand for bytes that are not UTF-8; written as \\udcXX they are legal JSON escapes.
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception as error:  # a record that cannot be shown is still a record
            line = _own_line(f"unprintable record of {record.name}: {type(error).__name__}")
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.lost += 1


def open_log(options: LogOptions) -> Log:
    """Start logging.

    Raises:
        ConfigError: the log file cannot be written.
    """
    log = Log(options)
    log.open()
    return log


def _formatter() -> logging.Formatter:
    import structlog
    from structlog.contextvars import merge_contextvars

    structlog.configure(
        processors=[
            merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[merge_contextvars], processors=[_shape, _without_secrets, _json]
    )


def _shape(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Time, level and sender first; fields of an event line as they are; a traceback as ``error``."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    message = event.pop("event", "")
    trace = event.pop("exc_info", None)
    line: dict[str, Any] = {
        "time": _stamp(record.created),
        "level": _LEVEL_NAMES.get(record.levelno, "info"),
        "sender": getattr(record, "sender", record.name),
    }
    fields = getattr(record, "fields", None)
    line.update(fields if isinstance(fields, dict) else event)
    if message:
        line["message"] = message
    if isinstance(trace, tuple) and trace[0] is not None:
        line["error"] = "".join(traceback.format_exception(*trace))
    return line


def _without_secrets(
    _logger: object, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The processor that removes secrets, so that no author has to."""
    return redact.fields(dict(event))


def _json(_logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_CONTROL)


def _stamp(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _own_line(message: str) -> bytes:
    """A line of the log about itself."""
    line = {"time": _stamp(time.time()), "level": "error", "sender": "log", "message": message}
    return (_json(None, "", line) + "\n").encode()
