# SPDX-License-Identifier: Apache-2.0
"""A lossy sink that sends traces by OTLP over HTTP: one a connection, with its logins, transfers, operations.

The OpenTelemetry SDK queues, groups and sends spans from a thread of its own; it is an extra
(``tidegate[otel]``). Events tell when what they tell of began and ended, so nothing is remembered in between:
the ids of a connection's trace and of its own span are taken from the connection id. Whoever reads that in
the log or in an exemplar of a metric can work out the trace: the first 32 hexadecimal digits of its SHA-256.

Names of attributes are those of OpenTelemetry's semantic conventions as far as they have any.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidegate.abc import Sink
from tidegate.errors import OperatorError
from tidegate.events import kinds
from tidegate.events.kinds import Event

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

QUEUE_SPANS: Final = 8192
"""Spans that wait to be sent; while that is full new ones are dropped, and the SDK says so in the log."""
BATCH_SPANS: Final = 512
"""Spans of one request."""
TEXT_CHARS: Final = 1024
"""Characters of a path or text that are sent."""
CLOSE_SECONDS: Final = 5.0
"""Time that the last spans get at the end of the server."""
ANSWER_BYTES: Final = 4096
"""Bytes of an answer that are read, so that its connection is used again; of a longer one it is closed."""
OPTIONS: Final[dict[str, type | tuple[type, ...]]] = {
    "endpoint": str,
    "headers": dict,
    "certificate_file": str,
    "service_name": str,
    "timeout": (int, float),
    "interval": (int, float),
    "ratio": (int, float),
}
_NUMBERS: Final = {"timeout": (0.1, 60), "interval": (0.1, 300), "ratio": (0, 1)}


class TraceSink:
    """Makes spans of events and hands them to the SDK, which never waits.

    Options:
        endpoint: URL of the receiver, such as ``http://127.0.0.1:4318/v1/traces``; without it the variables
            of OpenTelemetry count (``OTEL_EXPORTER_OTLP_ENDPOINT`` and others).
        headers: names and values that are sent along, for keys of services.
        certificate_file: authorities that the receiver's certificate is checked against.
        service_name: name of this service there; ``tidegate`` unless it is given.
        timeout: seconds that one request may take; 10 unless it is given.
        interval: seconds between requests; 5 unless it is given.
        ratio: part of the connections that is traced, 0 to 1; 1 unless it is given.

    Raises:
        OperatorError: an option is unknown or wrong, or the SDK is not installed.
    """

    kinds = (
        kinds.Disconnected, kinds.ConnectionRefused, kinds.LoggedIn, kinds.LoginFailed, kinds.Transferred,
        kinds.Operated, kinds.Refused, kinds.Failed,
    )  # fmt: skip

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = _checked(options)
        self._bar = int(self._options.get("ratio", 1) * 2**64)
        self._processor: BatchSpanProcessor | None = None
        try:
            from opentelemetry.exporter.otlp.proto.http import trace_exporter
            from opentelemetry.sdk import resources, trace
            from opentelemetry.sdk.trace import export
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
            from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
        except ImportError as error:
            raise OperatorError("needs a library: pip install 'tidegate[otel]'") from error
        from tidegate import __version__

        own = {"service.name": self._options.get("service_name", "tidegate"), "service.version": __version__}
        self._resource = resources.Resource.create(own)
        self._scope = InstrumentationScope("tidegate", __version__)
        self._span, self._event, self._context = trace.ReadableSpan, trace.Event, SpanContext
        self._sampled, self._kinds = TraceFlags(TraceFlags.SAMPLED), SpanKind
        self._status, self._error = Status, StatusCode.ERROR
        self._exporter, self._processing = trace_exporter.OTLPSpanExporter, export.BatchSpanProcessor

    async def open(self) -> None:
        """Start the thread that sends."""
        options = self._options
        exporter = await asyncio.to_thread(
            self._exporter,
            endpoint=options.get("endpoint"),
            headers=options.get("headers"),
            certificate_file=options.get("certificate_file"),
            timeout=options.get("timeout", 10),
            session=_session(),
        )
        self._processor = self._processing(
            exporter,
            max_queue_size=QUEUE_SPANS,
            max_export_batch_size=BATCH_SPANS,
            schedule_delay_millis=options.get("interval", 5) * 1000,
        )

    async def handle(self, event: object) -> None:
        """See `handle_nowait`."""
        self.handle_nowait(event)

    def handle_nowait(self, event: object) -> None:
        """Hand on the span of an event, unless its connection is none of those that are traced."""
        if self._processor is None or not isinstance(event, Event):
            return
        trace_id, root = ids_of(event.origin.connection_id)
        if trace_id >> 64 < self._bar:
            self._processor.on_end(self.span_of(event, trace_id, root))

    async def close(self) -> None:
        """Send what waits, for `CLOSE_SECONDS`."""
        if self._processor is not None:
            processor, self._processor = self._processor, None
            # Of a receiver that never ends its answer it takes half a minute, which nobody waits for.
            ending = threading.Thread(target=processor.shutdown, name="traces-end", daemon=True)
            ending.start()
            await asyncio.to_thread(ending.join, CLOSE_SECONDS)

    def span_of(self, event: Event, trace_id: int, root: int) -> ReadableSpan:
        """The span of an event of the traced kinds; `root` is the id of the connection's own span."""
        name, took, error, more = _told(event)
        is_root = isinstance(event, (kinds.Disconnected, kinds.ConnectionRefused))
        own = self._context(trace_id, root if is_root else secrets.randbits(63) + 1, False, self._sampled)
        origin = event.origin
        attributes = {
            "network.peer.address": origin.ip,
            "tidegate.connection_id": origin.connection_id,
            "tidegate.protocol": origin.protocol,
            "user.name": origin.username,
            **more,
        }
        end = int(event.at * 1e9)
        start = end - int(max(took, 0.0) * 1e9)
        marks: tuple[Any, ...] = ()
        if isinstance(event, kinds.Transferred) and event.first_byte:
            marks = (self._event("first byte", timestamp=start + int(event.first_byte * 1e9)),)
        span: ReadableSpan = self._span(
            name,
            context=own,
            parent=None if is_root else self._context(trace_id, root, False, self._sampled),
            resource=self._resource,
            attributes={key: _text(value) for key, value in attributes.items() if value not in ("", -1)},
            events=marks,
            kind=self._kinds.SERVER if is_root else self._kinds.INTERNAL,
            status=self._status(self._error, _text(error)) if error else self._status(),
            start_time=start,
            end_time=end,
            instrumentation_scope=self._scope,
        )
        return span


