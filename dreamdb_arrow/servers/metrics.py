"""What a server did as numbers for Prometheus, names and units as in spec 0024."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.dataset.stats import BYTES, REQUESTS, space_stats
from dreamdb_arrow.servers.access import Note

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LABELS: Final = ("rpc_method", "error_type")
BUCKETS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    60.0,
    300.0,
)


class StoreTraffic:
    """What the Space's store was asked for, read when somebody looks."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def collect(self) -> Iterable[Metric]:
        """Yield the counters, as prometheus_client asks for them."""
        told = space_stats(self._space)
        requests = CounterMetricFamily(
            "dreamdb_store_requests", "Requests to the store.", labels=["operation"]
        )
        for name in REQUESTS:
            requests.add_metric([name], told[name])
        yield requests
        sent = CounterMetricFamily(
            "dreamdb_store_io_bytes", "Bytes from and to the store.", labels=["direction"]
        )
        for name in BYTES:
            sent.add_metric([name.removeprefix("bytes_")], told[name])
        yield sent


class Metrics:
    """Counters of one server: a listener of its audit (`heard`), and their text.

    Args:
        space: the Space.
        running: how many statements run now.
    """

    def __init__(self, space: Space, running: Callable[[], int]) -> None:
        self._all = CollectorRegistry()
        self._seconds = Histogram(
            "rpc_server_call_duration_seconds",
            "How long calls took.",
            LABELS,
            registry=self._all,
            buckets=BUCKETS,
        )
        self._calls = Counter("dreamdb_server_calls", "Calls, refused ones too.", LABELS, registry=self._all)
        self._rows = Counter("dreamdb_statement_returned_rows", "Rows given to clients.", registry=self._all)
        active = Gauge("dreamdb_statement_active", "Statements that run now.", registry=self._all)
        active.set_function(running)
        self._all.register(StoreTraffic(space))

    def heard(self, note: Note) -> None:
        """Count a call. No name of a user, Ref or statement becomes a label (0024-R2)."""
        labels = note.verb, note.kind
        self._calls.labels(*labels).inc()
        if note.seconds is not None:
            self._seconds.labels(*labels).observe(note.seconds)
        if note.rows:
            self._rows.inc(note.rows)

    def page(self) -> tuple[str, bytes]:
        """Return the content type of Prometheus' text format, and all of them in it."""
        return CONTENT_TYPE, generate_latest(self._all)
