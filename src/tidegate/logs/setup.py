# SPDX-License-Identifier: Apache-2.0
"""One handler at the root logger, one way to make lines, one thread that writes.

Lines are made (and cleaned of secrets) where they are logged, because context variables live there; the
finished bytes wait in a bounded queue for the writing thread, so a slow disk never holds the loop.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidegate.errors import ConfigError, Problem
from tidegate.logs.lines import LineFormatter, event_line, own_line
from tidegate.logs.options import LogOptions
from tidegate.logs.recent import RecentLines
from tidegate.logs.rotation import LogFile
from tidegate.logs.writer import Writer

if TYPE_CHECKING:
    from tidegate.logs.search import LogReader
    from tidegate.logs.syslog import SyslogOptions, SyslogSender

QUEUE_LIMIT: Final = 50_000
"""lines that wait for the disk at most; beyond it the newest are lost, counted and reported"""

STOP_SECONDS: Final = 10.0
"""seconds that closing waits for the disk"""

SYSLOG_STOP_SECONDS: Final = 8.0
"""seconds that closing waits for the syslog server"""

RECORD_LOGGER: Final = "tidegate.record"
"""Logger of event lines; its records carry ``record.sender`` and ``record.fields``."""

TRACE_LOGGER: Final = "tidegate.trace"
"""Logger of lines about single requests of protocols; silent but at level ``trace``."""

_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_CHATTY: Final = (
    "asyncssh",
    "alembic",
    "uvicorn.access",
    "aiosqlite",
    "asyncio",
    "zeroconf",
)
"""Loggers of libraries whose information is our debugging."""
_SILENT: Final = ("sqlalchemy", "botocore", "aiobotocore", "google.auth")
"""Loggers of libraries whose information is requests with their values: hashes, keys, what users stored."""

_NOTHING: Final = logging.NullHandler()


class Log:
    """The running log. Made by `open_log`; `close` writes what is queued and takes the handler away.

    Attributes:
        options: of the file.
        recent: its last lines in memory.
    """

    def __init__(self, options: LogOptions, syslog: SyslogOptions | None = None) -> None:
        self.options = options
        self.recent = RecentLines()
        self._syslog_options = syslog
        self._syslog: SyslogSender | None = None
        self._syslog_writer: Writer | None = None
        self._before: list[tuple[logging.Logger, int, bool]] = []
        self._file: LogFile | None = None
        self._writer: Writer | None = None
        self._handler: logging.Handler = _NOTHING

    def open(self) -> None:
        """Start the thread and take over the root logger.

        Raises:
            ConfigError: the log file cannot be written, or a certificate for syslog cannot be read.
        """
        options = self.options
        if self._syslog_options is not None:
            from tidegate.logs.syslog import SyslogSender

            self._syslog = SyslogSender(self._syslog_options, self._tell_file)
        if options.file_path:
            self._open_file(options)
            self._writer = Writer(QUEUE_LIMIT, self._write, self._rotate)
        if self._syslog is not None:
            slow = "the syslog server is away or too slow"
            self._syslog_writer = Writer(QUEUE_LIMIT, self._send, slow=slow)
        writers = [writer for writer in (self._writer, self._syslog_writer) if writer is not None]
        if not writers:
            self._take(logging.CRITICAL + 1)
            return
        self.recent.always = self._readable() is None
        self._handler = _Handler(*writers)
        self._take(_LEVELS[options.level])

    def _open_file(self, options: LogOptions) -> None:
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

    def _readable(self) -> Path | None:
        """The file, if it can be read again."""
        file = self._file
        return file.path.absolute() if file is not None and file.regular else None

    def reader(self) -> LogReader:
        """The log, to be read."""
        from tidegate.logs.search import LogReader

        path, options, syslog = self._readable(), self.options, self._syslog_options
        if path is not None:
            target = str(path)
        elif options.file_path:
            target = "standard error" if options.file_path == "-" else options.file_path
        else:
            target = "" if syslog is None else syslog.label
        return LogReader(path, self.recent, target)

    def _tell_file(self, text: str) -> None:
        if self._writer is not None:
            self._writer.put(own_line(text, "warn"))

    def rotate(self) -> None:
        """Rotate the file now (SIGUSR1); done by the writing thread, after what was logged before."""
        if self._writer is not None:
            self._writer.rotate()

    def wait_written(self) -> None:
        """Wait until everything logged before is in the file."""
        if self._writer is not None:
            self._writer.wait_written(STOP_SECONDS)

    def close(self) -> None:
        """Write what is queued, then give the root logger back. Safe to call twice."""
        for logger, level, propagate in self._before:
            logger.setLevel(level)
            logger.propagate = propagate
        self._before.clear()
        logging.getLogger().removeHandler(self._handler)
        if self._syslog is not None and self._syslog_writer is not None:
            self._syslog.close_soon()
            self._syslog_writer.stop(SYSLOG_STOP_SECONDS)
            self._syslog.close()
            if self._syslog.dropped:
                self._tell_file(f"syslog: {self._syslog.dropped} lines were not sent")
            self._syslog = self._syslog_writer = None
        if self._writer is not None:
            self._writer.stop(STOP_SECONDS)
            self._writer = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self, level: int) -> None:
        root = logging.getLogger()
        chatty = [logging.getLogger(name) for name in _CHATTY]
        silent = [logging.getLogger(name) for name in _SILENT]
        record = logging.getLogger(RECORD_LOGGER)
        trace = logging.getLogger(TRACE_LOGGER)
        self._before = [(lg, lg.level, lg.propagate) for lg in (root, record, trace, *chatty, *silent)]
        root.setLevel(level)
        root.addHandler(self._handler)
        trace.setLevel(logging.DEBUG if self.options.level == "trace" else logging.CRITICAL + 1)
        record.setLevel(logging.DEBUG if level == logging.INFO else level)
        for logger in chatty:
            logger.setLevel(max(level, logging.INFO if level <= logging.DEBUG else logging.WARNING))
        for logger in silent:
            logger.setLevel(max(level, logging.WARNING))

    def _write(self, lines: bytes) -> None:
        """Called by the writing thread."""
        self.recent.add(lines)
        if self._file is not None:
            self._file.write(lines)
        else:
            sys.stderr.buffer.write(lines)
            sys.stderr.buffer.flush()

    def _send(self, lines: bytes) -> None:
        """Called by the thread that writes to syslog."""
        if self._writer is None:
            self.recent.add(lines)
        if self._syslog is not None:
            self._syslog.write(lines)

    def _rotate(self) -> None:
        """Called by the writing thread."""
        if self._file is not None:
            self._file.rotate()


class _Handler(logging.Handler):
    """Makes lines and queues them; never blocks, never raises."""

    def __init__(self, writer: Writer, also: Writer | None = None) -> None:
        super().__init__()
        self._writer = writer
        self._also = also
        self.setFormatter(LineFormatter())

    @property
    def lost(self) -> int:
        """Lines that found no room in the queue."""
        return self._writer.lost

    def emit(self, record: logging.LogRecord) -> None:
        fields = record.__dict__.get("fields")
        if type(fields) is dict and not record.msg and not record.exc_info:
            sender = record.__dict__.get("sender", record.name)
            self.put_event(record.created, record.levelno, sender, fields)
            return
        try:
            # Surrogates stand for bytes that are not UTF-8; \\udcXX is how JSON writes them.
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception as error:  # a record that cannot be shown is still a record
            line = own_line(f"unprintable record of {record.name}: {type(error).__name__}")
        self._put(line)

    def put_event(self, created: float, level: int, sender: str, fields: dict[str, Any]) -> None:
        """Queue the line of an event. Never blocks, never raises.

        Args:
            created: seconds since the epoch.
            level: of `logging`.
        """
        try:
            line = event_line(created, level, sender, fields)
        except Exception as error:  # a record that cannot be shown is still a record
            line = own_line(f"unprintable record of {sender}: {type(error).__name__}")
        self._put(line)

    def _put(self, line: bytes) -> None:
        self._writer.put(line)
        if self._also is not None:
            self._also.put(line)


def open_log(options: LogOptions, syslog: SyslogOptions | None = None) -> Log:
    """Start logging.

    Args:
        options: of the file.
        syslog: target of lines besides.

    Raises:
        ConfigError: the log file cannot be written, or a certificate for syslog cannot be read.
    """
    log = Log(options, syslog)
    log.open()
    return log