def _session() -> requests.Session | None:
    """Requests whose answers are not read: nothing in them counts, and they may be of any length.

    None where variables of OpenTelemetry name a provider of sessions.
    """
    if any(name.startswith("OTEL_") and name.endswith("_CREDENTIAL_PROVIDER") for name in os.environ):
        return None
    import requests

    class Session(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            response = super().request(*args, **{**kwargs, "stream": True})
            try:
                response.raw.read1(ANSWER_BYTES, decode_content=False)
            finally:
                response.close()
            return response

    return Session()


def ids_of(connection_id: str) -> tuple[int, int]:
    """The ids of a connection's trace and of its own span; random ones for what belongs to no connection.

    The id of an SSH channel is that of its connection, an underscore and a number.
    """
    connection, _, channel = connection_id.rpartition("_")
    if connection and channel.isdigit():
        connection_id = connection
    digest = hashlib.sha256(connection_id.encode()).digest() if connection_id else os.urandom(32)
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1


def _told(event: Event) -> tuple[str, float, str, dict[str, Any]]:
    """Name, seconds, error and own attributes of a span."""
    more: dict[str, Any] = {}
    match event:
        case kinds.Disconnected():
            more = {"user_agent.original": event.client_version, "tidegate.ended_by": event.by}
            return "connection", event.duration, event.error, more
        case kinds.ConnectionRefused():
            return "connection", 0.0, event.text or "refused", {"tidegate.rule": event.rule}
        case kinds.LoggedIn():
            more = {
                "tidegate.login.method": event.method,
                "tidegate.cipher": event.cipher,
                "user_agent.original": event.client_version,
            }
            return "login", event.elapsed, "", more
        case kinds.LoginFailed():
            more = {"tidegate.login.method": event.login_type, "tidegate.rule": event.rule}
            return "login", 0.0, event.reason or "failed", more
        case kinds.Transferred():
            error = "" if event.status == "ok" else event.error or event.status
            more = {
                "file.path": event.virtual_path,
                "file.size": event.size,
                "tidegate.storage": event.storage,
            }
            return event.action.value, event.elapsed, error, more
        case kinds.Operated():
            more = {
                "file.path": event.virtual_path,
                "tidegate.target_path": event.virtual_target_path,
                "tidegate.storage": event.storage,
            }
            return event.action.value, event.elapsed, "", more
        case kinds.Refused() | kinds.Failed():
            more = {"file.path": event.virtual_path, "tidegate.rule": event.rule}
            return event.intent or "request", 0.0, event.text or "refused", more
    return type(event).__name__, 0.0, "", more


def _text(value: Any) -> Any:
    """A value that can be sent: a text is bounded, and of names that are no UTF-8 stays what can be read."""
    if not isinstance(value, str):
        return value
    return value[:TEXT_CHARS].encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    where = "options of the opentelemetry sink"
    for key, value in options.items():
        if key not in OPTIONS:
            raise OperatorError(f"{where}: there is no {key!r}; there are: {', '.join(sorted(OPTIONS))}")
        if not isinstance(value, OPTIONS[key]) or isinstance(value, bool):
            raise OperatorError(f"{where}: {key} is no {'number' if key in _NUMBERS else 'text or table'}")
    for key, (least, most) in _NUMBERS.items():
        if key in options and not least <= options[key] <= most:
            raise OperatorError(f"{where}: {key} is not between {least} and {most}: {options[key]}")
    endpoint = options.get("endpoint", "http://")
    if not endpoint.startswith(("http://", "https://")):
        raise OperatorError(f"{where}: endpoint is no http or https URL: {endpoint!r}")
    if any(not isinstance(part, str) for pair in options.get("headers", {}).items() for part in pair):
        raise OperatorError(f"{where}: headers has a name or value that is no text")
    certificate = options.get("certificate_file")
    if certificate and not Path(certificate).is_file():
        raise OperatorError(f"{where}: certificate_file cannot be read: {certificate}")
    return dict(options)


def _keeps_contract(sink: TraceSink) -> Sink:
    return sink
