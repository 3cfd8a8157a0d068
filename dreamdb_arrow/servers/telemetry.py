"""Calls of a server as spans and metrics of OpenTelemetry, names and units as in spec 0024. Where they go, its SDK decides."""

from __future__ import annotations

from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dreamdb_arrow._version import __version__
from dreamdb_arrow.servers.access import Note

SCOPE: Final = "dreamdb_arrow"
SYSTEM: Final = "dreamdb"


class Telemetry:
    """A listener of the audit. Without an SDK, OpenTelemetry's API does nothing.

    Args:
        tracers: where tracers come from; None for the process's own.
        meters: where meters come from, likewise.
    """

    def __init__(
        self,
        tracers: trace.TracerProvider | None = None,
        meters: metrics.MeterProvider | None = None,
    ) -> None:
        meter = metrics.get_meter(SCOPE, __version__, meters)
        self._tracer = trace.get_tracer(SCOPE, __version__, tracers)
        self._context = TraceContextTextMapPropagator()
        self._seconds = meter.create_histogram("rpc.server.call.duration", "s", "How long calls took.")
        self._calls = meter.create_counter("dreamdb.server.calls", "{call}", "Calls, refused ones too.")
        self._rows = meter.create_counter(
            "dreamdb.statement.returned_rows", "{row}", "Rows given to clients."
        )

    def heard(self, note: Note) -> None:
        """Make a span of a call that has ended, and count it (0024-R3)."""
        about: dict[str, str | int] = {"rpc.method": note.verb}
        about |= {"error.type": note.kind} if note.kind else {}
        self._calls.add(1, about)
        if note.seconds is not None:
            self._seconds.record(note.seconds, about)
        if note.rows:
            self._rows.add(note.rows)
        self._trace(note, about)

    def _trace(self, note: Note, about: dict[str, str | int]) -> None:
        rows = {} if note.rows is None else {"db.response.returned_rows": note.rows}
        span = self._tracer.start_span(
            f"{SYSTEM}/{note.verb}",
            self._context.extract({"traceparent": note.parent}),
            kind=trace.SpanKind.SERVER,
            attributes={"db.system.name": SYSTEM, "enduser.id": note.user, **about, **rows},
            start_time=note.ended_ns - int((note.seconds or 0.0) * 1e9),
        )
        if note.error is not None:
            span.set_status(trace.StatusCode.ERROR, note.kind)
        span.end(note.ended_ns)
